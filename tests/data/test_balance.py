import numpy as np
import pandas as pd
import pytest
from sklearn.utils import resample
from sklearn.utils.class_weight import compute_class_weight

from linnaeus.data.balance import balanced, class_weights, sample_to_n, target_size
from linnaeus.data.catalogue import with_labels
from linnaeus.errors import RecipeError
from linnaeus.recipe_sections import Balance

COUNTS = {"dog": 3, "ant": 8, "cat": 5, "emu": 6}


def _table() -> pd.DataFrame:
    rows = [(f"{name}/{number}.jpg", name) for name, count in COUNTS.items() for number in range(count)]
    return with_labels(pd.DataFrame(rows, columns=["relpath", "category"]))


@pytest.mark.parametrize("n", [1, 4, 8, 20])
def test_each_class_is_what_scikit_learn_draws_with_the_deck_s_seed(n: int) -> None:
    table = _table()
    sampled = sample_to_n(table, n)
    for name in COUNTS:
        expected = resample(table[table["category"] == name], n_samples=n, random_state=42)
        assert [*sampled.loc[sampled["category"] == name, "relpath"]] == [*expected["relpath"]]


def test_the_classes_come_in_sorted_order_under_a_fresh_index() -> None:
    sampled = sample_to_n(_table(), 2)
    assert [*sampled["category"]] == ["ant", "ant", "cat", "cat", "dog", "dog", "emu", "emu"]
    assert [*sampled.index] == [*range(8)]
    assert [*sampled["label"]] == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("n", [0, -1])
def test_a_class_cannot_be_sampled_to_nothing(n: int) -> None:
    with pytest.raises(RecipeError, match=f"to {n} images"):
        sample_to_n(_table(), n)


@pytest.mark.parametrize(
    ("balance", "size"),
    [("none", None), ("class-weights", None), ("down", 3), ("up", 8), ("mid", 5), ("median", 5), (4, 4)],
)
def test_a_balance_asks_for_that_many_images_a_class(balance: Balance, size: int | None) -> None:
    assert target_size(_table(), balance) == size
    sizes = balanced(_table(), balance)["category"].value_counts().to_dict()
    assert sizes == (COUNTS if size is None else dict.fromkeys(COUNTS, size))


def test_mean_and_median_are_rounded_down() -> None:
    counts = {"a": 1, "b": 2, "c": 3, "d": 5}
    table = pd.DataFrame({"category": [name for name, count in counts.items() for _ in range(count)]})
    assert target_size(table, "mid") == 2  # 11 / 4
    assert target_size(table, "median") == 2  # 2.5


@pytest.mark.parametrize("balance", ["none", "class-weights"])
def test_without_resampling_every_row_stays_where_it_is(balance: Balance) -> None:
    pd.testing.assert_frame_equal(balanced(_table(), balance), _table())


def test_class_weights_are_scikit_learn_s_balanced_ones() -> None:
    table = _table()
    weights = class_weights(table, "class-weights")
    assert weights is not None
    expected = compute_class_weight("balanced", classes=np.arange(4), y=table["label"].to_numpy())
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    assert weights.dtype == np.float32


@pytest.mark.parametrize("balance", ["none", "down", "up", "mid", "median", 4])
def test_only_class_weights_have_weights(balance: Balance) -> None:
    assert class_weights(_table(), balance) is None
