"""What a frozen trunk makes of each image, computed once an image and kept on disk."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import nn

from linnaeus.data.dataset import ImageDataset
from linnaeus.evaluation.inference import run_module
from linnaeus.files import fingerprint, read_json, whole, write_json
from linnaeus.progress import Progress, silent
from linnaeus.records import Preprocessing

BATCH = 32


@dataclass(frozen=True)
class Activations:
    """A trunk's output for images, read from memory-mapped files row by row.

    parts: float32 arrays (rows, ...). part, row: where each image's output stands, in the images' order.
    """

    parts: tuple[np.ndarray, ...]
    part: NDArray[np.int64]
    row: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, places: NDArray[np.int64]) -> np.ndarray:
        """The output for the images at `places`, (places, ...) float32, in memory."""
        found = np.empty((len(places), *self.parts[0].shape[1:]), np.float32)
        for number in np.unique(self.part[places]):
            is_here = self.part[places] == number
            found[is_here] = self.parts[number][self.row[places][is_here]]
        return found


def cached_activations(
    trunk: nn.Module, images: ImageDataset, hashes: Sequence[str], folder: Path, progress: Progress = silent
) -> Activations:
    """The trunk's output for every image; only what no run before has computed is computed.

    images: not shuffled, not augmented. hashes: SHA-256 of each image file's content, in the same order.
    A sub-folder of `folder`, keyed by the trunk's weights and structure and the preprocessing, has a pair of files for
    each time that images were new: their outputs, and their hashes, which are written last.
    """
    assert images.preprocess is not None
    store = folder / _key(trunk, images.preprocess)
    known = _known(store)
    first_place = {content: place for place, content in reversed([*enumerate(hashes)])}
    new = [place for content, place in sorted(first_place.items(), key=lambda item: item[1]) if content not in known]
    if new:
        number = len(_lists(store))
        with whole(store / f"{number}.npy") as partial, progress("Computing features", len(new)) as advance:
            batches = (inputs for inputs, _ in images.subset(new).loader(BATCH))
            _write(partial, len(new), run_module(trunk, batches, advance))
        write_json(store / f"{number}.json", [hashes[place] for place in new])
        trunk.cpu()
        known = _known(store)
    parts = tuple(np.load(path.with_suffix(".npy"), mmap_mode="r") for path in _lists(store))
    where = np.array([known[content] for content in hashes], dtype=np.int64).reshape(-1, 2)
    return Activations(parts, where[:, 0], where[:, 1])


def activation_bytes(trunk: nn.Module, preprocessing: Preprocessing) -> int:
    """Bytes that the trunk's output takes for one image."""
    with torch.inference_mode():
        output = trunk(torch.zeros(1, 3, preprocessing.size, preprocessing.size))
    return int(output.numel()) * 4


def _lists(store: Path) -> list[Path]:
    """The lists of hashes, one for each time that images were new; they are numbered from 0."""
    paths = (store / f"{number}.json" for number in count())
    return [*takewhile(Path.is_file, paths)]


def _known(store: Path) -> dict[str, tuple[int, int]]:
    """Part and row of every image whose output is kept, by its hash."""
    lists = [read_json(path) for path in _lists(store)]
    return {content: (part, row) for part, contents in enumerate(lists) for row, content in enumerate(contents)}


def _write(path: Path, rows: int, outputs: Iterator[np.ndarray]) -> None:
    first = next(outputs)
    table = open_memmap(path, mode="w+", dtype=np.float32, shape=(rows, *first.shape[1:]))
    table[: len(first)] = first
    start = len(first)
    for output in outputs:
        table[start : start + len(output)] = output
        start += len(output)
    table.flush()


def _key(trunk: nn.Module, preprocessing: Preprocessing) -> str:
    digest = hashlib.sha256()
    for name, value in trunk.state_dict().items():
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    structure = getattr(trunk, "code", str(trunk))
    settings = [preprocessing.size, preprocessing.mean, preprocessing.std]
    return fingerprint([digest.hexdigest(), structure, settings])[:32]
