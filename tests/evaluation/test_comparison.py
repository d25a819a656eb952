import pandas as pd
import pytest

from linnaeus.evaluation.comparison import LEADERBOARD_COLUMNS, leaderboard, side_by_side
from linnaeus.evaluation.metrics import wilson_interval


def _results(**columns: list[object]) -> pd.DataFrame:
    """Results of as many runs as `model_id` names, zero wherever no column is given."""
    runs = len(columns["model_id"])
    names = [name for name in LEADERBOARD_COLUMNS if name not in {"rank", "accuracy_low", "accuracy_high"}]
    return pd.DataFrame({name: [0.0] * runs for name in names} | columns)


def test_runs_are_ranked_by_validation_even_where_the_test_part_says_otherwise() -> None:
    results = _results(
        model_id=["b", "a", "c"], acc_val=[0.8, 0.7, 0.9], accuracy=[0.9, 0.99, 0.5], parameters=[1, 1, 1]
    )
    board = leaderboard(results, 100)
    assert [*board["model_id"]] == ["c", "b", "a"]
    assert [*board["rank"]] == [1, 2, 3]
    assert [*board["accuracy"]] == [0.5, 0.9, 0.99]


def test_equal_runs_are_ranked_by_fewer_parameters_and_then_by_name() -> None:
    results = _results(
        model_id=["b", "a", "small"], acc_val=[0.8] * 3, accuracy=[0.9, 0.8, 0.1], parameters=[20, 20, 10]
    )
    assert [*leaderboard(results, 100)["model_id"]] == ["small", "a", "b"]


def test_test_accuracy_has_its_wilson_interval() -> None:
    (row,) = leaderboard(_results(model_id=["a"], acc_val=[0.8], accuracy=[0.9], parameters=[1]), 50).to_dict("records")
    assert (row["accuracy_low"], row["accuracy_high"]) == pytest.approx(wilson_interval(45, 50))


def test_the_leaderboard_has_its_columns_and_leaves_out_others() -> None:
    results = _results(model_id=["a"], acc_val=[0.8], accuracy=[0.9], parameters=[1], notes=["x"])
    assert [*leaderboard(results, 10).columns] == LEADERBOARD_COLUMNS


def test_the_results_stay_in_their_order() -> None:
    results = _results(model_id=["b", "a"], acc_val=[0.1, 0.2], accuracy=[0.1, 0.2], parameters=[1, 1])
    leaderboard(results, 10)
    assert [*results["model_id"]] == ["b", "a"]


def test_two_reports_stand_side_by_side_with_their_support_once() -> None:
    figures = {"precision": [0.1, 0.2], "recall": [0.3, 0.4], "f1-score": [0.5, 0.6], "support": [7, 8]}
    first = pd.DataFrame(figures, index=["cat", "dog"])
    second = first.assign(precision=[0.9, 0.8])
    pair = side_by_side(first, second, ("cnn", "lite0"))
    assert [*pair.columns] == [
        ("cnn", "precision"),
        ("cnn", "recall"),
        ("cnn", "f1-score"),
        ("lite0", "precision"),
        ("lite0", "recall"),
        ("lite0", "f1-score"),
        ("", "support"),
    ]
    assert [*pair.loc["dog"]] == [0.2, 0.4, 0.6, 0.8, 0.4, 0.6, 8]
