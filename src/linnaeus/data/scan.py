"""One pass over image files: each is read and decoded once, and all that the catalogue says of it is taken from that.

The result, `scan.parquet`, is also the memory by which a second scan decodes nothing but new and changed files.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from linnaeus.data.decode import Header, Pixels, decode, read_file
from linnaeus.data.perceptual import HASH_COLUMNS, hash_columns
from linnaeus.data.quality import MEASURES, Sample, measures, take_sample
from linnaeus.errors import DecodeError
from linnaeus.progress import Progress, silent
from linnaeus.scale.cores import map_images

BLOCK = 64  # files that one task reads, and whose measures are computed together
DECIMALS = 5
SCAN_VERSION = 1  # to be raised whenever a column changes its meaning

TYPES = {str: pa.string(), int: pa.int64(), bool: pa.bool_()}
READ_COLUMNS = {
    **{"relpath": pa.string(), "bytes": pa.int64(), "mtime_ns": pa.int64()},
    **{field.name: TYPES[field.type] for field in fields(Header)},  # type: ignore[index]  # types, not their names
    **{"sha256": pa.string(), "pixels_sha256": pa.string(), "aspect": pa.float64()},
}
SCHEMA = pa.schema(
    {
        **READ_COLUMNS,
        **dict.fromkeys(HASH_COLUMNS, pa.string()),
        **dict.fromkeys(MEASURES, pa.float64()),
        **{"reason": pa.string(), "detail": pa.string()},
    }
)
# What pandas makes floats or objects of as long as files that could not be read have no value.
WHOLE_COLUMNS = {
    field.name: "bool" if pa.types.is_boolean(field.type) else "int64"
    for field in SCHEMA
    if not (pa.types.is_string(field.type) or pa.types.is_floating(field.type))
}
# What may be otherwise the next time although the file looks the same.
PASSING = ("cannot be opened", "changed while it was read")


def scan_files(
    images: Path,
    relpaths: Sequence[str],
    known: pd.DataFrame | None = None,
    *,
    scanned_by: str,
    max_pixels: int,
    progress: Progress = silent,
) -> pd.DataFrame:
    """A row a file, in the order of `relpaths`: its facts and measures, or the reason why it could not be decoded.

    known: a former result, whose rows are taken over for files of the same path, size and time of change, where they
    were scanned by the same means (`scanned_by`). Memory is that of the table and of one block of images a core.
    """
    kept = _unchanged(images, relpaths, known, scanned_by)
    fresh = [relpath for relpath in relpaths if relpath not in kept.index]
    blocks = [fresh[start : start + BLOCK] for start in range(0, len(fresh), BLOCK)]
    tables = [SCHEMA.empty_table()]
    with progress("Reading images", len(relpaths)) as advance:
        advance(len(kept))
        for block, table in zip(blocks, map_images(partial(_scan_block, images, max_pixels), blocks), strict=True):
            tables.append(table)
            advance(len(block))
    together = pa.concat_tables(tables)
    tables.clear()
    scanned: pd.DataFrame = together.to_pandas(self_destruct=True).assign(scanned_by=scanned_by)
    del together
    if kept.empty:  # then all are in order, and a large table need not be copied
        return scanned
    together = pd.concat([kept.reset_index(), scanned], ignore_index=True)
    ordered: pd.DataFrame = together.set_index("relpath").loc[list(relpaths)].reset_index()
    return ordered


def scan_means(max_pixels: int, *, has_heif: bool) -> str:
    """What a scan's result depends on beside the files; rows of another make are not taken over."""
    return f"{SCAN_VERSION}, at most {max_pixels} pixels{', HEIF' if has_heif else ''}"


def _unchanged(images: Path, relpaths: Sequence[str], known: pd.DataFrame | None, scanned_by: str) -> pd.DataFrame:
    """The rows of `known` that still hold, by relpath."""
    if known is None:
        nothing: pd.DataFrame = SCHEMA.empty_table().to_pandas().assign(scanned_by="").set_index("relpath")
        return nothing
    usable = known[known["scanned_by"].eq(scanned_by) & ~known["reason"].isin(PASSING)].set_index("relpath")
    states = zip(usable["bytes"], usable["mtime_ns"], strict=True)
    before = dict(zip(usable.index, states, strict=True))
    same = [relpath for relpath in relpaths if relpath in before and _state(images / relpath) == before[relpath]]
    return usable.loc[same]


def _state(path: Path) -> tuple[int, int] | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_size, facts.st_mtime_ns


def _scan_block(images: Path, max_pixels: int, relpaths: Sequence[str]) -> pa.Table:
    """The rows of some files, in their order."""
    read: list[tuple[object, ...]] = []
    failed: list[dict[str, object]] = []
    samples: list[Sample] = []
    for relpath in relpaths:
        path = f"{images}{os.sep}{relpath}"
        try:
            row, pixels = _scan_one(path, max_pixels)
        except DecodeError as error:
            size, changed = _state(Path(path)) or (None, None)
            file = {"relpath": relpath, "bytes": size, "mtime_ns": changed}
            failed.append({**file, "reason": error.reason, "detail": error.detail})
        else:
            read.append((relpath, *row))
            samples.append(take_sample(pixels))
    columns: dict[str, Iterable[object]] = dict(zip(READ_COLUMNS, zip(*read, strict=True), strict=False))
    if samples:
        columns |= hash_columns([sample.grey for sample in samples])
        columns |= {name: values.round(DECIMALS) for name, values in measures(samples).items()}
    arrays = [pa.array(columns.get(field.name, [None] * len(read)), field.type) for field in SCHEMA]
    table = pa.Table.from_arrays(arrays, schema=SCHEMA)
    if not failed:
        return table
    together = pa.concat_tables([table, pa.Table.from_pylist(failed, schema=SCHEMA)])
    place = {relpath: row for row, relpath in enumerate(together["relpath"].to_pylist())}
    return together.take([place[relpath] for relpath in relpaths])


def _scan_one(path: str, max_pixels: int) -> tuple[tuple[object, ...], Pixels]:
    """What READ_COLUMNS name, but for the first; and the pixels."""
    content, state = read_file(path)
    header, pixels = decode(content, os.path.splitext(path)[1], max_pixels=max_pixels)  # noqa: PTH122  # quicker
    height, width = pixels.shape[:2]
    digests = hashlib.sha256(content).hexdigest(), pixels_hash(pixels)
    return (len(content), state.st_mtime_ns, *vars(header).values(), *digests, round(width / height, DECIMALS)), pixels


def pixels_hash(pixels: Pixels) -> str:
    """SHA-256, in hex, of upright RGB pixels and their shape: the same for a picture in any lossless format."""
    digest = hashlib.sha256(f"{pixels.shape}".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()
