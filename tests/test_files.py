import hashlib
from pathlib import Path

import pandas as pd
import pytest

from linnaeus.files import (
    file_hash,
    fingerprint,
    read_json,
    whole,
    whole_folder,
    write_json,
    write_table,
    write_text,
    write_with,
)


def _fail_while_writing(path: Path) -> None:
    with whole(path) as partial:
        partial.write_text("half")
        raise RuntimeError


def _fail_while_filling(path: Path) -> None:
    with whole_folder(path) as partial:
        (partial / "new.txt").write_text("half")
        raise RuntimeError


def test_a_file_takes_its_name_only_when_it_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    with whole(path) as partial:
        partial.write_text("done")
        assert not path.exists()
    assert path.read_text() == "done"
    assert [*tmp_path.iterdir()] == [path]


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        _fail_while_writing(tmp_path / "notes.txt")
    assert [*tmp_path.iterdir()] == []


def test_a_failed_write_keeps_the_earlier_file(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("earlier")
    with pytest.raises(RuntimeError):
        _fail_while_writing(path)
    assert path.read_text() == "earlier"
    assert [*tmp_path.iterdir()] == [path]


def test_the_temporary_path_keeps_the_ending_so_that_formats_are_recognised(tmp_path: Path) -> None:
    with whole(tmp_path / "figure.png") as partial:
        assert partial.suffix == ".png"
        partial.touch()


def test_a_file_s_folders_are_made_on_the_way(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "notes.txt", "done")
    assert (tmp_path / "a" / "b" / "notes.txt").read_text() == "done"


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "clean"
    path.mkdir()
    (path / "old.txt").touch()
    with whole_folder(path) as partial:
        (partial / "new.txt").touch()
        assert (path / "old.txt").exists()
    assert [item.name for item in path.iterdir()] == ["new.txt"]
    assert [*tmp_path.iterdir()] == [path]


def test_a_failed_folder_leaves_nothing_behind_and_keeps_the_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "clean"
    path.mkdir()
    (path / "old.txt").write_text("earlier")
    with pytest.raises(RuntimeError):
        _fail_while_filling(path)
    assert [*tmp_path.iterdir()] == [path]
    assert [item.name for item in path.iterdir()] == ["old.txt"]


def test_a_folder_starts_empty_even_after_a_killed_run(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "clean") as partial:
        name = partial.name
    killed = tmp_path / name
    killed.mkdir()
    (killed / "left-over.txt").touch()
    with whole_folder(tmp_path / "clean") as partial:
        assert [*partial.iterdir()] == []


def test_json_comes_back_as_it_was_in_readable_unicode(tmp_path: Path) -> None:
    value = {"class": "Bär", "sizes": [1, 2.5, None]}
    write_json(tmp_path / "facts.json", value)
    assert read_json(tmp_path / "facts.json") == value
    assert "Bär" in (tmp_path / "facts.json").read_text(encoding="utf-8")


def test_a_table_is_written_for_programs_and_for_people(tmp_path: Path) -> None:
    table = pd.DataFrame({"relpath": ["a.jpg", "b.jpg"], "label": [0, 1]})
    write_table(table, tmp_path / "catalogue.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "catalogue.parquet"), table, check_dtype=False)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "catalogue.csv"), table, check_dtype=False)
    assert len([*tmp_path.iterdir()]) == 2


def test_a_writer_of_its_own_fills_the_file(tmp_path: Path) -> None:
    write_with(tmp_path / "figure.bin", lambda path: path.write_bytes(b"123"))
    assert (tmp_path / "figure.bin").read_bytes() == b"123"


def test_a_fingerprint_does_not_depend_on_the_order_of_keys() -> None:
    first = {"clean": {"size": 224, "fit": "squash"}, "seed": 5}
    second = {"seed": 5, "clean": {"fit": "squash", "size": 224}}
    assert fingerprint(first) == fingerprint(second)


@pytest.mark.parametrize("other", [{"a": 2}, {"b": 1}, {"a": "1"}, {"a": [1]}, {}, None])
def test_a_fingerprint_changes_with_the_value(other: object) -> None:
    assert fingerprint(other) != fingerprint({"a": 1})


def test_a_fingerprint_depends_on_the_order_of_a_list() -> None:
    assert fingerprint([1, 2]) != fingerprint([2, 1])


def test_a_file_s_hash_is_the_sha256_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"linnaeus")
    assert file_hash(tmp_path / "a.bin") == hashlib.sha256(b"linnaeus").hexdigest()
