"""Cross-validation: every image is a test image in exactly one fold."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

from linnaeus.data.placement import keep_groups_whole
from linnaeus.data.split_checks import check_enough_groups, check_every_part
from linnaeus.errors import SplitError
from linnaeus.settings import SplitRecipe


def draw_fold(table: pd.DataFrame, keys: NDArray[np.int64], recipe: SplitRecipe) -> pd.DataFrame:
    """`split` and `fold` of each image, in the table's order.

    `fold` is a number from 0 that depends on table, groups (`keys`, one for each row), `recipe.folds` and the seed:
    scikit-learn's StratifiedKFold, then `keep_groups_whole`. (Its StratifiedGroupKFold bounds no class's counts and
    takes minutes for a hundred thousand images.) Fold `recipe.fold` is test, the next one, or the first after the last,
    validation, and the rest training.

    Raises SplitError where a class has fewer images or groups than there are folds.
    """
    counts = table["category"].value_counts()
    if counts.iloc[-1] < recipe.folds:
        raise SplitError(
            f"each of {recipe.folds} folds needs an image of every class, and {counts.index[-1]} has only "
            f"{counts.iloc[-1]}. Add images, drop the class, or take fewer folds (at least 3)"
        )
    check_enough_groups(table["category"], keys, recipe.folds)
    folds = keep_groups_whole(_stratified_folds(table, recipe), table["label"].to_numpy(), keys, recipe.seed)
    named = pd.Series(folds).map("fold {}".format)
    check_every_part(
        pd.crosstab(table["category"], named),
        "the groups of several classes found no place in every fold. Take another seed, fewer folds or smaller groups",
    )
    split = np.full(len(table), "train", dtype=object)
    split[folds == recipe.fold] = "test"
    split[folds == (recipe.fold + 1) % recipe.folds] = "val"
    return pd.DataFrame({"split": split, "fold": folds})


def _stratified_folds(table: pd.DataFrame, recipe: SplitRecipe) -> NDArray[np.int64]:
    folds = np.empty(len(table), dtype=np.int64)
    drawn = StratifiedKFold(recipe.folds, shuffle=True, random_state=recipe.seed)
    for number, (_, rows) in enumerate(drawn.split(table, table["category"])):
        folds[rows] = number
    return folds
