import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from linnaeus.data.sources import RENAMES, download, find_sources, folder_state
from linnaeus.errors import CatalogueError, MissingExtraError


def _state(images: Path) -> list[tuple[str, int, int]]:
    return folder_state(images, *find_sources(images))


def _touch(root: Path, *relpaths: str) -> Path:
    for relpath in relpaths:
        path = root / relpath
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def _found(images: Path) -> list[tuple[str, str, str | None]]:
    return [(source.relpath, source.class_folder, source.given_split) for source in find_sources(images)[0]]


def _excluded(images: Path) -> list[tuple[str, str]]:
    return [(exclusion.relpath, exclusion.reason) for exclusion in find_sources(images)[1]]


def test_files_belong_to_the_class_folder_they_lie_in(tmp_path: Path) -> None:
    _touch(tmp_path, "dog/b.jpg", "dog/a.jpg", "cat/c.jpg")
    assert _found(tmp_path) == [
        ("cat/c.jpg", "cat", None),
        ("dog/a.jpg", "dog", None),
        ("dog/b.jpg", "dog", None),
    ]
    assert _excluded(tmp_path) == []


def test_folders_below_a_class_belong_to_it(tmp_path: Path) -> None:
    _touch(tmp_path, "cat/indoor/night/a.jpg", "cat/b.jpg")
    assert _found(tmp_path) == [("cat/b.jpg", "cat", None), ("cat/indoor/night/a.jpg", "cat", None)]


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val", "VALIDATION"])
def test_split_folders_are_kept_under_every_common_name(tmp_path: Path, val: str) -> None:
    _touch(tmp_path, "train/cat/a.jpg", f"{val}/cat/b.jpg", "test/dog/c.jpg")
    assert {(relpath, folder, split) for relpath, folder, split in _found(tmp_path)} == {
        ("train/cat/a.jpg", "cat", "train"),
        (f"{val}/cat/b.jpg", "cat", "val"),
        ("test/dog/c.jpg", "dog", "test"),
    }


def test_a_class_may_be_called_test(tmp_path: Path) -> None:
    _touch(tmp_path, "test/a.jpg", "other/b.jpg")
    assert {folder for _, folder, _ in _found(tmp_path)} == {"test", "other"}


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    _touch(tmp_path, "train/a.jpg", "bus/b.jpg")
    assert {folder for _, folder, _ in _found(tmp_path)} == {"train", "bus"}


def test_split_folders_beside_class_folders_are_refused(tmp_path: Path) -> None:
    _touch(tmp_path, "train/cat/a.jpg", "test/cat/b.jpg", "dog/c.jpg")
    with pytest.raises(CatalogueError, match=r"mixes split folders \(test, train\) with others \(dog\)"):
        find_sources(tmp_path)


def test_two_folders_for_one_part_are_refused(tmp_path: Path) -> None:
    _touch(tmp_path, "train/cat/a.jpg", "val/cat/b.jpg", "valid/cat/c.jpg")
    with pytest.raises(CatalogueError, match="two folders for one part"):
        find_sources(tmp_path)


def test_a_file_beside_the_class_folders_is_listed(tmp_path: Path) -> None:
    _touch(tmp_path, "cat/a.jpg", "readme.txt", "b.jpg")
    assert _excluded(tmp_path) == [
        ("b.jpg", "not in a class folder"),
        ("readme.txt", "not in a class folder"),
    ]


def test_a_file_between_split_and_class_is_listed(tmp_path: Path) -> None:
    _touch(tmp_path, "train/cat/a.jpg", "test/cat/b.jpg", "train/loose.jpg")
    assert _excluded(tmp_path) == [("train/loose.jpg", "not in a class folder")]


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", "desktop.ini", "._a.jpg"])
def test_what_systems_leave_in_folders_is_hidden(tmp_path: Path, name: str) -> None:
    _touch(tmp_path, "cat/a.jpg", f"cat/{name}")
    assert [relpath for relpath, *_ in _found(tmp_path)] == ["cat/a.jpg"]
    assert _excluded(tmp_path) == [(f"cat/{name}", "hidden")]


def test_a_hidden_folder_is_no_class(tmp_path: Path) -> None:
    _touch(tmp_path, "cat/a.jpg", ".git/b.jpg", "__MACOSX/cat/c.jpg")
    assert [folder for _, folder, _ in _found(tmp_path)] == ["cat"]
    assert _excluded(tmp_path) == [(".git", "hidden"), ("__MACOSX", "hidden")]


def test_an_empty_class_folder_is_listed(tmp_path: Path) -> None:
    _touch(tmp_path, "cat/a.jpg")
    (tmp_path / "dog" / "puppies").mkdir(parents=True)
    assert _excluded(tmp_path) == [("dog/", "empty class folder")]


def test_an_empty_class_folder_of_one_part_is_listed(tmp_path: Path) -> None:
    _touch(tmp_path, "train/cat/a.jpg", "test/cat/b.jpg")
    (tmp_path / "test" / "dog").mkdir()
    assert _excluded(tmp_path) == [("test/dog/", "empty class folder")]


def test_a_class_is_not_empty_because_another_s_name_starts_alike(tmp_path: Path) -> None:
    _touch(tmp_path, "catfish/a.jpg")
    (tmp_path / "cat").mkdir()
    assert _excluded(tmp_path) == [("cat/", "empty class folder")]


def test_a_link_that_leads_back_ends_and_is_listed(tmp_path: Path) -> None:
    _touch(tmp_path, "cat/a.jpg")
    (tmp_path / "cat" / "again").symlink_to(tmp_path, target_is_directory=True)
    assert [relpath for relpath, *_ in _found(tmp_path)] == ["cat/a.jpg"]
    assert _excluded(tmp_path) == [("cat/again/", "link that leads back to a folder above it")]


def test_a_link_to_a_class_elsewhere_is_followed(tmp_path: Path) -> None:
    _touch(tmp_path / "elsewhere", "a.jpg")
    _touch(tmp_path / "images", "dog/b.jpg")
    (tmp_path / "images" / "cat").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert [relpath for relpath, *_ in _found(tmp_path / "images")] == ["cat/a.jpg", "dog/b.jpg"]


def test_a_link_to_nothing_and_a_pipe_are_listed_and_never_read(tmp_path: Path) -> None:
    _touch(tmp_path, "cat/a.jpg")
    (tmp_path / "cat" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    os.mkfifo(tmp_path / "cat" / "pipe.jpg")
    assert _excluded(tmp_path) == [
        ("cat/gone.jpg", "not a regular file"),
        ("cat/pipe.jpg", "not a regular file"),
    ]


def test_a_folder_that_cannot_be_opened_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _touch(tmp_path, "cat/a.jpg", "cat/closed/b.jpg")
    scandir = os.scandir

    def guarded(folder: Path) -> object:
        if Path(folder).name == "closed":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", guarded)
    exclusions = find_sources(tmp_path)[1]
    assert [(e.relpath, e.reason, e.detail) for e in exclusions] == [
        ("cat/closed/", "cannot be opened", "Permission denied")
    ]


@pytest.mark.parametrize("folder", ["größe", "猫", "кот", "two words", "e\u0301te\u0301"])
def test_names_in_any_language_are_kept(tmp_path: Path, folder: str) -> None:
    _touch(tmp_path, f"{folder}/ä b#1.jpg", "dog/a.jpg")
    assert (f"{folder}/ä b#1.jpg", folder, None) in _found(tmp_path)


def test_a_name_that_cannot_be_written_down_is_listed(tmp_path: Path) -> None:
    _touch(tmp_path, "cat/a.jpg", "cat/line\nbreak.jpg")
    Path(os.fsdecode(os.fsencode(tmp_path / "cat") + b"/\xff.jpg")).write_bytes(b"x")
    exclusions = _excluded(tmp_path)
    assert [reason for _, reason in exclusions] == ["name cannot be written down"] * 2
    assert all(relpath.isprintable() and relpath.encode("utf-8") for relpath, _ in exclusions)


@pytest.mark.parametrize("name", ["none", "file.txt"])
def test_what_is_no_folder_is_refused(tmp_path: Path, name: str) -> None:
    _touch(tmp_path, "file.txt")
    with pytest.raises(CatalogueError, match="is no folder"):
        find_sources(tmp_path / name)


def test_the_order_does_not_depend_on_that_of_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _touch(tmp_path, *(f"{folder}/{name}.jpg" for folder in "dbca" for name in "xzy"))
    before = _found(tmp_path)
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: [*scandir(folder)][::-1])
    assert _found(tmp_path) == before


def test_an_unchanged_folder_has_the_same_state(tmp_path: Path) -> None:
    _touch(tmp_path, "cat/a.jpg", "loose.txt", "cat/.hidden")
    assert _state(tmp_path) == _state(tmp_path)
    assert len(_state(tmp_path)) == 3


@pytest.mark.parametrize("change", ["add", "remove", "grow", "touch", "rename"])
def test_every_change_to_a_folder_changes_its_state(tmp_path: Path, change: str) -> None:
    _touch(tmp_path, "cat/a.jpg", "cat/b.jpg")
    before = _state(tmp_path)
    path = tmp_path / "cat" / "a.jpg"
    if change == "add":
        _touch(tmp_path, "cat/c.jpg")
    elif change == "remove":
        path.unlink()
    elif change == "grow":
        path.write_bytes(b"longer")
    elif change == "touch":
        os.utime(path, ns=(1, 1))
    else:
        path.rename(path.with_name("z.jpg"))
    assert _state(tmp_path) != before


def test_a_folder_with_odd_things_in_it_has_a_state_that_can_be_written(tmp_path: Path) -> None:
    _touch(tmp_path, "cat/a.jpg")
    (tmp_path / "dog").mkdir()
    (tmp_path / "cat" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    Path(os.fsdecode(os.fsencode(tmp_path / "cat") + b"/\xff.jpg")).write_bytes(b"x")
    assert all(relpath.encode("utf-8") for relpath, _, _ in _state(tmp_path))


def test_the_built_in_names_are_the_ten_animals() -> None:
    assert RENAMES["animals10"] == {
        "cane": "dog",
        "cavallo": "horse",
        "elefante": "elephant",
        "farfalla": "butterfly",
        "gallina": "chicken",
        "gatto": "cat",
        "mucca": "cow",
        "pecora": "sheep",
        "ragno": "spider",
        "scoiattolo": "squirrel",
    }


def test_a_public_set_that_cannot_be_fetched_says_where_to_find_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: str) -> str:
        raise ConnectionError(f"403 for {handle}\nand a long trace")

    monkeypatch.setitem(sys.modules, "kagglehub", SimpleNamespace(dataset_download=refuse))
    with pytest.raises(CatalogueError, match=r"403 for .*\. Where .*kaggle\.com/datasets/.*linnaeus demo"):
        download("animals10")


def test_fetching_without_its_package_tells_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'linnaeus\[kaggle\]'"):
        download("animals10")


def test_a_fetched_set_is_the_folder_with_the_classes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fetched = SimpleNamespace(dataset_download=lambda handle: str(tmp_path))
    monkeypatch.setitem(sys.modules, "kagglehub", fetched)
    assert download("animals10") == tmp_path / "raw-img"
