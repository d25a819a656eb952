"""Which images of a catalogue are copies of one another: in bytes, in pixels, or nearly."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

from linnaeus.data.catalogue import PAIR_COLUMNS
from linnaeus.data.hamming import close_pairs
from linnaeus.data.likeness import THUMBNAIL_SIDE, Likeness, likeness, thumbnail
from linnaeus.data.perceptual import HASH_COLUMNS, hash_number
from linnaeus.errors import DecodeError
from linnaeus.progress import Progress, silent
from linnaeus.scale.cores import map_images
from linnaeus.settings import DuplicateRecipe

BATCH = 10_000  # images whose thumbnails, 4 KiB each, are held at a time

ReadLuma = Callable[[str], NDArray[np.uint8]]


def duplicate_pairs(
    table: pd.DataFrame, read_luma: ReadLuma, recipe: DuplicateRecipe, progress: Progress = silent
) -> pd.DataFrame:
    """Pairs of images that are copies of one another, a row a pair, sorted by their paths.

    Columns: first and second (relpaths, first < second), kind, distance (bits in which the hashes differ), similarity
    (0 to 1, see `likeness`). Kinds: "same bytes", "same pixels" (stored otherwise), "near" (recompressed, rescaled,
    brightened, marked), "mirrored", and "cropped" (also shifted or scaled). A group of k copies has k - 1 pairs that
    tie it together, the closest first, not all k (k - 1) / 2; `group_numbers` gives the groups.

    table: a row an image with relpath, sha256, pixels_sha256, phash, phash_mirrored, phash_centre.
    read_luma: gives the grey picture of a relpath, at least 64 pixels a side where it can. It is called once for each
    image whose hash is close to another's; an image that it raises DecodeError for has no near-duplicates.
    Pictures without contrast, such as blank pages, count as copies only where their pixels are the same.
    """
    distinct = table.drop_duplicates("pixels_sha256")
    near = _near_pairs(distinct, read_luma, recipe, progress)
    pairs = pd.concat([_exact_pairs(table), near], ignore_index=True)
    turned = pairs["first"] > pairs["second"]
    pairs.loc[turned, ["first", "second"]] = pairs.loc[turned, ["second", "first"]].to_numpy()
    typed = pairs.astype({"distance": np.int64, "similarity": np.float64})  # no pairs, no types
    return typed.sort_values(["first", "second"], ignore_index=True)


def group_numbers(pairs: pd.DataFrame, relpaths: "pd.Series[str]") -> NDArray[np.int64]:
    """The group of each image, in the order of `relpaths`: those that pairs tie together share one.

    Numbered from 0 in order of first appearance; an image without a pair has a group of its own. Pairs with an image
    that is not among `relpaths` are ignored.
    """
    places = pd.Index(relpaths)
    ends = np.stack([places.get_indexer(pd.Index(pairs[side])) for side in ("first", "second")], axis=1)
    return _components(ends[(ends >= 0).all(axis=1)], len(places))


def conflicting_pairs(pairs: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """The pairs whose two images are in different classes, under their index, with first_category and second_category.

    At least one of the two labels is wrong, or the picture shows both. A group of copies in several classes has such a
    pair, though not one for every two of its images.
    """
    category = table.set_index("relpath")["category"]
    both = pairs.assign(first_category=pairs["first"].map(category), second_category=pairs["second"].map(category))
    return both[both["first_category"] != both["second_category"]]


def _exact_pairs(table: pd.DataFrame) -> pd.DataFrame:
    """A chain through the images of each group with the same pixels, those of the same bytes next to each other."""
    rows = table.sort_values(["pixels_sha256", "sha256", "relpath"])
    before = rows.shift()
    is_copy = rows["pixels_sha256"] == before["pixels_sha256"]
    kind = np.where(rows["sha256"] == before["sha256"], "same bytes", "same pixels")
    pairs = pd.DataFrame({"first": before["relpath"], "second": rows["relpath"], "kind": kind})
    return pairs[is_copy].assign(distance=0, similarity=1.0)


def _near_pairs(table: pd.DataFrame, read_luma: ReadLuma, recipe: DuplicateRecipe, progress: Progress) -> pd.DataFrame:
    relpaths = table["relpath"].to_numpy()
    candidates = _candidates(table, recipe.radius, progress)
    found = []
    with progress("Comparing similar images", len(_images(candidates))) as advance:
        for batch in _batches(candidates):
            images = _images(batch)
            thumbnails = np.stack([*map_images(partial(_thumbnail, read_luma), relpaths[images].tolist(), advance)])
            ends = np.searchsorted(images, batch[["first", "second"]])
            confirmed = [*_confirmed(ends, batch["is_mirrored"].to_numpy(), thumbnails, recipe.similarity)]
            pairs = batch.iloc[[row for row, _ in confirmed]]
            kinds = ["cropped" if alike.is_cropped else "near" for _, alike in confirmed]
            kind = np.where(pairs["is_mirrored"], "mirrored", np.array(kinds, dtype=object))
            found.append(pairs.assign(kind=kind, similarity=[alike.similarity for _, alike in confirmed]))
    if not found:
        return pd.DataFrame(columns=PAIR_COLUMNS)
    pairs = pd.concat(found)
    return pairs.assign(first=relpaths[pairs["first"]], second=relpaths[pairs["second"]])[PAIR_COLUMNS]


def _candidates(table: pd.DataFrame, radius: int, progress: Progress) -> pd.DataFrame:
    """The pairs of images, by row, whose hashes are close: one's phash and any of the other's three.

    With `component`, the number of those that hang together; sorted by that, then the closest first.
    """
    count = len(table)
    hashes = np.concatenate([hash_number(table[column]) for column in HASH_COLUMNS])
    close = close_pairs(hashes, radius, count, progress)
    one, other = close.first % count, close.second % count
    columns = {"first": np.minimum(one, other), "second": np.maximum(one, other), "distance": close.distance}
    candidates = pd.DataFrame(columns | {"is_mirrored": close.second // count == HASH_COLUMNS.index("phash_mirrored")})
    candidates = candidates[one != other].sort_values(["distance", "is_mirrored", "first", "second"])
    candidates = candidates.drop_duplicates(["first", "second", "is_mirrored"])
    component = _components(candidates[["first", "second"]].to_numpy(), count)
    numbered: pd.DataFrame = candidates.assign(component=component[candidates["first"]])
    return numbered.sort_values("component", kind="stable")


def _batches(candidates: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The candidates in portions of whole components, with about BATCH images in each."""
    ends = np.concatenate([candidates["first"], candidates["second"]])
    members = pd.DataFrame({"component": np.tile(candidates["component"], 2), "image": ends}).drop_duplicates()
    batch_of = members.groupby("component").size().cumsum() // BATCH
    yield from (batch for _, batch in candidates.groupby(candidates["component"].map(batch_of)))


def _confirmed(
    ends: NDArray[np.int64], is_mirrored: NDArray[np.bool_], thumbnails: NDArray[np.uint8], least: float
) -> Iterator[tuple[int, Likeness]]:
    """Those candidates, by row, whose pictures are alike and are not tied together by others already.

    `ends`: the places of both thumbnails, a row a candidate, the likeliest first.
    In each round those are compared that, were they all alike, would tie together whatever hangs together.
    """

    def compare(row: int) -> Likeness:
        first, second = thumbnails[ends[row]]
        return likeness(first, np.ascontiguousarray(second[:, ::-1]) if is_mirrored[row] else second)

    alike: list[int] = []
    group = np.arange(len(thumbnails))
    waiting = np.arange(len(ends))
    while len(waiting):
        chosen = waiting[_forest(group[ends[waiting]], len(thumbnails))]
        for row, found in zip(chosen.tolist(), map_images(compare, chosen.tolist()), strict=True):
            if found.similarity >= least:
                alike.append(row)
                yield row, found
        group = _components(ends[alike], len(thumbnails))
        waiting = np.setdiff1d(waiting, chosen)
        waiting = waiting[group[ends[waiting, 0]] != group[ends[waiting, 1]]]


def _forest(ends: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The rows of `ends`, (pairs, 2), that are enough to tie together all that hang together: the earliest ones."""
    edges = pd.DataFrame(np.sort(ends, axis=1)).drop_duplicates()
    ranks = edges.index.to_numpy() + 1.0
    tree = minimum_spanning_tree(coo_array((ranks, (edges[0], edges[1])), shape=(count, count)))
    return np.sort(tree.data).astype(np.int64) - 1


def _thumbnail(read_luma: ReadLuma, relpath: str) -> NDArray[np.uint8]:
    try:
        return thumbnail(read_luma(relpath))
    except DecodeError:  # gone or changed since it was catalogued: a blank picture, which resembles nothing
        return np.zeros((THUMBNAIL_SIDE, THUMBNAIL_SIDE), np.uint8)


def _images(candidates: pd.DataFrame) -> NDArray[np.int64]:
    images: NDArray[np.int64] = np.unique(candidates[["first", "second"]].to_numpy())
    return images


def _components(ends: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """A number for each of `count` things, shared by those that pairs tie together, in order of appearance."""
    graph = coo_array((np.ones(len(ends), np.bool_), (ends[:, 0], ends[:, 1])), shape=(count, count))
    _, labels = connected_components(graph, directed=False)
    numbers: NDArray[np.int64] = pd.factorize(labels)[0].astype(np.int64)
    return numbers
