"""Which images belong together: near-duplicates, a column of the table, a pattern in the path."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from linnaeus.errors import SplitError
from linnaeus.settings import SplitRecipe


@dataclass(frozen=True)
class ImageGroups:
    """The images of a table that must not be divided among parts, a row an image in the table's order.

    `keys`: a number for each image, the same for images of one group; 0 upwards in the order of the table.
    `names`: the value of the column or pattern that put an image into its group, null for an image without one;
    None where neither is asked for.
    """

    keys: NDArray[np.int64]
    names: "pd.Series[str] | None" = None

    @property
    def unnamed(self) -> int:
        """The number of images for which neither the column nor the pattern has a value: groups of their own, unless
        near-duplicates tie them to others. 0 where neither is asked for."""
        return 0 if self.names is None else int(self.names.isna().sum())


def image_groups(table: pd.DataFrame, recipe: SplitRecipe, near_duplicates: ArrayLike | None = None) -> ImageGroups:
    """The groups of a table's images: near-duplicates, `recipe.group_column` and `recipe.group_pattern` merged.

    Images that share any one of these are in one group, and so are those that share with a third. `near_duplicates`
    is a key for each row, by position; a null key is a group of its own. The pattern is searched for in the original
    image's path (`identity_column`); its value is the named group "group", else the first group, else the whole match.

    Raises SplitError for an absent column, a column or a pattern without any value, or keys of another length.
    """
    ties = [] if near_duplicates is None else [_given_keys(table, near_duplicates)]
    named = []
    if recipe.group_column is not None:
        named.append(_column_values(table, recipe.group_column))
    if recipe.group_pattern is not None:
        named.append(_pattern_values(table, recipe.group_pattern))
    ties += [pd.factorize(values)[0] for values in named]
    return ImageGroups(_merged(len(table), ties), _names(named))


def identity_column(table: pd.DataFrame) -> str:
    """The column that says which image a row is: `source`, the original's path in a clean copy's catalogue, or else
    relpath. A user's own `source` that is empty in places, or the same for several images, does not say that."""
    is_path = "source" in table and table["source"].notna().all() and table["source"].is_unique
    return "source" if is_path else "relpath"


def _given_keys(table: pd.DataFrame, keys: ArrayLike) -> NDArray[np.int64]:
    codes: NDArray[np.int64] = pd.factorize(np.asarray(keys))[0]
    if len(codes) != len(table):
        raise SplitError(f"{len(codes)} group keys for {len(table)} images; give one for each row of the table")
    return codes


def _column_values(table: pd.DataFrame, column: str) -> "pd.Series[str]":
    if column not in table:
        raise SplitError(f"group_column: the table has no column {column!r}; it has {', '.join(map(str, table))}")
    values = table[column].astype(object).map(_cell_text).rename(f"{column}=")
    if values.isna().all():
        raise SplitError(f"group_column: {column!r} is empty in every row; fill it in, or leave group_column out")
    return values


def _cell_text(cell: Any) -> str | None:
    """A cell as text. One empty cell makes pandas read whole numbers as floats; 3.0 must stay the group "3"."""
    if pd.isna(cell):
        return None
    whole = isinstance(cell, float) and cell.is_integer()
    return str(int(cell) if whole else cell).strip() or None


def _pattern_values(table: pd.DataFrame, pattern: str) -> "pd.Series[str]":
    expression = re.compile(pattern)
    place: str | int = "group" if "group" in expression.groupindex else min(expression.groups, 1)

    def value(path: str) -> str | None:
        found = expression.search(path)
        return (found[place] or None) if found else None

    paths = table[identity_column(table)]
    values = paths.map(value).rename(f"{pattern}=")
    if values.isna().all():
        raise SplitError(
            f"group_pattern: {pattern!r} finds nothing in any of {len(table)} paths, such as {paths.iloc[0]}; "
            "change the pattern, or leave group_pattern out"
        )
    return values


def _merged(rows: int, ties: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """A number for each row, the same for rows tied by any code; -1 ties nothing.

    The graph has a node for each row and one for each code, and an edge from every row to each of its codes.
    """
    nodes, first, second = rows, [], []
    for codes in ties:
        tied = np.flatnonzero(codes >= 0)
        first.append(tied)
        second.append(nodes + codes[tied])
        nodes += int(codes.max(initial=-1)) + 1
    ends = (np.concatenate([*first, []]).astype(int), np.concatenate([*second, []]).astype(int))
    graph = coo_array((np.ones(len(ends[0])), ends), shape=(nodes, nodes))
    components: NDArray[np.int64] = connected_components(graph, directed=False)[1][:rows]
    keys: NDArray[np.int64] = pd.factorize(components)[0]
    return keys


def _names(named: Sequence["pd.Series[str]"]) -> "pd.Series[str] | None":
    """The value of the one criterion; of two, the smallest value of all that are tied, told apart by its criterion."""
    if len(named) < 2:
        return named[0].reset_index(drop=True).rename("group_name") if named else None
    rows = len(named[0])
    keys = pd.Series(_merged(rows, [pd.factorize(values)[0] for values in named]))
    texts = [(str(values.name) + values.reset_index(drop=True)).dropna() for values in named]
    everyone = pd.concat(texts)
    smallest = everyone.groupby(keys.loc[everyone.index].to_numpy()).min()
    return keys.map(smallest).rename("group_name")
