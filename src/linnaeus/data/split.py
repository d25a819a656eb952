"""Training, validation and test parts: a manifest, never a copy."""

from dataclasses import dataclass
from fractions import Fraction

import pandas as pd
from sklearn.model_selection import train_test_split

from linnaeus.data.catalogue import with_labels
from linnaeus.errors import SplitError
from linnaeus.recipe import SplitRecipe
from linnaeus.records import PARTS, Part

MANIFEST_COLUMNS = ["relpath", "category", "label", "split"]


@dataclass(frozen=True)
class Splits:
    """The manifest: a row an image, grouped by part (train, val, test), each part in the order it was drawn.

    `table`: relpath, category, label, split.
    """

    table: pd.DataFrame

    def part(self, name: Part) -> pd.DataFrame:
        """The rows of one part, with a fresh index."""
        return self.table[self.table["split"] == name].reset_index(drop=True)

    @property
    def train(self) -> pd.DataFrame:
        """The training rows."""
        return self.part("train")

    @property
    def val(self) -> pd.DataFrame:
        """The validation rows, by which epochs and models are chosen."""
        return self.part("val")

    @property
    def test(self) -> pd.DataFrame:
        """The test rows, which choose nothing."""
        return self.part("test")

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names in the order of their labels."""
        pairs = self.table[["label", "category"]].drop_duplicates().sort_values("label")
        return tuple(pairs["category"])

    def counts(self) -> pd.DataFrame:
        """Images of each class (rows) in each part (columns)."""
        return pd.crosstab(self.table["category"], self.table["split"]).reindex(columns=list(PARTS), fill_value=0)


def split_table(table: pd.DataFrame, recipe: SplitRecipe | None = None) -> Splits:
    """A catalogue table divided as the deck does, in two stratified steps of scikit-learn's `train_test_split`.

    First training from the rest, then validation from test (with the default shares: test_size 0.3, then 1/3,
    seed 5), in the table's own row order, so that the same table gives the very same parts everywhere. Where the
    table has `given_split` (a folder with train, val and test in it), those parts are kept and only a missing one is
    drawn, from training.

    Needs relpath and category; labels are by sorted class name. Raises SplitError for a single class, a class too small
    for every part, or an image that stands in the table twice.
    """
    recipe = recipe or SplitRecipe()
    table = with_labels(table)
    if table["relpath"].duplicated().any():
        twice = table.loc[table["relpath"].duplicated(), "relpath"].iloc[0]
        raise SplitError(f"{twice} stands in the table more than once, and could come into two parts")
    classes = table["category"].nunique()
    if classes < 2:
        raise SplitError(f"only one class ({table['category'].iloc[0]}); a classifier needs at least two")
    is_given = "given_split" in table and table["given_split"].notna().any()
    if is_given and table["given_split"].isna().any():
        raise SplitError("given_split is empty in some rows; fill it in, or drop the column to have all images divided")
    try:
        parts = _complete_given(table, recipe) if is_given else _deck_split(table, recipe)
    except ValueError as error:  # train_test_split's
        counts = table["category"].value_counts()
        raise SplitError(
            f"{len(table)} images of {classes} classes cannot be divided into validation {recipe.val:.0%}, test "
            f"{recipe.test:.0%} and training ({error}). The smallest class, {counts.index[-1]}, has "
            f"{counts.iloc[-1]}. Add images, drop that class, or change the shares"
        ) from None
    splits = Splits(pd.concat([rows.assign(split=name) for name, rows in parts.items()])[MANIFEST_COLUMNS])
    _check_every_part(splits, recipe)
    return Splits(splits.table.reset_index(drop=True))


def _deck_split(table: pd.DataFrame, recipe: SplitRecipe) -> dict[Part, pd.DataFrame]:
    # Fractions, since 0.2 + 0.1 is not 0.3 in floating point, and train_test_split rounds up.
    val, test = _exact(recipe.val), _exact(recipe.test)
    train, rest = _stratified(table, val + test, recipe.seed)
    val_rows, test_rows = _stratified(rest, test / (val + test), recipe.seed)
    return {"train": train, "val": val_rows, "test": test_rows}


def _complete_given(table: pd.DataFrame, recipe: SplitRecipe) -> dict[Part, pd.DataFrame]:
    parts = {name: table[table["given_split"] == name] for name in PARTS}
    wishes: tuple[tuple[Part, float], ...] = (("test", recipe.test), ("val", recipe.val))
    for name, share in wishes:
        if parts[name].empty:
            left = Fraction(len(table), len(parts["train"])) * _exact(share)
            if left >= 1:
                raise SplitError(f"the train folder is too small to draw a {name} part of {share:.0%} from it")
            parts["train"], parts[name] = _stratified(parts["train"], left, recipe.seed)
    return parts


def _stratified(table: pd.DataFrame, share: Fraction, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    larger, smaller = train_test_split(table, stratify=table["category"], test_size=float(share), random_state=seed)
    return larger, smaller


def _check_every_part(splits: Splits, recipe: SplitRecipe) -> None:
    counts = splits.counts()
    gaps = {name: [*counts.index[counts[name] == 0]] for name in PARTS}
    lines = [f"{name} has no image of {', '.join(missing)}" for name, missing in gaps.items() if missing]
    if lines:
        smallest = counts.sum(axis=1).sort_values()
        enough = int(-(-1 // _exact(min(recipe.val, recipe.test))))
        raise SplitError(
            f"{'; '.join(lines)}. The smallest class, {smallest.index[0]}, has {smallest.iloc[0]} images; "
            f"{enough} a class are enough for every part. Add images, or drop the class"
        )


def _exact(share: float) -> Fraction:
    return Fraction(share).limit_denominator(10_000)
