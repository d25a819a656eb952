"""What a table must hold before it can be divided, and its parts before anything is trained on them."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from linnaeus.errors import SplitError
from linnaeus.records import PARTS
from linnaeus.settings import SplitRecipe


def check_table(table: pd.DataFrame, recipe: SplitRecipe) -> None:
    """Raise SplitError for an image that stands in the table twice, fewer than two classes, or given parts that cannot
    be honoured."""
    if table.empty:
        raise SplitError("the table has no images to divide")
    if table["relpath"].duplicated().any():
        twice = table.loc[table["relpath"].duplicated(), "relpath"].iloc[0]
        raise SplitError(f"{twice} stands in the table more than once, and could come into two parts")
    if table["category"].nunique() < 2:
        raise SplitError(f"only one class ({table['category'].iloc[0]}); a classifier needs at least two")
    if has_given_parts(table):
        _check_given(table["given_split"], recipe)


def has_given_parts(table: pd.DataFrame) -> bool:
    """Whether the images lie in train, val and test folders already."""
    return "given_split" in table and bool(table["given_split"].notna().any())


def _check_given(given: "pd.Series[str]", recipe: SplitRecipe) -> None:
    if given.isna().any():
        raise SplitError("given_split is empty in some rows; fill it in, or drop the column to have all images divided")
    others = sorted(set(given) - set(PARTS))
    if others:
        raise SplitError(f"given_split has {', '.join(map(repr, others))}; it may only have {', '.join(PARTS)}")
    if "train" not in set(given):
        raise SplitError("given_split has no train; add it, or drop the column to have all images divided")
    if recipe.method != "stratified":
        raise SplitError(
            f"the images lie in train, val and test folders, which method {recipe.method} would undo; take method "
            "stratified to keep those parts, or drop the column given_split to have all images divided"
        )


def check_every_part(counts: pd.DataFrame, advice: str) -> None:
    """Raise SplitError, which ends in `advice`, unless every class (rows) has an image in every part (columns)."""
    gaps = {part: [*counts.index[counts[part] == 0]] for part in counts.columns}
    lines = [f"{part} has no image of {', '.join(missing)}" for part, missing in gaps.items() if missing]
    if lines:
        smallest = counts.sum(axis=1).sort_values(kind="stable")
        raise SplitError(
            f"{'; '.join(lines)}. The smallest class, {smallest.index[0]}, has {smallest.iloc[0]} images; {advice}"
        )


def check_enough_groups(categories: "pd.Series[str]", keys: NDArray[np.int64], parts: int) -> None:
    """Raise SplitError where a class consists of fewer groups than there are parts: one of them would be without it."""
    pairs = pd.DataFrame({"category": categories.to_numpy(), "group": keys})
    groups = pairs.drop_duplicates().groupby("category").size()
    if (groups < parts).any():
        few = [f"{name} ({(categories == name).sum()} images in {n})" for name, n in groups[groups < parts].items()]
        raise SplitError(
            f"too few groups of images that stay together (near-duplicates, or by group_column or group_pattern) to "
            f"have one in each of {parts} parts: {', '.join(few)}. Add images of other groups, drop the class, or keep "
            "fewer images together"
        )
