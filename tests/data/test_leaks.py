import pandas as pd
import pytest

from linnaeus.data.catalogue import PAIR_COLUMNS
from linnaeus.data.leaks import LEAK_COLUMNS, find_leaks

PAIRS = pd.DataFrame(
    [
        ("a.jpg", "b.jpg", "near duplicate", 3, 0.97),
        ("a.jpg", "c.jpg", "same pixels", 0, 1.0),
        ("c.jpg", "d.jpg", "near duplicate", 5, 0.91),
        ("a.jpg", "gone.jpg", "near duplicate", 1, 0.99),
    ],
    columns=PAIR_COLUMNS,
)
NO_PAIRS = PAIRS.iloc[:0]


def _manifest(**parts: str) -> pd.DataFrame:
    return pd.DataFrame({"relpath": [f"{name}.jpg" for name in parts], "split": parts.values()})


def test_pairs_in_different_parts_are_leaks_with_both_parts() -> None:
    leaks = find_leaks(_manifest(a="train", b="train", c="test", d="val"), PAIRS)
    assert [*leaks] == LEAK_COLUMNS
    assert leaks.to_numpy().tolist() == [
        ["a.jpg", "c.jpg", "same pixels", 0, 1.0, "train", "test"],
        ["c.jpg", "d.jpg", "near duplicate", 5, 0.91, "test", "val"],
    ]


@pytest.mark.parametrize("pairs", [PAIRS, NO_PAIRS])
def test_without_leaks_the_table_is_empty_and_has_its_columns(pairs: pd.DataFrame) -> None:
    leaks = find_leaks(_manifest(a="train", b="train", c="train", d="train"), pairs)
    assert leaks.empty
    assert [*leaks] == LEAK_COLUMNS


def test_further_columns_of_the_pairs_stay_out() -> None:
    leaks = find_leaks(_manifest(a="train", c="test"), PAIRS.assign(note="x"))
    assert [*leaks] == LEAK_COLUMNS
    assert len(leaks) == 1


def test_a_named_group_that_crosses_is_listed_once_for_each_pair_of_parts() -> None:
    manifest = _manifest(a="train", b="train", c="val", d="test", e="test", f="train", g="val", h="test")
    manifest["group_name"] = ["n", "n", "n", "n", "n", "s", None, None]
    leaks = find_leaks(manifest, NO_PAIRS)
    assert {*leaks["kind"]} == {"same group"}
    assert leaks[["first", "second", "first_split", "second_split"]].to_numpy().tolist() == [
        ["a.jpg", "c.jpg", "train", "val"],
        ["a.jpg", "d.jpg", "train", "test"],
        ["c.jpg", "d.jpg", "val", "test"],
    ]
    assert leaks[["distance", "similarity"]].isna().all(axis=None)


def test_pairs_and_groups_are_listed_together() -> None:
    manifest = _manifest(a="train", c="test", d="test")
    manifest["group_name"] = ["n", "n", None]
    assert [*find_leaks(manifest, PAIRS)["kind"]] == ["same pixels", "same group"]
