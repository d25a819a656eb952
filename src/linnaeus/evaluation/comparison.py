"""Which model is best, by validation; the test part is shown and never ranks."""

import pandas as pd

from linnaeus.evaluation.metrics import wilson_interval

LEADERBOARD_COLUMNS = [
    "rank",
    "model_id",
    "acc_val",
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "precision",
    "recall",
    "f1_score",
    "acc_train",
    "parameters",
    "size_mb",
    "train_seconds",
    "predict_ms_per_image",
]


def leaderboard(results: pd.DataFrame, test_images: int) -> pd.DataFrame:
    """The runs by validation accuracy, best first; equal ones by fewer parameters, then by name.

    `accuracy` (test) comes with its 95 % Wilson interval, `accuracy_low` to `accuracy_high`.
    """
    ranked = results.sort_values(["acc_val", "parameters", "model_id"], ascending=[False, True, True])
    correct = (ranked["accuracy"] * test_images).round().astype(int)
    intervals = [wilson_interval(count, test_images) for count in correct]
    ranked = ranked.assign(
        rank=range(1, len(ranked) + 1),
        accuracy_low=[low for low, _ in intervals],
        accuracy_high=[high for _, high in intervals],
    )
    return ranked[LEADERBOARD_COLUMNS].reset_index(drop=True)


def side_by_side(first: pd.DataFrame, second: pd.DataFrame, names: tuple[str, str]) -> pd.DataFrame:
    """Two class reports with their columns next to each other: (model, figure) by class; support once."""
    figures = ["precision", "recall", "f1-score"]
    pair = pd.concat({names[0]: first[figures], names[1]: second[figures]}, axis=1)
    pair[("", "support")] = first["support"]
    return pair
