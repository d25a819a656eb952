import pandas as pd
import pytest

from linnaeus.evaluation.comparison import LEADERBOARD_COLUMNS, leaderboard, side_by_side
from linnaeus.evaluation.intervals import wilson_interval


def _results(**columns: list[object]) -> pd.DataFrame:
    """Results of as many runs as `model_id` names, each a family of its own, zero wherever no column is given."""
    runs = len(columns["model_id"])
    made = {"rank", "seeds", "acc_folds", "folds", "acc_val_sd", "accuracy_sd"}
    names = [name for name in LEADERBOARD_COLUMNS if name not in made and not name.endswith(("_low", "_high"))]
    zeros: dict[str, list[object]] = {name: [0.0] * runs for name in names if not name.startswith("is_front")}
    return pd.DataFrame(zeros | {"family": columns["model_id"], "seed": [0] * runs} | columns)


def _ranked(results: pd.DataFrame, images: int = 100) -> pd.DataFrame:
    return leaderboard(results, val_images=images, test_images=images)


def test_runs_are_ranked_by_validation_even_where_the_test_part_says_otherwise() -> None:
    results = _results(
        model_id=["b", "a", "c"], acc_val=[0.8, 0.7, 0.9], accuracy=[0.9, 0.99, 0.5], parameters=[1, 1, 1]
    )
    board = _ranked(results)
    assert [*board["model_id"]] == ["c", "b", "a"]
    assert [*board["rank"]] == [1, 2, 3]
    assert [*board["accuracy"]] == [0.5, 0.9, 0.99]


def test_equal_runs_are_ranked_by_fewer_parameters_and_then_by_name() -> None:
    results = _results(
        model_id=["b", "a", "small"], acc_val=[0.8] * 3, accuracy=[0.9, 0.8, 0.1], parameters=[20, 20, 10]
    )
    assert [*_ranked(results)["model_id"]] == ["small", "a", "b"]


def test_accuracies_have_their_wilson_intervals() -> None:
    results = _results(model_id=["a"], acc_val=[0.8], accuracy=[0.9], parameters=[1])
    (row,) = leaderboard(results, val_images=20, test_images=50).to_dict("records")
    assert (row["accuracy_low"], row["accuracy_high"]) == pytest.approx(wilson_interval(45, 50))
    assert (row["acc_val_low"], row["acc_val_high"]) == pytest.approx(wilson_interval(16, 20))


def test_while_the_test_part_is_closed_its_columns_are_empty_and_the_runs_are_ranked_all_the_same() -> None:
    results = _results(model_id=["a", "b"], acc_val=[0.8, 0.9], parameters=[1, 1]).drop(columns="accuracy")
    board = _ranked(results)
    assert [*board["model_id"]] == ["b", "a"]
    assert board[["accuracy", "accuracy_low", "accuracy_high"]].isna().to_numpy().all()


def test_seeds_of_one_recipe_are_one_row_with_their_mean_and_spread_and_never_the_best_of_them() -> None:
    results = _results(
        model_id=["lucky", "plain", "other"],
        family=["x", "x", "y"],
        seed=[7, 0, 0],
        acc_val=[0.9, 0.7, 0.85],
        accuracy=[0.8, 0.6, 0.9],
        parameters=[5, 5, 5],
    )
    board = _ranked(results).set_index("model_id")
    assert [*board.index] == ["other", "plain"]
    assert board.loc["plain", "acc_val"] == pytest.approx(0.8)
    assert board.loc["plain", "acc_val_sd"] == pytest.approx(0.2 / 2**0.5)
    assert board.loc["plain", "accuracy_sd"] == pytest.approx(0.2 / 2**0.5)
    assert [*board["seeds"]] == [1, 2]
    assert [*board["acc_val_sd"].isna()] == [True, False]


def test_folds_rank_where_every_run_has_them_and_only_then() -> None:
    results = _results(model_id=["a", "b"], acc_val=[0.8, 0.9], parameters=[1, 1], acc_folds=[0.9, 0.7], folds=[5, 5])
    assert [*_ranked(results)["model_id"]] == ["a", "b"]
    assert [*_ranked(results.assign(acc_folds=[0.9, float("nan")]))["model_id"]] == ["b", "a"]
    assert [*_ranked(results.assign(folds=[5, 3]))["model_id"]] == ["b", "a"]  # of other folds


def test_a_model_that_another_beats_in_accuracy_and_cost_is_not_on_the_front() -> None:
    results = _results(
        model_id=["slow", "good", "fast"],
        acc_val=[0.8, 0.9, 0.7],
        parameters=[1, 1, 1],
        latency_p50_ms=[30.0, 20.0, 5.0],
    )
    board = _ranked(results).set_index("model_id")
    assert board["is_front_latency"].to_dict() == {"good": True, "slow": False, "fast": True}


def test_the_leaderboard_has_its_columns_and_leaves_out_others() -> None:
    results = _results(model_id=["a"], acc_val=[0.8], accuracy=[0.9], parameters=[1], notes=["x"])
    assert [*_ranked(results).columns] == LEADERBOARD_COLUMNS


def test_the_results_stay_in_their_order() -> None:
    results = _results(model_id=["b", "a"], acc_val=[0.1, 0.2], accuracy=[0.1, 0.2], parameters=[1, 1])
    _ranked(results)
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
