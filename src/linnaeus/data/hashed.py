"""Parts by hash: images that are added later move none of those that were there."""

import unicodedata
from hashlib import sha256

import pandas as pd

from linnaeus.data.groups import ImageGroups, identity_column
from linnaeus.records import PARTS, Exclusion, Part
from linnaeus.settings import SplitRecipe

BRIDGE = "ties images of different parts together"


def draw_by_hash(
    table: pd.DataFrame, groups: ImageGroups, recipe: SplitRecipe, earlier: pd.DataFrame | None
) -> tuple[pd.DataFrame, list[Exclusion]]:
    """`split` of each image, in the table's order, and the images left out; the index counts from 0.
    A clean copy's `source` goes along.

    An image that has a part in `earlier`, a former manifest, keeps it. The new images of its group join it. A group
    that is new as a whole goes where the hash of the smallest of its images' texts says (`part_by_hash`): the value of
    the column or pattern, else the path of the original. A new image whose group was in several parts before would leak
    wherever it goes, so it is left out.

    Without `earlier` no image is ever moved either, as long as groups come from one column or one pattern alone;
    near-duplicates, or a column and a pattern together, can tie together what was apart, and need it.
    """
    known = _known_parts(table, earlier)
    texts = pd.Series(_texts(table, groups), dtype=object)
    members = pd.DataFrame({"key": groups.keys, "known": known, "text": texts})
    by_key = members.groupby("key")["known"]
    smallest = members.sort_values("text").drop_duplicates("key").set_index("key")["text"]
    drawn = smallest.map({text: part_by_hash(text, recipe) for text in smallest.unique()})
    parts = known.fillna(by_key.transform("first")).fillna(pd.Series(groups.keys).map(drawn))
    is_bridge = known.isna() & (by_key.transform("nunique") > 1)
    reasons = _where_known(table["relpath"][known.notna()], known, groups)
    left_out = [
        Exclusion(relpath, BRIDGE, reasons[key])
        for relpath, key in zip(table["relpath"][is_bridge], groups.keys[is_bridge], strict=True)
    ]
    columns = table[["source"]] if identity_column(table) == "source" else table[[]]
    return columns.assign(split=parts)[~is_bridge], left_out


def part_by_hash(text: str, recipe: SplitRecipe) -> Part:
    """The part of a text: where its SHA-256, with the seed, falls in 0 to 1, of which test has the first share and
    validation the next. Shares are therefore kept roughly: of n texts, to about the square root of n."""
    spelled = unicodedata.normalize("NFC", text)  # macOS spells file names otherwise than Linux does
    digest = sha256(f"{recipe.seed}:{spelled}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place < recipe.test:
        return "test"
    return "val" if place < recipe.test + recipe.val else "train"


def _texts(table: pd.DataFrame, groups: ImageGroups) -> list[str]:
    paths = ["image:" + path for path in table[identity_column(table)]]
    if groups.names is None:
        return paths
    named = zip(groups.names, paths, strict=True)
    return [path if pd.isna(name) else f"group:{name}" for name, path in named]


def _known_parts(table: pd.DataFrame, earlier: pd.DataFrame | None) -> "pd.Series[str]":
    """The earlier part of each image, null for a new one. A clean copy's own path changes where another image of the
    same name joins it, so its source says which image it is."""
    if earlier is None:
        return pd.Series(None, index=table.index, dtype=object)
    column = identity_column(table) if identity_column(table) in earlier else "relpath"
    return table[column].map(earlier.set_index(column)["split"]).astype(object)


def _where_known(relpaths: "pd.Series[str]", parts: "pd.Series[str]", groups: ImageGroups) -> dict[int, str]:
    """For each group with images that had a part: one of them for each part."""
    known = pd.DataFrame({"relpath": relpaths, "split": parts[relpaths.index], "key": groups.keys[relpaths.index]})
    first = known.drop_duplicates(["key", "split"])
    order = {part: place for place, part in enumerate(PARTS)}
    first = first.sort_values("split", key=lambda split: split.map(order), kind="stable")
    sentences = first["relpath"] + " is in " + first["split"]
    return {int(str(key)): ", ".join(group) for key, group in sentences.groupby(first["key"])}
