"""Which model is best, by validation; the test part is shown and never ranks."""

import pandas as pd

from linnaeus.evaluation.intervals import wilson_interval
from linnaeus.evaluation.running_cost import pareto

LEADERBOARD_COLUMNS = [
    *("rank", "model_id", "seeds", "acc_val", "acc_val_low", "acc_val_high", "acc_val_sd", "acc_folds", "folds"),
    *("accuracy", "accuracy_low", "accuracy_high", "accuracy_sd", "precision", "recall", "f1_score", "acc_train"),
    *("parameters", "macs", "size_mb", "train_seconds", "train_joules", "predict_ms_per_image"),
    *("backend", "latency_p50_ms", "latency_p99_ms", "images_per_second"),
    *("is_front_latency", "is_front_size", "is_front_training"),
]
MAY_BE_UNKNOWN = ("acc_train", "train_joules", "acc_folds", "folds", "accuracy", "precision", "recall", "f1_score")
# What a front is drawn against, by its column.
FRONTS = {
    "is_front_latency": "latency_p50_ms",
    "is_front_size": "size_mb",
    "is_front_training": "train_seconds",
}


def leaderboard(results: pd.DataFrame, *, val_images: int, test_images: int) -> pd.DataFrame:
    """A row a recipe, LEADERBOARD_COLUMNS, best first: by accuracy over folds where all have as
    many, else on validation; equal ones by fewer parameters, then by name.

    results: a row a run: its columns of the log, `family` and `seed`. Runs of one family differ in their seed alone:
    their row has their mean figures, the name of the one with the lowest seed, and the standard deviations of their
    accuracies (`acc_val_sd`, `accuracy_sd`; null for a single run).
    `acc_val` and `accuracy` (test; null where that is closed) come with their 95 % Wilson interval.
    `is_front_...`: no other model is as accurate on validation and cheaper, or as cheap and more accurate.
    """
    rows = pd.DataFrame([_of_seeds(runs) for _, runs in results.groupby("family", sort=False)])
    rows = rows.reindex(columns=list(dict.fromkeys([*LEADERBOARD_COLUMNS, *rows.columns])))
    rows = rows.astype(dict.fromkeys(MAY_BE_UNKNOWN, float))
    ranked = rows.sort_values(
        [ranked_by(rows), "parameters", "model_id"], ascending=[False, True, True], ignore_index=True
    )
    ranked["rank"] = range(1, len(ranked) + 1)
    for column, images in (("acc_val", val_images), ("accuracy", test_images)):
        intervals = [_share_interval(share, images) for share in ranked[column]]
        ranked[f"{column}_low"], ranked[f"{column}_high"] = zip(*intervals, strict=True)
    for front, costs in FRONTS.items():
        ranked[front] = pareto(ranked, "acc_val", costs)
    return ranked[LEADERBOARD_COLUMNS]


def ranked_by(rows: pd.DataFrame) -> str:
    """The column that ranks the rows of a leaderboard."""
    has_same_folds = bool(rows["acc_folds"].notna().all()) and rows["folds"].nunique() == 1
    return "acc_folds" if has_same_folds else "acc_val"


def _of_seeds(runs: pd.DataFrame) -> dict[str, object]:
    """One row for the runs of one recipe."""
    ordered = runs.sort_values("seed")
    spread = {f"{column}_sd": ordered[column].std() for column in ("acc_val", "accuracy") if column in ordered}
    means = ordered.select_dtypes("number").mean(skipna=False)
    return {**ordered.iloc[0], **means, "parameters": ordered["parameters"].iloc[0], **spread, "seeds": len(runs)}


def _share_interval(share: float, images: int) -> tuple[float, float]:
    return (float("nan"), float("nan")) if pd.isna(share) else wilson_interval(round(share * images), images)


def side_by_side(first: pd.DataFrame, second: pd.DataFrame, names: tuple[str, str]) -> pd.DataFrame:
    """Two class reports with their columns next to each other: (model, figure) by class; support once."""
    figures = ["precision", "recall", "f1-score"]
    pair = pd.concat({names[0]: first[figures], names[1]: second[figures]}, axis=1)
    pair[("", "support")] = first["support"]
    return pair
