from pathlib import Path

import pandas as pd
import pytest
from sklearn.model_selection import train_test_split

from linnaeus.data.catalogue import read_catalogue, with_labels
from linnaeus.data.split import Splits, split_table
from linnaeus.errors import SplitError
from linnaeus.recipe import SplitRecipe
from linnaeus.records import PARTS


def _table(counts: dict[str, int]) -> pd.DataFrame:
    rows = [(f"{name}/{number}.jpg", name) for name, count in counts.items() for number in range(count)]
    return with_labels(pd.DataFrame(rows, columns=["relpath", "category"]))


def _given(parts: dict[str, dict[str, int]]) -> pd.DataFrame:
    """A table of images that lie in split folders: {part: {class: images}}."""
    tables = []
    for part, counts in parts.items():
        table = _table(counts)
        tables.append(table.assign(relpath=f"{part}/" + table["relpath"], given_split=part))
    return with_labels(pd.concat(tables, ignore_index=True))


def _sizes(splits: Splits) -> tuple[int, int, int]:
    return len(splits.train), len(splits.val), len(splits.test)


@pytest.fixture(scope="module")
def animals(shared: Path) -> pd.DataFrame:
    return read_catalogue(shared / "data" / "animals10-clean.csv")


@pytest.fixture(scope="module")
def deck_splits(animals: pd.DataFrame) -> Splits:
    return split_table(animals)


def test_animals10_is_divided_into_the_deck_s_sizes(deck_splits: Splits) -> None:
    assert _sizes(deck_splits) == (18325, 5236, 2618)


def test_the_deck_s_training_classes_have_its_smallest_mean_and_largest_size(deck_splits: Splits) -> None:
    counts = deck_splits.train["category"].value_counts()
    assert (counts.min(), counts.mean(), counts.max()) == (1012, 1832.5, 3404)


def test_the_parts_are_those_of_the_deck_s_two_calls_in_their_order(animals: pd.DataFrame, deck_splits: Splits) -> None:
    train, rest = train_test_split(animals, stratify=animals["category"], test_size=0.3, random_state=5)
    val, test = train_test_split(rest, stratify=rest["category"], test_size=1 / 3, random_state=5)
    for name, expected in zip(PARTS, (train, val, test), strict=True):
        assert [*deck_splits.part(name)["relpath"]] == [*expected["relpath"]]


def test_the_split_does_not_depend_on_what_the_labels_are_called(animals: pd.DataFrame, deck_splits: Splits) -> None:
    relabelled = split_table(animals.assign(label=9 - animals["label"]))
    assert [*relabelled.table["relpath"]] == [*deck_splits.table["relpath"]]


def test_the_table_s_own_row_order_counts() -> None:
    table = _table({"cat": 20, "dog": 20})
    assert {*split_table(table).test["relpath"]} != {*split_table(table.iloc[::-1]).test["relpath"]}


def test_the_index_of_the_table_does_not_count() -> None:
    table = _table({"cat": 20, "dog": 20})
    other = table.set_axis(range(100, 140), axis=0)
    pd.testing.assert_frame_equal(split_table(other).table, split_table(table).table)


def test_every_image_is_in_exactly_one_part() -> None:
    table = _table({"cat": 37, "dog": 23, "ant": 11})
    splits = split_table(table)
    assert sorted(splits.table["relpath"]) == sorted(table["relpath"])
    assert {*splits.table["split"]} == {*PARTS}


def test_labels_and_classes_go_along() -> None:
    table = _table({"dog": 10, "cat": 10}).set_index("relpath")
    splits = split_table(table.reset_index())
    for row in splits.table.itertuples():
        assert (row.category, row.label) == (*table.loc[str(row.relpath)],)
    assert splits.classes == ("cat", "dog")


def test_ten_images_a_class_are_enough_and_give_seven_two_and_one() -> None:
    counts = split_table(_table({"cat": 10, "dog": 10, "ant": 10})).counts()
    assert counts.to_numpy().tolist() == [[7, 2, 1]] * 3


def test_every_class_is_in_every_part_in_the_same_shares() -> None:
    counts = split_table(_table({"cat": 100, "dog": 200})).counts()
    assert counts.loc["cat"].to_dict() == {"train": 70, "val": 20, "test": 10}
    assert counts.loc["dog"].to_dict() == {"train": 140, "val": 40, "test": 20}


def test_the_same_seed_gives_the_same_parts_and_another_gives_others() -> None:
    table = _table({"cat": 30, "dog": 30})
    first, again, other = (split_table(table, SplitRecipe(seed=seed)).table for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert [*first["relpath"]] != [*other["relpath"]]


@pytest.mark.parametrize(
    ("val", "test", "sizes"), [(0.1, 0.1, (80, 10, 10)), (0.15, 0.15, (70, 15, 15)), (0.25, 0.25, (50, 25, 25))]
)
def test_other_shares_are_kept_to_the_image(val: float, test: float, sizes: tuple[int, int, int]) -> None:
    assert _sizes(split_table(_table({"cat": 50, "dog": 50}), SplitRecipe(val=val, test=test))) == sizes


def test_a_single_class_is_refused() -> None:
    with pytest.raises(SplitError, match=r"only one class \(cat\)"):
        split_table(_table({"cat": 20}))


@pytest.mark.parametrize("images", [1, 2, 3])
def test_a_class_too_small_for_every_part_is_refused_by_its_name_and_size(images: int) -> None:
    with pytest.raises(SplitError, match=rf"\bant\b.* has {images}\b"):
        split_table(_table({"cat": 50, "dog": 50, "ant": images}))


def test_too_few_images_in_all_are_refused() -> None:
    with pytest.raises(SplitError):
        split_table(_table({"cat": 1, "dog": 1}))


@pytest.mark.parametrize("images", range(1, 12))
def test_a_small_class_is_refused_or_really_in_every_part(images: int) -> None:
    try:
        counts = split_table(_table({"cat": 50, "dog": 50, "ant": images})).counts()
    except SplitError:
        assert images < 10
    else:
        assert (counts > 0).all(axis=None)


def test_parts_that_are_given_are_kept() -> None:
    sizes = {"train": {"cat": 3, "dog": 5}, "val": {"cat": 2, "dog": 1}, "test": {"cat": 1, "dog": 4}}
    table = _given(sizes)
    splits = split_table(table)
    assert splits.counts().T.to_dict("index") == sizes
    for name in PARTS:
        assert splits.part(name)["relpath"].str.startswith(f"{name}/").all()


def test_a_missing_validation_part_is_drawn_from_training_alone() -> None:
    table = _given({"train": {"cat": 40, "dog": 40}, "test": {"cat": 10, "dog": 10}})
    splits = split_table(table)
    assert splits.val["relpath"].str.startswith("train/").all()
    assert splits.counts().loc["cat"].to_dict() == {"train": 30, "val": 10, "test": 10}
    assert _sizes(splits) == (60, 20, 20)
    assert {*splits.test["relpath"]} == {*table.loc[table["given_split"] == "test", "relpath"]}


def test_a_missing_test_part_is_drawn_from_training_alone() -> None:
    table = _given({"train": {"cat": 40, "dog": 40}, "val": {"cat": 10, "dog": 10}})
    splits = split_table(table)
    assert splits.test["relpath"].str.startswith("train/").all()
    assert _sizes(splits) == (70, 20, 10)


def test_a_class_missing_from_a_given_part_is_refused() -> None:
    table = _given({"train": {"cat": 9, "dog": 9}, "val": {"cat": 2, "dog": 1}, "test": {"cat": 2}})
    with pytest.raises(SplitError, match="test has no image of dog"):
        split_table(table)


def test_a_training_part_too_small_to_draw_from_is_refused() -> None:
    table = _given({"train": {"cat": 2, "dog": 2}, "test": {"cat": 40, "dog": 40}})
    with pytest.raises(SplitError, match="too small to draw a val part"):
        split_table(table)


def test_a_given_split_that_is_empty_counts_as_none() -> None:
    table = _table({"cat": 10, "dog": 10})
    pd.testing.assert_frame_equal(split_table(table.assign(given_split=None)).table, split_table(table).table)


def test_the_table_that_is_divided_stays_as_it_was() -> None:
    table = _table({"cat": 10, "dog": 10})
    before = table.copy()
    split_table(table)
    pd.testing.assert_frame_equal(table, before)
