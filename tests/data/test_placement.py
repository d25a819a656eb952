import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from linnaeus.data.placement import Ints, keep_groups_whole


def _ints(*values: int) -> Ints:
    return np.array(values, dtype=np.int64)


def _counts(labels: Ints, parts: Ints) -> Ints:
    counts = np.zeros((labels.max() + 1, 3), dtype=np.int64)
    np.add.at(counts, (labels, parts), 1)
    return counts


def test_single_images_stay_where_they_are() -> None:
    parts = _ints(0, 1, 2, 0)
    assert [*keep_groups_whole(parts, _ints(0, 0, 0, 0), _ints(7, 3, 5, 1), 0)] == [*parts]


def test_a_group_goes_where_most_of_it_is_and_one_image_makes_up_for_it() -> None:
    parts = _ints(0, 0, 0, 1, 1, 1, 2, 2)
    groups = _ints(0, 1, 2, 3, 3, 4, 3, 5)
    whole = keep_groups_whole(parts, np.zeros(8, dtype=np.int64), groups, 0)
    assert [*whole[[3, 4, 6]]] == [1, 1, 1]
    assert whole[5] == 2
    assert (whole != parts).sum() == 2


def test_a_group_that_is_whole_already_moves_nothing() -> None:
    parts = _ints(0, 0, 0, 1, 1, 2, 2)
    assert [*keep_groups_whole(parts, _ints(0, 0, 0, 0, 0, 0, 0), _ints(0, 0, 1, 2, 2, 3, 3), 0)] == [*parts]


def test_a_class_of_as_many_groups_as_parts_has_one_in_each_whatever_the_shares() -> None:
    parts = np.repeat(_ints(0, 1, 2), [11, 3, 1])
    groups = np.repeat(_ints(0, 1, 2), 5)
    whole = keep_groups_whole(parts, np.zeros(15, dtype=np.int64), groups, 0)
    assert [*np.bincount(whole)] == [5, 5, 5]


def test_the_last_single_image_goes_where_the_class_is_missing() -> None:
    parts = _ints(0, 0, 0, 0, 0, 1, 2, 2, 2)
    groups = _ints(0, 0, 1, 1, 3, 4, 2, 2, 3)  # group 3 finds no room, and nobody but image 5 is left for part 1
    whole = keep_groups_whole(parts, np.zeros(9, dtype=np.int64), groups, 0)
    assert [*np.bincount(whole)] == [6, 1, 2]


def test_groups_of_several_classes_keep_the_shares_of_each() -> None:
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 60, size=2000)
    labels = (rng.random(2000) < 0.2 + 0.6 * (groups % 2)).astype(np.int64)
    parts = rng.choice(3, size=2000, p=[0.7, 0.2, 0.1])
    whole = keep_groups_whole(parts, labels, groups, 0)
    largest = max(np.bincount(groups[labels == label]).max() for label in (0, 1))
    assert np.abs(_counts(labels, whole) - _counts(labels, parts)).max() <= largest
    assert (pd.Series(whole).groupby(groups).nunique() == 1).all()


def test_the_seed_draws_the_single_images_that_move() -> None:
    parts = np.repeat(_ints(0, 1, 2), [60, 20, 20])
    groups = np.arange(100)
    groups[[58, 59, 60]] = 200
    first, again, other = (keep_groups_whole(parts, np.zeros(100, dtype=np.int64), groups, seed) for seed in (1, 1, 2))
    assert [*first] == [*again] != [*other]


@settings(max_examples=60, deadline=None, database=None)
@given(sizes=st.lists(st.integers(1, 9), min_size=3, max_size=25), seed=st.integers(0, 99))
def test_a_class_keeps_its_counts_within_its_largest_group_wherever_parts_are_that_large(
    sizes: list[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    labels = np.zeros(len(groups), dtype=np.int64)
    parts = rng.permutation(np.concatenate([[0, 1, 2], rng.choice(3, size=len(groups) - 3, p=[0.7, 0.2, 0.1])]))
    whole = keep_groups_whole(parts, labels, groups, seed)
    before, after = _counts(labels, parts), _counts(labels, whole)
    assert (after > 0).all()
    assert (pd.Series(whole).groupby(groups).nunique() == 1).all()
    groups_off = 1 if before.min() >= max(sizes) else 2
    assert np.abs(after - before).max() <= groups_off * max(sizes)
