"""Rows of arrays that are kept on disk by what they were made of, so that nothing is made twice."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from linnaeus.errors import TrainingError
from linnaeus.files import read_json, whole, write_json

Places = NDArray[np.int64]
Array = NDArray[Any]


@dataclass(frozen=True)
class Part:
    """One .npy file of rows: where in it they begin, in bytes, how many there are, and what each is."""

    path: Path
    offset: int
    rows: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class StoredRows:
    """Chosen rows of a store, in a chosen order, read from its files when they are asked for.

    Not mapped into memory, where what has been read would count as this process's own.
    part, row: where each row stands.
    """

    parts: tuple[Part, ...]
    part: Places
    row: Places

    def __len__(self) -> int:
        return len(self.row)

    @property
    def nbytes(self) -> int:
        """What these rows would take in memory."""
        first = self.parts[0]
        return len(self) * math.prod(first.shape) * first.dtype.itemsize

    def __getitem__(self, places: Places) -> Array:
        """The rows at `places`, (places, ...), in memory. Raises TrainingError where a file is damaged."""
        first = self.parts[0]
        found = np.empty((len(places), *first.shape), first.dtype)
        for number in np.unique(self.part[places]):
            self._read(self.parts[number], np.flatnonzero(self.part[places] == number), self.row[places], found)
        return found

    def subset(self, places: Places) -> "StoredRows":
        """The same store's rows at `places`."""
        return replace(self, part=self.part[places], row=self.row[places])

    def _read(self, part: Part, wanted: Places, row: Places, found: Array) -> None:
        row_bytes = found.reshape(len(found), -1).view(np.uint8)
        size = row_bytes.shape[1]
        try:
            with part.path.open("rb", buffering=0) as file:
                for place in wanted:
                    file.seek(part.offset + int(row[place]) * size)
                    if file.readinto(row_bytes[place]) != size:
                        raise _damaged(part.path, "it ends too early")
        except OSError as error:
            raise _damaged(part.path, error.strerror or str(error)) from None


class ContentStore:
    """A folder of array rows, each kept by the SHA-256 of the content it was made of.

    Append-only: what is new at one time becomes a pair of files, `<n>.npy` with the rows and `<n>.json` with their
    hashes, which is written last, so that a killed run leaves nothing that is taken for whole. All rows have one shape
    and type.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def new(self, hashes: Sequence[str]) -> list[int]:
        """The places of the hashes that are not kept yet, each hash once."""
        known = self._known()
        first_place = {content: place for place, content in reversed([*enumerate(hashes)])}
        return sorted(place for content, place in first_place.items() if content not in known)

    def add(self, hashes: Sequence[str], blocks: Iterable[Array]) -> None:
        """Keep a row for each hash; they come in blocks (rows, ...), in the order of the hashes."""
        number = len(self._lists())
        with whole(self.folder / f"{number}.npy") as partial:
            _write(partial, len(hashes), iter(blocks))
        write_json(self.folder / f"{number}.json", [*hashes])

    def rows(self, hashes: Sequence[str]) -> StoredRows:
        """The rows of these hashes, all of which are kept. Raises TrainingError where a file is damaged."""
        known = self._known()
        parts = tuple(_part(path.with_suffix(".npy"), len(read_json(path))) for path in self._lists())
        where = np.array([known[content] for content in hashes], dtype=np.int64).reshape(-1, 2)
        return StoredRows(parts, where[:, 0], where[:, 1])

    def _lists(self) -> list[Path]:
        """The lists of hashes, one for each time that content was new; they are numbered from 0."""
        paths = (self.folder / f"{number}.json" for number in count())
        return [*takewhile(Path.is_file, paths)]

    def _known(self) -> dict[str, tuple[int, int]]:
        """Part and row of everything that is kept, by its hash."""
        lists = [read_json(path) for path in self._lists()]
        return {content: (part, row) for part, contents in enumerate(lists) for row, content in enumerate(contents)}


def _write(path: Path, rows: int, blocks: Iterator[Array]) -> None:
    """Write blocks one after the other, as a .npy file of so many rows."""
    first = next(blocks)
    facts = {"descr": npy.dtype_to_descr(first.dtype), "fortran_order": False, "shape": (rows, *first.shape[1:])}
    with path.open("wb") as file:
        npy.write_array_header_1_0(file, facts)
        file.write(np.ascontiguousarray(first).data)
        written = len(first)
        for block in blocks:
            file.write(np.ascontiguousarray(block, first.dtype).data)
            written += len(block)
    assert written == rows, f"{written} rows for {rows} hashes"


def _part(path: Path, rows: int) -> Part:
    """A file of so many rows. Mapping it compares its size with what its header says, and touches nothing else."""
    try:
        mapped = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(path, getattr(error, "strerror", None) or str(error)) from None
    if len(mapped) != rows:
        raise _damaged(path, f"it has {len(mapped)} rows, its list of hashes {rows}")
    return Part(path, mapped.offset, rows, mapped.shape[1:], mapped.dtype)


def _damaged(path: Path, why: str) -> TrainingError:
    return TrainingError(f"{path} is damaged: {why}; delete the folder {path.parent}, and it is made again")
