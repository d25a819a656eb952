import hashlib
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from linnaeus.data.catalogue import catalogue_folder
from linnaeus.data.clean import Cleaning, clean_images, clean_relpaths
from linnaeus.data.decode import rgb_pixels
from linnaeus.settings import CleanRecipe

SMALL = Cleaning(CleanRecipe(size=16))


def _image(path: Path, colour: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = "PNG" if path.suffix.lower() == ".png" else "JPEG"
    Image.new("RGB", (20, 12), (colour, colour, colour)).save(path, kind)


def _images(root: Path, *relpaths: str) -> Path:
    """Images that differ, so that one that overwrites another is noticed: the nth is of grey 20 n."""
    for place, relpath in enumerate(relpaths):
        _image(root / relpath, 20 * place)
    return root


def _greys(target: Path) -> list[int]:
    return sorted(round(float(rgb_pixels(path.read_bytes()).mean()) / 20) for path in target.rglob("*.jpg"))


def _clean(images: Path, target: Path, rename: dict[str, str] | None = None) -> pd.DataFrame:
    table = catalogue_folder(images, rename or {}).images
    cleaned, lost = clean_images(table, images, target, SMALL)
    assert lost == []
    assert [*cleaned["sha256"]] == [hashlib.sha256((target / p).read_bytes()).hexdigest() for p in cleaned["relpath"]]
    return table


def test_every_clean_image_is_an_rgb_jpeg_of_the_deck_s_size(tmp_path: Path) -> None:
    images = _images(tmp_path / "raw", "cat/a.jpg", "cat/b.png", "dog/c.PNG")
    table = catalogue_folder(images, {}).images
    clean_images(table, images, tmp_path / "clean", Cleaning(CleanRecipe()))
    cleaned = []
    for path in (tmp_path / "clean").rglob("*.jpg"):
        with Image.open(path) as image:
            cleaned.append((image.format, image.mode, image.size))
    assert cleaned == [("JPEG", "RGB", (224, 224))] * 3


def test_a_clean_image_lies_under_its_class_and_its_source_s_name(tmp_path: Path) -> None:
    images = _images(tmp_path / "raw", "gatto/a.png", "gatto/in/b.jpg")
    table = _clean(images, tmp_path / "clean", {"gatto": "cat"})
    assert clean_relpaths(table) == ["cat/a.jpg", "cat/in/b.jpg"]
    assert (tmp_path / "clean" / "cat" / "a.jpg").is_file()
    assert (tmp_path / "clean" / "cat" / "in" / "b.jpg").is_file()


@pytest.mark.parametrize(
    ("relpaths", "rename"),
    [
        (["cat/a.png", "cat/a.jpg"], {}),
        (["cat/a.jpg", "cat/A.JPG"], {}),
        (["cat/a.jpg", "cat/a.jpeg", "cat/a.PNG"], {}),
        (["cane/a.jpg", "dog/a.jpg"], {"cane": "dog"}),
        (["cat/\u00e9.jpg", "cat/e\u0301.jpg"], {}),
        (["train/cat/a.jpg", "test/cat/a.jpg"], {}),
        (["cat/in/a.jpg", "cat/IN/a.jpg"], {}),
    ],
)
def test_names_that_meet_keep_every_image(tmp_path: Path, relpaths: list[str], rename: dict[str, str]) -> None:
    images = _images(tmp_path / "raw", *relpaths)
    table = _clean(images, tmp_path / "clean", rename)
    assert _greys(tmp_path / "clean") == [*range(len(relpaths))]
    assert len({path.casefold() for path in clean_relpaths(table)}) == len(relpaths)


def test_a_name_does_not_depend_on_the_other_rows_unless_it_meets_one() -> None:
    alone = pd.DataFrame({"relpath": ["cat/a.png"], "category": ["cat"]})
    more = pd.DataFrame({"relpath": ["cat/a.png", "cat/b.png", "dog/a.png"], "category": ["cat", "cat", "dog"]})
    assert clean_relpaths(more)[0] == clean_relpaths(alone)[0] == "cat/a.jpg"


def test_the_name_of_one_that_meets_another_is_the_same_in_any_row_order() -> None:
    table = pd.DataFrame({"relpath": ["cat/a.png", "cat/a.jpg"], "category": ["cat", "cat"]})
    assert clean_relpaths(table.iloc[::-1]) == clean_relpaths(table)[::-1]


def test_the_raw_images_are_only_read(tmp_path: Path) -> None:
    images = _images(tmp_path / "raw", "cat/a.jpg", "dog/b.jpg")
    before = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in images.rglob("*.jpg")}
    _clean(images, tmp_path / "clean")
    assert {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in images.rglob("*.jpg")} == before


def test_an_image_that_was_removed_meanwhile_is_reported_and_the_others_are_cleaned(tmp_path: Path) -> None:
    images = _images(tmp_path / "raw", "cat/a.jpg", "cat/b.jpg", "dog/c.jpg")
    table = catalogue_folder(images, {}).images
    (images / "cat" / "b.jpg").unlink()
    _, (exclusion,) = clean_images(table, images, tmp_path / "clean", SMALL)
    assert (exclusion.relpath, exclusion.reason) == ("cat/b.jpg", "cannot be opened")
    assert _greys(tmp_path / "clean") == [0, 2]


def test_cleaning_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    images = _images(tmp_path / "raw", "cat/a.jpg", "dog/b.png")
    for target in ("first", "second"):
        _clean(images, tmp_path / target)
    first, second = ([path.read_bytes() for path in sorted((tmp_path / t).rglob("*.jpg"))] for t in ("first", "second"))
    assert first == second


def test_the_clean_catalogue_leads_every_image_back_to_its_source(tmp_path: Path) -> None:
    images = _images(tmp_path / "raw", "gatto/b.png", "gatto/a.jpg", "gatto/a.png", "cane/c.jpg")
    table = catalogue_folder(images, {"gatto": "cat", "cane": "dog"}).images
    cleaned, _ = clean_images(table, images, tmp_path / "clean", SMALL)
    assert [*cleaned["relpath"]] == sorted(cleaned["relpath"])
    assert sorted(cleaned["source"]) == sorted(table["relpath"])
    assert dict(zip(cleaned["source"], cleaned["category"], strict=True)) == dict(
        zip(table["relpath"], table["category"], strict=True)
    )
    assert {*zip(cleaned["width"], cleaned["height"], cleaned["mode"], cleaned["format"], strict=True)} == {
        (16, 16, "RGB", "jpg")
    }
    for relpath, source in zip(cleaned["relpath"], cleaned["source"], strict=True):
        before, after = (
            rgb_pixels((images / source).read_bytes()),
            rgb_pixels((tmp_path / "clean" / relpath).read_bytes()),
        )
        assert abs(before.mean() - after.mean()) < 4


def test_the_clean_catalogue_keeps_the_parts_that_were_given(tmp_path: Path) -> None:
    images = _images(tmp_path / "raw", "train/cat/a.jpg", "val/cat/a.jpg", "test/cat/b.jpg")
    cleaned, _ = clean_images(catalogue_folder(images, {}).images, images, tmp_path / "clean", SMALL)
    assert [source.split("/")[0] for source in cleaned["source"]] == [*cleaned["given_split"]]
