from pathlib import Path

from linnaeus.looks import add_looks, read_looks


def test_before_any_look_the_test_part_is_closed_and_says_how_to_open_it(tmp_path: Path) -> None:
    looks = read_looks(tmp_path / "none.csv")
    assert not looks.is_open
    assert (looks.later, looks.next) == (0, 1)
    assert "--final" in looks.sentence


def test_the_runs_of_one_command_are_one_look_and_those_of_the_next_a_later_one(tmp_path: Path) -> None:
    path = tmp_path / "looks.csv"
    add_looks(path, "2026-01-02T03:04:05+00:00", 1, {"a": "key-a"})
    add_looks(path, "2026-01-02T03:04:06+00:00", 1, {"b": "key-b"})
    assert read_looks(path).sentence == (
        "The test part was opened on 2026-01-02 03:04 UTC for 2 runs, and not looked at since."
    )
    add_looks(path, "2026-01-05T03:04:06+00:00", read_looks(path).next, {"c": "key-c"})
    looks = read_looks(path)
    assert looks.first == ("a", "b")
    assert looks.later == 1
    assert looks.sentence.endswith("for 2 runs, and looked at once more since.")


def test_the_same_run_on_the_same_images_is_no_further_look(tmp_path: Path) -> None:
    path = tmp_path / "looks.csv"
    for look in (1, 2):
        add_looks(path, "2026-01-02T03:04:05+00:00", look, {"a": "key-a"})
    assert read_looks(path).later == 0
    add_looks(path, "2026-01-02T03:04:05+00:00", 2, {"a": "trained anew"})
    assert read_looks(path).later == 1


def test_names_that_look_like_numbers_or_nothing_stay_text(tmp_path: Path) -> None:
    path = tmp_path / "looks.csv"
    for name in ("007", "NA"):
        add_looks(path, "2026-01-02T03:04:05+00:00", 1, {name: name})
    assert read_looks(path).first == ("007", "NA")
