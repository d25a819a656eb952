"""Images in different parts that should be in one: what a model could know of the test part before it is tested."""

from itertools import combinations

import pandas as pd

from linnaeus.data.catalogue import PAIR_COLUMNS
from linnaeus.records import PARTS

LEAK_COLUMNS = [*PAIR_COLUMNS, "first_split", "second_split"]
SAME_GROUP = "same group"


def find_leaks(splits_table: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """The pairs of images whose two images lie in different parts, a row a pair, with both parts.

    `splits_table`: a manifest (`Splits.table`). `pairs`: first and second (relpaths), kind, distance and similarity;
    pairs with an image that is in no part are ignored. Where the manifest has `group_name` (the value of the split
    recipe's column or pattern), one pair of kind "same group" follows for each group and pair of parts that it lies in,
    without a distance or similarity.

    Columns: first, second, kind, distance, similarity, first_split, second_split. Near-duplicates that cross parts
    inflate accuracy (Barz and Denzler 2020, "Do we train on test data?").
    """
    part_of = splits_table.set_index("relpath")["split"]
    found = pairs[PAIR_COLUMNS].assign(
        first_split=pairs["first"].map(part_of), second_split=pairs["second"].map(part_of)
    )
    is_leak = found["first_split"].notna() & found["second_split"].notna()
    leaks = found[is_leak & (found["first_split"] != found["second_split"])]
    crossing = _crossing_groups(splits_table)
    return pd.concat([table for table in (leaks, crossing) if len(table)] or [leaks], ignore_index=True)


def _crossing_groups(splits_table: pd.DataFrame) -> pd.DataFrame:
    if "group_name" not in splits_table:
        return pd.DataFrame(columns=LEAK_COLUMNS)
    named = splits_table.drop_duplicates(["group_name", "split"])
    rows = []
    for _, members in named[named.duplicated("group_name", keep=False)].groupby("group_name"):
        example = members.set_index("split")["relpath"]
        for first, second in combinations([part for part in PARTS if part in example], 2):
            rows.append((example[first], example[second], SAME_GROUP, float("nan"), float("nan"), first, second))
    return pd.DataFrame(rows, columns=LEAK_COLUMNS)
