import numpy as np
import pandas as pd
import pytest
from scipy.stats import fisher_exact

from linnaeus.evaluation.intervals import wilson_interval
from linnaeus.evaluation.slices import SLICE_COLUMNS, left_out, slice_table, slices


@pytest.fixture(autouse=True)
def _uncollected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Statsmodels collects garbage whenever it corrects p-values, which takes longer than all the rest."""
    monkeypatch.setattr("gc.collect", lambda: 0)


def _names(values: object) -> list[str]:
    return [*slice_table(pd.DataFrame({"x": values}))["x"]]


def _row(table: pd.DataFrame, column: str, name: str) -> pd.Series:
    return table[(table["column"] == column) & (table["slice"] == name)].iloc[0]


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([True, False, True], ["yes", "no", "yes"]),
        ([True, None, False], ["yes", "missing", "no"]),
        (["indoors", None, "outdoors"], ["indoors", "missing", "outdoors"]),
        (pd.Categorical([3, 5, None]), ["3", "5", "missing"]),
        ([2019, 2020, 2020], ["2019", "2020", "2020"]),
        ([2019, 2020, np.nan], ["2019", "2020", "missing"]),
        ([0.5, 0.25, 0.5], ["0.5", "0.25", "0.5"]),
        ([1.5, np.nan], ["1.5", "missing"]),
    ],
)
def test_few_values_have_a_slice_each_and_gaps_their_own(values: object, names: list[str]) -> None:
    assert _names(values) == names


def test_fractions_are_cut_into_quartiles_named_by_their_bounds() -> None:
    values = pd.Series([0.1234, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.87654, np.nan])
    quartiles = ["0.123 to 0.2", "0.3 to 0.4", "0.5 to 0.6", "0.7 to 0.877"]
    assert _names(values) == [*np.repeat(quartiles, 2), "missing"]


def test_many_whole_numbers_are_cut_into_quartiles_in_full() -> None:
    assert {*_names(range(123400, 123440))} == {
        "123400 to 123409",
        "123410 to 123419",
        "123420 to 123429",
        "123430 to 123439",
    }


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([0.0] * 90 + [0.25, 0.5], {"0", "0.25 to 0.5"}),
        ([1.0] * 90 + [0.25, 0.5], {"1", "0.25 to 0.5"}),
        ([0.5, 1.5, np.inf, np.inf], {"0.5", "1.5", "inf"}),
    ],
)
def test_a_common_value_at_either_end_is_a_slice_of_its_own(values: list[float], names: set[str]) -> None:
    assert {*_names(values)} == names


def test_names_have_as_many_digits_as_tell_them_apart() -> None:
    assert {*_names([1.00001, 1.00002, 1.00003, 1.00004])} == {"1.00001", "1.00002", "1.00003", "1.00004"}


def test_columns_that_make_no_slices_are_named_with_their_reason() -> None:
    columns = pd.DataFrame(
        {
            "path": [f"{image}.jpg" for image in range(21)],
            "split": "test",
            "note": None,
            "few": [*"ab"] * 10 + ["a"],
            "level": 0.5,
        }
    )
    assert left_out(columns).to_numpy().tolist() == [
        ["path", "more than 20 distinct texts"],
        ["split", "constant"],
        ["note", "all missing"],
        ["level", "constant"],
    ]
    assert [*slice_table(columns)] == ["few"]


def test_figures_of_a_slice_are_wilson_s_and_fisher_s() -> None:
    correct = np.array([True] * 15 + [False] * 15 + [True] * 60 + [False] * 10)
    row = _row(slices(correct, pd.DataFrame({"dark": [True] * 30 + [False] * 70})), "dark", "yes")
    assert (row["images"], row["correct"], row["accuracy"]) == (30, 15, 0.5)
    assert (row["low"], row["high"]) == wilson_interval(15, 30)
    assert row["rest_accuracy"] == pytest.approx(60 / 70)
    assert row["difference"] == pytest.approx(0.5 - 60 / 70)
    assert row["p_value"] == pytest.approx(fisher_exact([[15, 15], [60, 10]]).pvalue, abs=1e-12)
    assert row["adjusted_p_value"] == row["p_value"]
    assert row["is_worse"]


def test_p_values_are_corrected_for_all_slices_with_enough_images_and_no_others() -> None:
    correct = np.array([False] * 10 + [True] * 110)
    names = ["a"] * 30 + ["b"] * 30 + ["c"] * 50 + ["few"] * 10
    table = slices(correct, pd.DataFrame({"place": names}))
    weak = _row(table, "place", "a")
    assert weak["adjusted_p_value"] == pytest.approx(3 * weak["p_value"])
    assert table["slice"].iloc[-1] == "few"
    assert table[["p_value", "adjusted_p_value"]].iloc[-1].isna().all()
    assert not table["is_worse"].iloc[-1]
    assert slices(correct, pd.DataFrame({"place": names}), fewest=10)["p_value"].notna().all()


def test_slices_of_the_same_images_or_of_all_others_share_a_test() -> None:
    correct = np.array([False] * 8 + [True] * 72)
    dark = np.arange(80) < 25
    once = slices(correct, pd.DataFrame({"dark": dark}))
    twice = slices(correct, pd.DataFrame({"dark": dark, "bright": ~dark}))
    assert [*once["slice"]] == ["yes", "no"]
    assert once["p_value"].nunique() == once["adjusted_p_value"].nunique() == 1
    assert once["is_worse"].tolist() == [True, False]
    assert len(twice) == 4
    assert {*twice["adjusted_p_value"]} == {*once["p_value"]}


def test_a_slice_with_next_to_nothing_outside_is_not_tested() -> None:
    table = slices(np.arange(100) > 50, pd.DataFrame({"odd": np.arange(100) < 5}))
    assert table["p_value"].isna().all()


def test_worse_slices_come_first_then_the_others_by_difference() -> None:
    random = np.random.default_rng(2)
    columns = pd.DataFrame({"place": random.choice([*"abcd"], 600), "size": random.random(600)})
    table = slices(random.random(600) < np.where(columns["place"] == "c", 0.5, 0.9), columns)
    assert table.loc[0, "slice"] == "c"
    assert table["is_worse"].tolist() == [True] + [False] * 7
    assert table["difference"].iloc[1:].is_monotonic_increasing


def test_noise_makes_a_worse_slice_in_at_most_5_of_100_tables() -> None:
    random = np.random.default_rng(7)
    tables, images = 120, 300
    found = 0
    for _ in range(tables):
        columns = pd.DataFrame({"place": random.choice([*"abc"], images), "dark": random.random(images) < 0.3})
        found += bool(slices(random.random(images) < 0.8, columns)["is_worse"].any())
    assert found / tables <= 0.05


def test_an_index_of_the_images_is_no_matter() -> None:
    columns = pd.DataFrame({"size": np.arange(40.0) / 7}, index=np.arange(40)[::-1] // 2)
    table = slices(np.arange(40) >= 10, columns, fewest=5)
    assert table.loc[0, "correct"] == 0
    assert table["images"].tolist() == [10] * 4


def test_without_any_slice_the_table_is_empty_and_has_its_columns() -> None:
    table = slices(np.ones(3, dtype=bool), pd.DataFrame({"split": ["test"] * 3}))
    assert [*table.columns] == SLICE_COLUMNS
    assert table.empty
