from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from linnaeus.data.catalogue import read_catalogue, with_labels
from linnaeus.data.split import Splits, split_table
from linnaeus.errors import SplitError
from linnaeus.records import PARTS
from linnaeus.settings import SplitRecipe


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


METHODS = ("stratified", "hash", "kfold")


def _crossing(splits: Splits) -> int:
    return int((splits.table.groupby("group")["split"].nunique() > 1).sum())


def _largest_change(splits: Splits, others: Splits) -> int:
    """By how many images the two differ most, of all classes and parts."""
    return int(np.abs(splits.counts().to_numpy() - others.counts().to_numpy()).max())


def _random_groups(rows: int, seed: int, largest: int = 5) -> NDArray[np.int64]:
    """A key for each row, of groups of 2 to `largest` rows anywhere in the table."""
    rng = np.random.default_rng(seed)
    keys = np.repeat(np.arange(rows), rng.integers(2, largest + 1, size=rows))[:rows]
    return rng.permutation(keys)


def test_groups_of_one_image_each_give_the_deck_s_split(animals: pd.DataFrame, deck_splits: Splits) -> None:
    splits = split_table(animals, groups=range(len(animals)))
    pd.testing.assert_frame_equal(splits.table.drop(columns="group"), deck_splits.table)
    assert splits.table["group"].is_unique


def test_animals10_with_every_image_in_a_group_keeps_the_deck_s_shares(
    animals: pd.DataFrame, deck_splits: Splits
) -> None:
    splits = split_table(animals, groups=_random_groups(len(animals), seed=0))
    assert _crossing(splits) == 0
    assert _largest_change(splits, deck_splits) <= 5


def test_images_that_do_not_change_part_stay_in_their_order() -> None:
    table = _table({"cat": 60, "dog": 60})
    deck, splits = split_table(table), split_table(table, groups=[0, 0, 0, *range(3, 120)])
    kept = splits.train[splits.train["relpath"].isin(deck.train["relpath"])]
    assert [*kept["relpath"]] == [relpath for relpath in deck.train["relpath"] if relpath in {*kept["relpath"]}]
    assert len(kept) >= len(deck.train) - 3


@st.composite
def grouped_tables(draw: st.DrawFn) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """A table of two to four classes and a group key for each row; a group has images of one class."""
    group_sizes = st.sampled_from([1, 1, draw(st.integers(1, 5)), draw(st.integers(1, 5))])
    sizes = draw(st.lists(st.lists(group_sizes, min_size=10, max_size=30), min_size=2, max_size=4))
    table = _table({f"class{number}": sum(groups) for number, groups in enumerate(sizes)})
    keys = np.repeat(np.arange(sum(map(len, sizes))), np.concatenate(sizes))
    order = np.random.default_rng(draw(st.integers(0, 99))).permutation(len(table))
    return table.iloc[order].reset_index(drop=True), keys[order]


@settings(max_examples=40, deadline=None, database=None)
@given(grouped=grouped_tables(), seed=st.integers(0, 99))
def test_any_groups_stay_whole_and_any_class_keeps_its_counts_within_one_image_or_group(
    grouped: tuple[pd.DataFrame, NDArray[np.int64]], seed: int
) -> None:
    table, keys = grouped
    recipe = SplitRecipe(seed=seed)
    deck, splits = split_table(table, recipe), split_table(table, recipe, keys)
    assert sorted(splits.table["relpath"]) == sorted(table["relpath"])
    assert _crossing(splits) == 0
    assert ((splits.table["group"].map(splits.table["group"].value_counts())).max()) == np.bincount(keys).max()
    for name, off in (splits.counts() - deck.counts()).abs().max(axis=1).items():
        assert off <= max(1, np.bincount(keys[table["category"] == name]).max())
    shuffled = table.set_axis(np.random.default_rng(seed).permutation(len(table)) + 7, axis=0)
    named = pd.Series([f"group {key}" for key in keys], index=range(50, 50 + len(keys)))
    pd.testing.assert_frame_equal(split_table(shuffled, recipe, named).table, splits.table)
    if np.bincount(keys).max() == 1:
        pd.testing.assert_frame_equal(splits.table[[*deck.table]], deck.table)


@settings(max_examples=40, deadline=None, database=None)
@given(grouped=grouped_tables(), joined=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=8))
def test_groups_of_several_classes_are_kept_whole_or_refused(
    grouped: tuple[pd.DataFrame, NDArray[np.int64]], joined: list[tuple[int, int]]
) -> None:
    table, keys = grouped
    for first, second in joined:
        keys[keys == second] = first
    try:
        splits = split_table(table, groups=keys)
    except SplitError as error:
        refusal = str(error)
        assert "too few groups" in refusal or "groups of several classes" in refusal
        return
    assert _crossing(splits) == 0
    assert sorted(splits.table["relpath"]) == sorted(table["relpath"])
    assert (splits.counts() > 0).all(axis=None)


@pytest.mark.parametrize("groups", [1, 2])
def test_a_class_of_one_or_two_groups_is_refused_by_its_name_and_size(groups: int) -> None:
    table = _table({"cat": 30, "dog": 30})
    keys = [row if row < 30 else 100 + row % groups for row in range(60)]
    with pytest.raises(SplitError, match=rf"each of 3 parts: dog \(30 images in {groups}\)"):
        split_table(table, groups=keys)


def test_column_and_pattern_are_kept_together_and_named_in_the_manifest() -> None:
    table = _table({"cat": 40, "dog": 40}).assign(site=[f"s{row % 9}" for row in range(80)])
    splits = split_table(table, SplitRecipe(group_column="site"))
    assert [*splits.table] == ["relpath", "category", "label", "split", "group", "group_name"]
    assert _crossing(splits) == 0
    sites = table.set_index("relpath")["site"]
    assert [*splits.table["group_name"]] == [*sites[splits.table["relpath"]]]
    by_path = split_table(table, SplitRecipe(group_pattern=r"/(\d)"))
    assert (by_path.table.groupby("group_name")["split"].nunique() == 1).all()
    assert (by_path.table.groupby("group_name").size() > 1).any()


def test_a_user_s_own_columns_of_the_manifest_s_names_do_not_come_in() -> None:
    table = _table({"cat": 10, "dog": 10})
    own = table.assign(split="x", group=1, group_name="y", fold=2, source="z")
    pd.testing.assert_frame_equal(split_table(own).table, split_table(table).table)


@pytest.mark.parametrize("missing", ["val", "test"])
def test_a_missing_part_is_drawn_from_training_without_dividing_a_group(missing: str) -> None:
    present = "test" if missing == "val" else "val"
    table = _given({"train": {"cat": 60, "dog": 60}, present: {"cat": 10, "dog": 10}})
    keys = _random_groups(120, seed=1)
    splits = split_table(table, groups=[*keys, *range(1000, 1020)])
    assert _crossing(splits) == 0
    assert {*splits.part("test" if missing == "val" else "val")["relpath"]} == {*table["relpath"].iloc[120:]}
    plain = split_table(table)
    assert _largest_change(splits, plain) <= 5


def test_both_missing_parts_are_drawn_from_training_without_dividing_a_group() -> None:
    table = _given({"train": {"cat": 60, "dog": 60}})
    splits = split_table(table, groups=_random_groups(120, seed=1))
    assert _crossing(splits) == 0
    assert _largest_change(splits, split_table(table)) <= 5


def test_given_parts_stay_as_they_are_even_where_a_group_crosses_them() -> None:
    table = _given({"train": {"cat": 9, "dog": 9}, "val": {"cat": 2, "dog": 1}, "test": {"cat": 2, "dog": 2}})
    splits = split_table(table, groups=[0] * len(table))
    pd.testing.assert_frame_equal(splits.table.drop(columns="group"), split_table(table).table)


def test_a_class_with_one_group_to_draw_a_missing_part_from_is_refused() -> None:
    table = _given({"train": {"cat": 40, "dog": 40}, "test": {"cat": 10, "dog": 10}})
    with pytest.raises(SplitError, match=r"each of 2 parts: dog \(40 images in 1\)"):
        split_table(table, groups=[row if row < 40 or row >= 80 else 500 for row in range(100)])


@pytest.mark.parametrize(
    ("parts", "complaint"),
    [
        (["val", "test"], "given_split has no train"),
        (["train", "valid", "test"], "given_split has 'valid'; it may only have train, val, test"),
    ],
)
def test_given_parts_without_training_or_with_another_name_are_refused(parts: list[str], complaint: str) -> None:
    with pytest.raises(SplitError, match=complaint):
        split_table(_given({part: {"cat": 5, "dog": 5} for part in parts}))


@pytest.mark.parametrize("method", ["hash", "kfold"])
def test_given_parts_and_a_method_that_would_undo_them_contradict_each_other(method: str) -> None:
    table = _given({"train": {"cat": 50, "dog": 50}, "test": {"cat": 10, "dog": 10}})
    with pytest.raises(SplitError, match=f"method {method} would undo"):
        split_table(table, SplitRecipe.model_validate({"method": method}))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize(
    ("counts", "complaint"),
    [
        ({}, "no images"),
        ({"cat": 50}, r"only one class \(cat\)"),
        ({"cat": 60, "dog": 60, "ant": 2}, r"\bant\b"),
        ({"cat": 1, "dog": 1}, "images"),
    ],
)
def test_every_method_refuses_what_cannot_be_trained_on(
    method: str, grouped: bool, counts: dict[str, int], complaint: str
) -> None:
    table = _table(counts)
    keys = [row // 2 for row in range(len(table))] if grouped else None
    with pytest.raises(SplitError, match=complaint):
        split_table(table, SplitRecipe.model_validate({"method": method}), keys)
