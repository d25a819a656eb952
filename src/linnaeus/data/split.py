"""Training, validation and test parts: a manifest, never a copy."""

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import train_test_split

from linnaeus.data.catalogue import exclusion_table, with_labels
from linnaeus.data.folds import draw_fold
from linnaeus.data.groups import image_groups
from linnaeus.data.hashed import draw_by_hash
from linnaeus.data.placement import keep_groups_whole
from linnaeus.data.split_checks import check_enough_groups, check_every_part, check_table, has_given_parts
from linnaeus.errors import SplitError
from linnaeus.records import PARTS, Part
from linnaeus.settings import SplitRecipe

MANIFEST_COLUMNS = ["relpath", "category", "label", "split"]
# Where there are groups: their number, and the value of the column or pattern. The fold, with method kfold. The path of
# the original image, with method hash, which knows images by it.
FURTHER_COLUMNS = ["group", "group_name", "fold", "source"]


@dataclass(frozen=True)
class Splits:
    """The manifest: a row an image, grouped by part (train, val, test), each part in the order it was drawn.

    `table`: relpath, category, label, split; where they apply, group (a number, the same for images that stay
    together), group_name (the value of the column or pattern; null for none), fold (from 0), source.
    `left_out`: relpath, reason, detail of the images that are in no part; only the method "hash" leaves any out.
    """

    table: pd.DataFrame
    left_out: pd.DataFrame = field(default_factory=lambda: exclusion_table([]))

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


def split_table(
    table: pd.DataFrame,
    recipe: SplitRecipe | None = None,
    groups: ArrayLike | None = None,
    earlier: Splits | None = None,
) -> Splits:
    """A catalogue table divided into parts, by `recipe.method`; no group of images crosses parts.

    "stratified", the default, divides as the deck does, in two stratified steps of scikit-learn's `train_test_split`:
    first training from the rest, then validation from test (with the default shares: test_size 0.3, then 1/3, seed 5),
    in the table's own row order, so that the same table gives the very same parts everywhere. Where groups have more
    than one image, as few images as possible then change part (`keep_groups_whole`, which says how well classes keep
    their shares). Where the table has `given_split` (a folder with train, val and test in it), those parts are kept as
    they are, and only a missing one is drawn, from training. "kfold": see `draw_fold`. "hash": see `draw_by_hash`.

    Needs relpath and category; labels are by sorted class name. `groups`: a key for each row, by position (an index
    does not count; null for a group of its own), such as of near-duplicates; the recipe's column and pattern are merged
    with it (`image_groups`). `earlier`: a former split, which only the method "hash" keeps to.

    Raises SplitError for a single class, a class with too few images or groups for every part, or an image that stands
    in the table twice.
    """
    recipe = recipe or SplitRecipe()
    table = with_labels(table.reset_index(drop=True))
    check_table(table, recipe)
    together = image_groups(table, recipe, groups)
    manifest = table[["relpath", "category", "label"]]
    if groups is not None or together.names is not None:
        manifest = manifest.assign(group=together.keys)
    if together.names is not None:
        manifest = manifest.assign(group_name=together.names)
    left_out = exclusion_table([])
    if recipe.method == "hash":
        drawn, bridges = draw_by_hash(table, together, recipe, earlier.table if earlier else None)
        left_out = exclusion_table(bridges)
    elif recipe.method == "kfold":
        drawn = draw_fold(table, together.keys, recipe)
    else:
        drawn = _draw_stratified(table, together.keys, recipe)
    manifest = manifest.join(drawn, how="right")
    ordered = pd.concat([manifest[manifest["split"] == name] for name in PARTS], ignore_index=True)
    splits = Splits(ordered[[name for name in [*MANIFEST_COLUMNS, *FURTHER_COLUMNS] if name in ordered]], left_out)
    check_every_part(splits.counts(), _advice(recipe))
    return splits


def _advice(recipe: SplitRecipe) -> str:
    if recipe.method == "hash":
        return "a hash keeps each part's share only roughly. Add images, or take method stratified"
    return "groups of several classes found no place in every part. Take another seed, or keep fewer images together"


def _draw_stratified(table: pd.DataFrame, keys: NDArray[np.int64], recipe: SplitRecipe) -> pd.DataFrame:
    """`split` of each image, in the order they were drawn; the index is the row in the table."""
    is_given = has_given_parts(table)
    try:
        parts = _complete_given(table, recipe) if is_given else _deck_split(table, recipe)
    except ValueError as error:  # train_test_split's
        counts = table["category"].value_counts()
        raise SplitError(
            f"{len(table)} images of {table['category'].nunique()} classes cannot be divided into validation "
            f"{recipe.val:.0%}, test {recipe.test:.0%} and training ({error}). The smallest class, {counts.index[-1]}, "
            f"has {counts.iloc[-1]}. Add images, drop that class, or change the shares"
        ) from None
    drawn = pd.concat([rows.assign(split=name)[["category", "split"]] for name, rows in parts.items()])
    enough = int(-(-1 // _exact(min(recipe.val, recipe.test))))
    counts_by_part = pd.crosstab(drawn["category"], drawn["split"]).reindex(columns=list(PARTS), fill_value=0)
    check_every_part(counts_by_part, f"{enough} a class are enough for every part. Add images, or drop the class")
    codes = drawn["split"].map(PARTS.index).sort_index().to_numpy(dtype=np.int64)
    split = pd.Series(PARTS).take(_keep_whole(codes, table, keys, recipe.seed)).set_axis(table.index)
    return drawn[["split"]].assign(split=split)


def _keep_whole(codes: NDArray[np.int64], table: pd.DataFrame, keys: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """The parts once no group crosses those that were drawn; what lies in a val or test folder stays there."""
    is_free = table["given_split"].eq("train").to_numpy() if has_given_parts(table) else np.ones(len(table), dtype=bool)
    free = table[is_free]
    drawn, before = np.unique(codes[is_free], return_inverse=True)
    check_enough_groups(free["category"], keys[is_free], len(drawn))
    whole = codes.copy()
    whole[is_free] = drawn[keep_groups_whole(before, free["label"].to_numpy(), keys[is_free], seed)]
    return whole


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


def _exact(share: float) -> Fraction:
    return Fraction(share).limit_denominator(10_000)
