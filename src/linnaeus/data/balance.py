"""The training part with other class sizes. Validation and test are never touched."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils import resample

from linnaeus.errors import RecipeError
from linnaeus.recipe_sections import Balance

DECK_SEED = 42


def sample_to_n(table: pd.DataFrame, n: int) -> pd.DataFrame:
    """`n` rows of every category: for each, in sorted order, `sklearn.utils.resample(rows, n_samples=n,
    random_state=42)`, which draws with replacement. The index is fresh. Raises RecipeError for n below 1."""
    if n < 1:
        raise RecipeError(f"cannot sample every class to {n} images")
    parts = [resample(rows, n_samples=n, random_state=DECK_SEED) for _, rows in table.groupby("category", sort=True)]
    sampled: pd.DataFrame = pd.concat(parts, ignore_index=True)
    return sampled


def target_size(table: pd.DataFrame, balance: Balance) -> int | None:
    """Images per class that a balance asks for; None where the table stays as it is.

    "down" is the smallest class, "up" the largest, "mid" the mean and "median" the median, both rounded down.
    """
    if isinstance(balance, int):
        return balance
    counts = table["category"].value_counts()
    sizes = {"down": counts.min(), "up": counts.max(), "mid": counts.mean(), "median": counts.median()}
    return int(sizes[balance]) if balance in sizes else None


def balanced(train: pd.DataFrame, balance: Balance) -> pd.DataFrame:
    """The training table, resampled as `balance` asks."""
    n = target_size(train, balance)
    return train.reset_index(drop=True) if n is None else sample_to_n(train, n)


def class_weights(train: pd.DataFrame, balance: Balance) -> NDArray[np.float32] | None:
    """One loss weight per label for "class-weights" (rows / (classes x rows of the class), so that their mean over
    the rows is 1); None for every other balance. Source: King and Zeng 2001, as in scikit-learn's "balanced"."""
    if balance != "class-weights":
        return None
    counts = train["label"].value_counts().sort_index().to_numpy()
    weights: NDArray[np.float32] = (counts.sum() / (len(counts) * counts)).astype(np.float32)
    return weights
