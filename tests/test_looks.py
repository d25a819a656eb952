from pathlib import Path

from linnaeus.looks import Looks, add_looks, read_looks

MINUTE = "2026-01-02T03:04:05+00:00"


def look(path: Path, *model_ids: str, splits: str = "now", is_same_look: bool = False) -> Looks:
    add_looks(path, MINUTE, {name: f"key of {name}" for name in model_ids}, splits=splits, is_same_look=is_same_look)
    return read_looks(path, "now")


def test_before_any_look_the_test_part_is_closed_and_says_how_to_open_it(tmp_path: Path) -> None:
    looks = read_looks(tmp_path / "none.csv", "now")
    assert not looks.is_open
    assert looks.later == 0
    assert "--final" in looks.sentence


def test_the_runs_of_one_command_are_one_look_and_those_of_the_next_a_later_one(tmp_path: Path) -> None:
    opened = "The test part was opened on 2026-01-02 03:04 UTC for 2 runs, and"
    assert look(tmp_path / "looks.csv", "a", "b").sentence == f"{opened} not looked at since."
    later = look(tmp_path / "looks.csv", "c")
    assert (later.first, later.later) == (("a", "b"), 1)
    assert later.sentence == f"{opened} looked at once more since."
    assert "looked at 2 times more since" in look(tmp_path / "looks.csv", "d").sentence


def test_a_job_that_judges_one_run_after_another_looks_once(tmp_path: Path) -> None:
    look(tmp_path / "looks.csv", "a")
    assert look(tmp_path / "looks.csv", "b", is_same_look=True).first == ("a", "b")


def test_the_same_run_on_the_same_images_is_no_further_look(tmp_path: Path) -> None:
    look(tmp_path / "looks.csv", "a")
    assert look(tmp_path / "looks.csv", "a").later == 0
    add_looks(tmp_path / "looks.csv", MINUTE, {"a": "trained anew"}, splits="now")
    assert read_looks(tmp_path / "looks.csv", "now").later == 1


def test_looks_at_the_test_part_of_another_division_are_told_apart(tmp_path: Path) -> None:
    before = look(tmp_path / "looks.csv", "a", splits="before")
    assert not before.is_open
    assert "Test parts of other divisions were looked at once." in before.sentence
    now = look(tmp_path / "looks.csv", "b")
    assert (now.first, now.later, now.elsewhere) == (("b",), 0, 1)


def test_names_that_look_like_numbers_or_nothing_stay_text(tmp_path: Path) -> None:
    assert look(tmp_path / "looks.csv", "007", "NA").first == ("007", "NA")
