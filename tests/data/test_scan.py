import hashlib
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from linnaeus.data.scan import pixels_hash, scan_files, scan_means

RELPATHS = ["cat/a.png", "cat/b.jpg", "cat/broken.png", "dog/c.png"]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for seed, relpath in enumerate(RELPATHS):
        path = tmp_path / relpath
        path.parent.mkdir(exist_ok=True)
        _noise(seed).save(path)
    broken = tmp_path / "cat" / "broken.png"
    broken.write_bytes(broken.read_bytes()[:100])
    return tmp_path


def _noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 30, 3), dtype=np.uint8))


def _scan(images: Path, known: pd.DataFrame | None = None, scanned_by: str = "this") -> pd.DataFrame:
    return scan_files(images, RELPATHS, known, scanned_by=scanned_by, max_pixels=10_000)


def test_every_file_has_a_row_in_the_order_asked_for_read_or_not(images: Path) -> None:
    table = _scan(images)
    assert [*table["relpath"]] == RELPATHS
    assert [*table["reason"].isna()] == [True, True, False, True]
    assert table.loc[2, "reason"] == "truncated image"
    assert table.loc[[0, 1, 3]].drop(columns=["reason", "detail"]).notna().all(axis=None)


def test_the_hashes_are_of_the_bytes_and_of_the_upright_pixels(images: Path) -> None:
    row = _scan(images).iloc[0]
    content = (images / "cat" / "a.png").read_bytes()
    assert row["sha256"] == hashlib.sha256(content).hexdigest()
    assert row["pixels_sha256"] == pixels_hash(np.asarray(Image.open(images / "cat" / "a.png")))


def test_a_picture_has_the_same_pixels_hash_in_any_lossless_format_and_when_turned_by_exif(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    picture, exif = _noise(1), Image.Exif()
    exif[0x0112] = 3
    picture.save(tmp_path / "x" / "a.png")
    picture.save(tmp_path / "x" / "b.bmp")
    picture.rotate(180).save(tmp_path / "x" / "c.webp", lossless=True, exif=exif)
    table = scan_files(tmp_path, ["x/a.png", "x/b.bmp", "x/c.webp"], scanned_by="", max_pixels=10_000)
    assert table["pixels_sha256"].nunique() == 1
    assert table["sha256"].nunique() == 3


def test_the_shape_counts_in_the_pixels_hash() -> None:
    assert pixels_hash(np.zeros((2, 8, 3), np.uint8)) != pixels_hash(np.zeros((4, 4, 3), np.uint8))


def test_a_second_scan_decodes_nothing_and_tells_the_same(images: Path, decoded: list[str]) -> None:
    first = _scan(images)
    assert sorted(decoded) == ["a.png", "b.jpg", "broken.png", "c.png"]
    decoded.clear()
    second = _scan(images, first)
    assert decoded == []
    pd.testing.assert_frame_equal(second, first)


def test_only_new_and_changed_files_are_decoded_again(images: Path, decoded: list[str]) -> None:
    first = _scan(images)
    changed = images / "cat" / "b.jpg"
    _noise(9).save(changed)
    os.utime(images / "dog" / "c.png", ns=(1, 1))
    decoded.clear()
    second = _scan(images, first[first["relpath"] != "cat/a.png"])
    assert sorted(decoded) == ["a.png", "b.jpg", "c.png"]
    assert second.loc[1, "sha256"] == hashlib.sha256(changed.read_bytes()).hexdigest()


def test_a_scan_by_other_means_is_not_taken_over(images: Path, decoded: list[str]) -> None:
    first = _scan(images)
    decoded.clear()
    _scan(images, first, scanned_by="that")
    assert len(decoded) == len(RELPATHS)
    assert len({scan_means(limit, has_heif=heif) for limit in (1, 2) for heif in (True, False)}) == 4


def test_what_may_be_better_the_next_time_is_tried_again(images: Path, decoded: list[str]) -> None:
    first = _scan(images)
    first.loc[2, "reason"] = "cannot be opened"
    decoded.clear()
    assert _scan(images, first).loc[2, "reason"] == "truncated image"
    assert decoded == ["broken.png"]


def test_the_memory_of_a_scan_survives_its_file(images: Path, decoded: list[str], tmp_path: Path) -> None:
    _scan(images).to_parquet(tmp_path / "scan.parquet", index=False)
    decoded.clear()
    pd.testing.assert_frame_equal(_scan(images, pd.read_parquet(tmp_path / "scan.parquet")), _scan(images))
    assert len(decoded) == len(RELPATHS)
