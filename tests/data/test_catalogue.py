import hashlib
import json
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from linnaeus.data.catalogue import (
    Catalogue,
    catalogue_folder,
    exclusion_table,
    read_catalogue,
    rename_map,
)
from linnaeus.data.sources import RENAMES
from linnaeus.errors import CatalogueError, RecipeError
from linnaeus.records import Exclusion

DOCUMENT = Path(__file__).parents[2] / "docs" / "catalogue.md"
DECK_COLUMNS = ["relpath", "name", "format", "category", "width", "height", "mode", "channels", "label"]


def _image(path: Path, seed: int = 0, size: tuple[int, int] = (8, 6), mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    kind = "PNG" if path.suffix.lower() == ".png" else "JPEG"
    Image.fromarray(pixels).convert(mode).save(path, kind)
    return path


def _zoo(root: Path) -> Path:
    """Three classes in Italian, and one of everything that has to be left out."""
    for place, folder in enumerate(("cane", "gatto", "ragno")):
        for number in range(2):
            _image(root / folder / f"{number}.jpg", seed=10 * place + number)
    (root / "cane" / "broken.jpg").write_bytes((root / "cane" / "0.jpg").read_bytes()[:200])
    (root / "cane" / "empty.jpg").touch()
    (root / "gatto" / "notes.txt").write_text("words")
    (root / "gatto" / ".DS_Store").write_text("x")
    (root / "loose.jpg").write_bytes((root / "cane" / "0.jpg").read_bytes())
    return root


def _hashes(root: Path) -> dict[str, tuple[str, int]]:
    return {
        str(path.relative_to(root)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file()
    }


def test_the_deck_s_columns_come_first_and_in_its_order_of_facts(tmp_path: Path) -> None:
    columns = [*catalogue_folder(_zoo(tmp_path), {}).images.columns]
    assert columns[:9] == DECK_COLUMNS
    documented = re.findall(r"^\| `(\w+)` \|", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert columns == [name for name in documented if name not in {"given_split", "source"}]


def test_a_row_tells_what_the_file_is(tmp_path: Path) -> None:
    path = _image(tmp_path / "cat" / "A.PNG", size=(9, 5), mode="RGBA")
    (row,) = catalogue_folder(tmp_path, {}).images.to_dict("records")
    assert {name: row[name] for name in [*DECK_COLUMNS, "bytes", "sha256", "content_format", "aspect"]} == {
        "relpath": "cat/A.PNG",
        "name": "A.PNG",
        "format": "png",
        "category": "cat",
        "width": 9,
        "height": 5,
        "mode": "RGBA",
        "channels": 4,
        "label": 0,
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "content_format": "PNG",
        "aspect": 1.8,
    }


def test_nothing_is_lost_every_file_is_a_row_or_an_exclusion(tmp_path: Path) -> None:
    catalogue = catalogue_folder(_zoo(tmp_path), {})
    on_disk = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    listed = [*catalogue.images["relpath"], *catalogue.excluded["relpath"]]
    assert sorted(listed) == sorted(on_disk)


def test_every_exclusion_has_its_reason(tmp_path: Path) -> None:
    excluded = catalogue_folder(_zoo(tmp_path), {}).excluded
    assert dict(zip(excluded["relpath"], excluded["reason"], strict=True)) == {
        "cane/broken.jpg": "truncated image",
        "cane/empty.jpg": "empty file",
        "gatto/.DS_Store": "hidden",
        "gatto/notes.txt": "not an image",
        "loose.jpg": "not in a class folder",
    }


def test_the_user_s_folder_is_never_changed(tmp_path: Path) -> None:
    before = _hashes(_zoo(tmp_path))
    catalogue_folder(tmp_path, RENAMES["animals10"])
    assert _hashes(tmp_path) == before


def test_labels_follow_the_sorted_class_names_after_they_are_renamed(tmp_path: Path) -> None:
    catalogue = catalogue_folder(_zoo(tmp_path), {"cane": "zebra", "gatto": "cat", "ragno": "ant"})
    assert catalogue.classes == ["ant", "cat", "zebra"]
    labels = catalogue.images.groupby("category")["label"].unique().map(list).to_dict()
    assert labels == {"ant": [0], "cat": [1], "zebra": [2]}


def test_rows_come_in_the_order_of_sorted_paths(tmp_path: Path) -> None:
    relpaths = [*catalogue_folder(_zoo(tmp_path), {"cane": "zebra"}).images["relpath"]]
    assert relpaths == sorted(relpaths)


def test_two_folders_may_become_one_class(tmp_path: Path) -> None:
    catalogue = catalogue_folder(_zoo(tmp_path), {"cane": "pet", "gatto": "pet"})
    assert catalogue.by_class().to_dict() == {"pet": 4, "ragno": 2}


def test_given_split_is_a_column_only_where_there_are_split_folders(tmp_path: Path) -> None:
    _image(tmp_path / "train" / "cat" / "a.jpg", seed=1)
    _image(tmp_path / "valid" / "cat" / "a.jpg", seed=2)
    images = catalogue_folder(tmp_path, {}).images
    assert dict(zip(images["relpath"], images["given_split"], strict=True)) == {
        "train/cat/a.jpg": "train",
        "valid/cat/a.jpg": "val",
    }


@pytest.mark.parametrize("name", ["a.jpeg", "a.JPG", "a.JpEg", "größe 1.jpg", "猫.jpg"])
def test_endings_in_capitals_and_names_in_any_language_are_read(tmp_path: Path, name: str) -> None:
    _image(tmp_path / "cat" / name)
    images = catalogue_folder(tmp_path, {}).images
    assert [*images["name"]] == [name]
    assert [*images["format"]] == [name.rpartition(".")[2].lower()]


def test_a_class_without_a_readable_image_is_listed_and_gets_no_label(tmp_path: Path) -> None:
    _image(tmp_path / "cat" / "a.jpg")
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "a.jpg").write_text("no image")
    catalogue = catalogue_folder(tmp_path, {})
    assert catalogue.classes == ["cat"]
    assert catalogue.by_reason().to_dict() == {"class without a readable image": 1, "unreadable image": 1}


@pytest.mark.parametrize("content", ["empty", "only loose files", "only text"])
def test_a_folder_without_images_is_refused_with_what_was_expected(tmp_path: Path, content: str) -> None:
    if content == "only loose files":
        _image(tmp_path / "a.jpg")
    elif content == "only text":
        (tmp_path / "cat").mkdir()
        (tmp_path / "cat" / "notes.txt").write_text("words")
    with pytest.raises(CatalogueError, match=r"expected class folders such as .*/cat/"):
        catalogue_folder(tmp_path, {})


def test_a_pipe_does_not_make_it_wait_for_ever(tmp_path: Path) -> None:
    _image(tmp_path / "cat" / "a.jpg")
    os.mkfifo(tmp_path / "cat" / "pipe.jpg")
    assert [*catalogue_folder(tmp_path, {}).excluded["reason"]] == ["not a regular file"]


def test_sizes_are_counted_most_frequent_first_and_equal_counts_by_size() -> None:
    images = pd.DataFrame({"width": [300, 200, 300, 100, 200, 50], "height": [1, 1, 1, 1, 1, 2]})
    catalogue = Catalogue(images, exclusion_table([]))
    assert [*catalogue.sizes("width").items()] == [(200, 2), (300, 2), (50, 1), (100, 1)]
    assert [*catalogue.sizes("height").items()] == [(1, 5), (2, 1)]


def test_images_are_counted_by_format_and_channels(tmp_path: Path) -> None:
    _image(tmp_path / "cat" / "a.jpg")
    _image(tmp_path / "cat" / "b.jpg")
    _image(tmp_path / "cat" / "c.png", mode="RGBA")
    counts = catalogue_folder(tmp_path, {}).by_format()
    assert counts.to_dict("records") == [
        {"format": "jpg", "channels": 3, "count": 2},
        {"format": "png", "channels": 4, "count": 1},
    ]


def test_the_deck_s_raw_table_can_be_read_and_gets_its_labels(shared: Path) -> None:
    table = read_catalogue(shared / "data" / "animals10-raw.csv")
    assert len(table) == 26179
    assert table["label"].nunique() == 10
    assert table.loc[table["category"] == "butterfly", "label"].unique().tolist() == [0]


def test_the_deck_s_clean_table_keeps_its_own_labels_and_row_order(shared: Path) -> None:
    path = shared / "data" / "animals10-clean.csv"
    table, plain = read_catalogue(path), pd.read_csv(path)
    assert [*table["relpath"]] == [*plain["relpath"]]
    assert [*table["label"]] == [*plain["label"]]


def test_an_exclusion_table_is_sorted_and_has_its_columns_even_when_empty() -> None:
    assert [*exclusion_table([]).columns] == ["relpath", "reason", "detail"]
    assert [*exclusion_table([Exclusion("b", "x"), Exclusion("a", "y")])["relpath"]] == ["a", "b"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_of_one_s_own_needs_only_paths_and_classes(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"mine{suffix}"
    table = pd.DataFrame({"relpath": ["z.jpg", "a.jpg"], "category": ["b", "a"]})
    table.to_parquet(path) if suffix == ".parquet" else table.to_csv(path, index=False)
    assert read_catalogue(path).to_dict("list") == {
        "relpath": ["z.jpg", "a.jpg"],
        "category": ["b", "a"],
        "label": [1, 0],
    }


def test_classes_called_by_numbers_are_names(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("relpath,category\na.jpg,10\nb.jpg,9\n")
    table = read_catalogue(path)
    assert [*table["category"]] == ["10", "9"]
    assert [*table["label"]] == [0, 1]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("relpath\na.jpg\n", "lacks the column category"),
        ("path,class\na.jpg,cat\n", "lacks the column relpath and category; it has path, class"),
        ("relpath,category\n", "has no rows"),
        ("relpath,category\na.jpg,\n", "a relpath or category is empty"),
        ("", "no readable table"),
        ("\0\0\xff", "no readable table|lacks the column"),
    ],
)
def test_a_table_that_is_no_catalogue_is_refused(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(CatalogueError, match=complaint):
        read_catalogue(path)


@pytest.mark.parametrize("name", ["none.csv", "none.parquet"])
def test_a_missing_table_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CatalogueError, match="no readable table"):
        read_catalogue(tmp_path / name)


def test_a_parquet_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.parquet").write_text("words")
    with pytest.raises(CatalogueError, match="no readable table"):
        read_catalogue(tmp_path / "mine.parquet")


def test_names_come_from_a_json_file(tmp_path: Path) -> None:
    (tmp_path / "names.json").write_text(json.dumps({"cane": "dog"}))
    assert rename_map(tmp_path / "names.json") == {"cane": "dog"}


def test_names_come_from_a_csv_file(tmp_path: Path) -> None:
    (tmp_path / "names.csv").write_text("cane,dog\n007,NA\n")
    assert rename_map(tmp_path / "names.csv") == {"cane": "dog", "007": "NA"}


def test_names_come_from_the_built_in_map() -> None:
    assert rename_map("animals10") == RENAMES["animals10"]


def test_without_a_wish_nothing_is_renamed() -> None:
    assert rename_map(None) == {}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("none.json", None),
        ("bad.json", "{"),
        ("list.json", "[1]"),
        ("numbers.json", '{"cane": 1}'),
        ("wide.csv", "a,b,c\n"),
        ("narrow.csv", "a\n"),
        ("empty.csv", ""),
        ("animals11", None),
    ],
)
def test_a_map_that_is_none_is_refused_by_its_name(tmp_path: Path, name: str, content: str | None) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(RecipeError, match=name):
        rename_map(tmp_path / name)


@pytest.mark.parametrize("name", ["", " ", ".", "..", "a/b", "a\\b", "a:b", "what?", "a\0b"])
def test_a_class_name_that_cannot_be_a_folder_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match="cannot be a folder's name"):
        rename_map({"cane": name})
