import io
from pathlib import Path

import numpy as np
from PIL import Image

from linnaeus.reporting.sheets import COLUMNS, GAP, SIDE, Row, Tile, draw_sheet, readable_thumbnail, save_sheet


def jpeg(colour: str, size: tuple[int, int] = (SIDE, SIDE)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "JPEG")
    return buffer.getvalue()


def test_thumbnails_stand_side_by_side_and_begin_a_new_line_after_the_last_column() -> None:
    row = Row("all", tuple(Tile(jpeg("red"), ("cat",)) for _ in range(COLUMNS + 1)))
    pixels = np.asarray(draw_sheet([row])).astype(int)
    is_red = (pixels[:, :, 0] > 200) & (pixels[:, :, 1] < 60)
    assert is_red.any(axis=0).sum() == COLUMNS * SIDE
    assert is_red[:, GAP + 1].sum() == 2 * SIDE
    assert is_red[:, GAP + SIDE + GAP + 1].sum() == SIDE


def test_a_picture_that_cannot_be_read_leaves_its_place_and_its_words() -> None:
    row = Row("gone", (Tile(None, ("cat",)), Tile(jpeg("red"), ("dog",))))
    pixels = np.asarray(draw_sheet([row])).astype(int)
    is_red = (pixels[:, :, 0] > 200) & (pixels[:, :, 1] < 60)
    assert not is_red[:, : GAP + SIDE].any()
    assert (pixels[:, GAP : GAP + SIDE].min(axis=2) < 100).any()  # the heading and the word


def test_a_word_that_is_too_long_stays_within_its_column() -> None:
    def drawn(line: str) -> np.ndarray:
        pixels = np.asarray(draw_sheet([Row("", (Tile(None, (line,)),))]), dtype=np.uint8)
        is_dark: np.ndarray = pixels.min(axis=2) < 128
        return is_dark

    assert not drawn("w" * 400)[:, GAP + SIDE + GAP :].any()
    assert drawn("cat").any()


def test_a_sheet_without_rows_or_tiles_is_still_a_picture(tmp_path: Path) -> None:
    save_sheet([Row("nothing", ())], tmp_path / "sheet.jpg")
    with Image.open(tmp_path / "sheet.jpg") as opened:
        assert opened.format == "JPEG"


def test_a_file_that_cannot_be_read_any_more_has_no_thumbnail(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8")
    assert readable_thumbnail(tmp_path / "broken.jpg", 32) is None
    assert readable_thumbnail(tmp_path / "gone.jpg", 32) is None
    (tmp_path / "good.jpg").write_bytes(jpeg("green"))
    assert (readable_thumbnail(tmp_path / "good.jpg", 32) or b"").startswith(b"\xff\xd8")
