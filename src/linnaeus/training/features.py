"""What a frozen trunk makes of each image, computed once and kept on disk."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import nn

from linnaeus.data.dataset import ImageDataset
from linnaeus.evaluation.inference import run_module
from linnaeus.files import fingerprint, whole
from linnaeus.progress import Progress, silent
from linnaeus.records import Preprocessing

BATCH = 32


def cached_activations(
    trunk: nn.Module, images: ImageDataset, hashes: Sequence[str], folder: Path, progress: Progress = silent
) -> np.ndarray:
    """The trunk's output for every image, (images, ...) float32, memory-mapped from a file in `folder`.

    images: not shuffled, not augmented. hashes: SHA-256 of each image file's content, in the same order.
    The file is keyed by those, the preprocessing and the trunk's weights and structure, so that another run with the
    same ones finds it; it is written whole or not at all.
    """
    assert images.preprocess is not None
    path = folder / f"{_key(trunk, hashes, images.preprocess)}.npy"
    if not path.is_file():
        with whole(path) as partial, progress("Computing features", len(images)) as advance:
            batches = (inputs for inputs, _ in images.loader(BATCH))
            _write(partial, len(images), run_module(trunk, batches, advance))
        trunk.cpu()
    activations: np.ndarray = np.load(path, mmap_mode="r")
    return activations


def activation_bytes(trunk: nn.Module, preprocessing: Preprocessing) -> int:
    """Bytes that the trunk's output takes for one image."""
    with torch.inference_mode():
        output = trunk(torch.zeros(1, 3, preprocessing.size, preprocessing.size))
    return int(output.numel()) * 4


def _write(path: Path, rows: int, outputs: Iterator[np.ndarray]) -> None:
    first = next(outputs)
    table = open_memmap(path, mode="w+", dtype=np.float32, shape=(rows, *first.shape[1:]))
    table[: len(first)] = first
    start = len(first)
    for output in outputs:
        table[start : start + len(output)] = output
        start += len(output)
    table.flush()


def _key(trunk: nn.Module, hashes: Sequence[str], preprocessing: Preprocessing) -> str:
    digest = hashlib.sha256()
    for name, value in trunk.state_dict().items():
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    structure = getattr(trunk, "code", str(trunk))
    settings = [preprocessing.size, preprocessing.mean, preprocessing.std]
    return fingerprint([digest.hexdigest(), structure, list(hashes), settings])[:32]
