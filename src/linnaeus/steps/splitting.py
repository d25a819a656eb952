"""Splitting: from a table of images to a manifest in which no group of images crosses parts."""

import pandas as pd

from linnaeus.data.catalogue import PAIR_COLUMNS, read_catalogue
from linnaeus.data.clean import clean_relpaths
from linnaeus.data.duplicates import group_numbers
from linnaeus.data.leaks import find_leaks
from linnaeus.data.split import Splits, split_table
from linnaeus.decisions import read_decisions
from linnaeus.errors import ProjectError
from linnaeus.files import write_table
from linnaeus.project import Project
from linnaeus.settings import SplitRecipe


def split_afresh(project: Project, rows: pd.DataFrame, recipe: SplitRecipe) -> None:
    """Divide a table's images, and write down the manifest, what crosses parts, and what is in none."""
    rows = as_decided(project, rows)
    pairs = known_pairs(project, rows)
    groups = group_numbers(pairs, rows["relpath"]) if recipe.near_duplicates and len(pairs) else None
    earlier = load_splits(project) if project.splits.is_file() else None
    splits = split_table(rows, recipe, groups, earlier)
    write_table(splits.table, project.splits)
    write_table(splits.left_out, project.left_out)
    write_table(find_leaks(splits.table, pairs), project.leaks)


def load_splits(project: Project) -> Splits:
    """The splits that the project has."""
    left_out = pd.read_parquet(project.left_out) if project.left_out.is_file() else None
    table = pd.read_parquet(project.splits)
    return Splits(table) if left_out is None else Splits(table, left_out)


def goes_on(project: Project, recipe: SplitRecipe) -> bool:
    """Whether a split by hash may keep to the parts that the last one gave; a wish for other parts may not."""
    try:
        last = SplitRecipe(**project.stamp("split")["inputs"]["recipe"])
    except ProjectError:  # none, or one that was cut short
        return True
    settings = ("method", "seed", "val", "test")
    return all(getattr(last, name) == getattr(recipe, name) for name in settings)


def check_no_leaks(project: Project, *, allow: bool) -> None:
    """Raise ProjectError, with an example, where images of one group lie in several parts, unless that is allowed."""
    leaks = pd.read_parquet(project.leaks)
    if allow or leaks.empty:
        return
    first = leaks.iloc[0]
    raise ProjectError(
        f"the split leaks: {len(leaks)} pairs of images lie in different parts, such as {first['first']} "
        f"({first['first_split']}) and {first['second']} ({first['second_split']}): {first['kind']}. All are in "
        f"{project.leaks.with_suffix('.csv')}. Drop one of each in decisions.csv, split with near-duplicates kept "
        "together, or say --allow-leaks, which the report will tell"
    )


def known_pairs(project: Project, rows: pd.DataFrame) -> pd.DataFrame:
    """The duplicate pairs among a table's images, by their relpath in that table."""
    if not project.duplicates.is_file():
        return pd.DataFrame(columns=PAIR_COLUMNS)
    pairs = pd.read_parquet(project.duplicates)
    relpath_of = _sources(project, rows).set_index("source")["relpath"]
    both = pairs.assign(first=pairs["first"].map(relpath_of), second=pairs["second"].map(relpath_of))
    return both.dropna(subset=["first", "second"]).reset_index(drop=True)


def _sources(project: Project, rows: pd.DataFrame) -> pd.DataFrame:
    """relpath and source (the original's path) of a table's images, as far as the project knows them."""
    if "source" in rows:
        return rows[["relpath", "source"]]
    if not project.clean_catalogue.is_file():
        return pd.DataFrame(columns=["relpath", "source"])
    cleaned = read_catalogue(project.clean_catalogue)
    return cleaned.loc[cleaned["relpath"].isin(rows["relpath"]), ["relpath", "source"]]


def as_decided(project: Project, rows: pd.DataFrame) -> pd.DataFrame:
    """A table of the user's own without the images that decisions drop, and with the labels that they give.

    Such a table may have been made before the decisions, and name clean copies as they were called then.
    """
    changing = read_decisions(project.decisions).changing
    if "source" in rows or not changing or not project.clean_catalogue.is_file():
        return rows
    now = read_catalogue(project.clean_catalogue).set_index("source")
    if rows["relpath"].isin(now["relpath"]).all():
        return rows
    raw = read_catalogue(project.catalogue)
    source_of = dict(zip(clean_relpaths(raw), raw["relpath"], strict=True))
    source = rows["relpath"].map(source_of)
    is_known = source.isin(now.index)
    is_decided = source.isin([relpath for relpath, _, _ in changing])
    decided = rows.copy()
    decided.loc[is_known, "relpath"] = source[is_known].map(now["relpath"])
    decided.loc[is_known & is_decided, "category"] = source[is_known & is_decided].map(now["category"])
    return decided[is_known | ~is_decided].reset_index(drop=True)
