import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnaeus.data.split import split_table
from linnaeus.errors import SplitError
from linnaeus.settings import SplitRecipe


def _table(counts: dict[str, int]) -> pd.DataFrame:
    rows = [(f"{name}/{number}.jpg", name) for name, count in counts.items() for number in range(count)]
    return pd.DataFrame(rows, columns=["relpath", "category"])


def _recipe(folds: int, fold: int, seed: int = 5) -> SplitRecipe:
    return SplitRecipe(method="kfold", folds=folds, fold=fold, seed=seed)


def test_fold_s_number_says_which_is_test_and_the_next_is_validation_around_the_end() -> None:
    table = _table({"cat": 20, "dog": 20})
    for fold, val in [(0, 1), (3, 4), (4, 0)]:
        manifest = split_table(table, _recipe(5, fold)).table
        assert (manifest["split"] == "test").equals(manifest["fold"] == fold)
        assert (manifest["split"] == "val").equals(manifest["fold"] == val)


def test_every_image_is_a_test_image_in_exactly_one_fold() -> None:
    table = _table({"cat": 23, "dog": 31})
    tested = [relpath for fold in range(4) for relpath in split_table(table, _recipe(4, fold)).test["relpath"]]
    assert sorted(tested) == sorted(table["relpath"])


def test_the_folds_are_the_same_whichever_is_test() -> None:
    table = _table({"cat": 23, "dog": 31})
    first, other = (split_table(table, _recipe(4, fold)).table.set_index("relpath")["fold"] for fold in (0, 2))
    assert other[first.index].equals(first)


def test_the_seed_draws_the_folds() -> None:
    table = _table({"cat": 23, "dog": 31})
    first, again, other = (split_table(table, _recipe(4, 0, seed)).table for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert {*first.loc[first["fold"] == 0, "relpath"]} != {*other.loc[other["fold"] == 0, "relpath"]}


def test_only_kfold_s_manifest_has_a_fold() -> None:
    table = _table({"cat": 20, "dog": 20})
    assert [*split_table(table, _recipe(4, 0)).table] == ["relpath", "category", "label", "split", "fold"]
    assert "fold" not in split_table(table.assign(fold=1)).table


def test_a_class_with_fewer_images_than_folds_is_refused() -> None:
    with pytest.raises(SplitError, match="5 folds needs an image of every class, and ant has only 4"):
        split_table(_table({"cat": 20, "dog": 20, "ant": 4}), _recipe(5, 0))


@pytest.mark.parametrize("fold", range(4))
def test_a_class_with_fewer_groups_than_folds_is_refused_whichever_fold_is_test(fold: int) -> None:
    table = _table({"cat": 20, "dog": 20})
    keys = [row if row < 20 else 100 + row % 3 for row in range(40)]
    with pytest.raises(SplitError, match=r"each of 4 parts: dog \(20 images in 3\)"):
        split_table(table, _recipe(4, fold), keys)


@settings(max_examples=60, deadline=None, database=None)
@given(
    sizes=st.lists(st.lists(st.integers(1, 6), min_size=5, max_size=20), min_size=2, max_size=4),
    folds=st.integers(3, 5),
    seed=st.integers(0, 99),
)
def test_folds_keep_groups_whole_and_class_counts_within_one_image_or_group(
    sizes: list[list[int]], folds: int, seed: int
) -> None:
    table = _table({f"class{number}": sum(groups) for number, groups in enumerate(sizes)})
    keys = np.repeat(np.arange(sum(map(len, sizes))), np.concatenate(sizes))
    order = np.random.default_rng(seed).permutation(len(table))
    table, keys = table.iloc[order], keys[order]
    manifest = split_table(table, _recipe(folds, seed % folds, seed), keys).table
    assert sorted(manifest["relpath"]) == sorted(table["relpath"])
    assert (manifest.groupby("group")["fold"].nunique() == 1).all()
    counts = pd.crosstab(manifest["category"], manifest["fold"]).to_numpy()
    assert counts.shape == (len(sizes), folds)
    assert (counts > 0).all()
    for images, groups in zip(counts, sizes, strict=True):
        assert np.abs(images - sum(groups) / folds).max() < 1 + max(groups)
