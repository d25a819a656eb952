"""Batches made from a table: decode, augment, preprocess, in an order that depends on the seed alone."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from linnaeus.data.augment import augmented
from linnaeus.data.decode import Pixels, read_bytes, resized, rgb_pixels
from linnaeus.errors import DecodeError, TrainingError
from linnaeus.recipe_sections import AugmentRecipe
from linnaeus.records import Preprocessing
from linnaeus.scale.cores import core_count

Batch = tuple[torch.Tensor, torch.Tensor]


class Rows(Protocol):
    """Gives the inputs at an array of places, (places, ...) float32."""

    def __getitem__(self, places: np.ndarray) -> np.ndarray: ...


class Draw(NamedTuple):
    """The `row` of the table that is drawn, and in which `epoch`, on which its augmentation depends."""

    row: int
    epoch: int


class EpochSampler(Sampler[Draw]):
    """All rows once an epoch; shuffled anew for each by (seed, epoch), so that an epoch can be repeated alone."""

    def __init__(self, rows: int, *, shuffle: bool, seed: int) -> None:
        self.rows = rows
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration is of."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.rows

    def __iter__(self) -> Iterator[Draw]:
        order = np.arange(self.rows)
        if self.shuffle:
            np.random.default_rng((self.seed, self.epoch)).shuffle(order)
        return (Draw(int(row), self.epoch) for row in order)


class ImageDataset(Dataset[Batch]):
    """The images of a table as a map-style torch dataset.

    An item is (image, label): float32 (3, size, size), preprocessed, and an int64 scalar. `loader` gives batches of
    them, in channels-last memory order.

    table: needs `relpath` and `label`; rows may repeat (an up-sampled table costs no memory beyond its rows).
    root: the folder that the paths are relative to.
    augment: for training only; None leaves every image as it is. Reproducible by (seed, epoch, row).
    preprocess: the model's own; by default the scale 0 to 1 at each image's own size, which must then be the same for
        all images of a batch.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        root: str | Path = ".",
        *,
        shuffle: bool = True,
        augment: AugmentRecipe | bool | None = None,
        preprocess: Preprocessing | None = None,
        seed: int = 0,
    ) -> None:
        if table.empty:
            raise TrainingError("the table has no rows, so there is nothing to make batches of")
        self.paths = [Path(root) / relpath for relpath in table["relpath"]]
        self.labels = torch.tensor(table["label"].to_list(), dtype=torch.int64)
        self.shuffle = shuffle
        self.augment = (AugmentRecipe() if augment else None) if isinstance(augment, bool) else augment
        self.preprocess = preprocess
        self.seed = seed

    def __len__(self) -> int:
        return len(self.paths)

    def subset(self, rows: Sequence[int]) -> "ImageDataset":
        """The same images and settings for some of the rows."""
        part = copy(self)
        part.paths, part.labels = [self.paths[row] for row in rows], self.labels[list(rows)]
        return part

    def __getitem__(self, index: Draw | int) -> Batch:
        images, labels = self.batch([index])
        return images[0], labels[0]

    def __getitems__(self, indices: Sequence[Draw | int]) -> Batch:
        return self.batch(indices)

    def batch(self, indices: Sequence[Draw | int]) -> Batch:
        """Images (batch, 3, size, size) and labels (batch,) for rows of the table, or draws of them."""
        draws = [index if isinstance(index, Draw) else Draw(index, 0) for index in indices]
        with ThreadPoolExecutor(core_count()) as pool:
            pixels = [*pool.map(self.pixels, draws)]
        labels = self.labels[[draw.row for draw in draws]]
        return preprocessed(np.stack(pixels), self.preprocess), labels

    def pixels(self, draw: Draw) -> Pixels:
        """One image before preprocessing, (size, size, 3) uint8; augmented where the dataset is."""
        path = self.paths[draw.row]
        try:
            pixels = rgb_pixels(read_bytes(path))
        except DecodeError as error:
            raise TrainingError(f"{path}: {error}; make the clean copy again: linnaeus clean PROJECT --force") from None
        if self.augment is not None:
            random = np.random.default_rng((self.seed, draw.epoch, draw.row))
            pixels = augmented(pixels, self.augment, random)
        side = self.preprocess.size if self.preprocess else None
        return pixels if side is None else resized(pixels, side, side)

    def loader(self, batch_size: int = 32) -> DataLoader[Batch]:
        """Batches (images, labels); another order and other augmentation in each epoch (`sampler.set_epoch`)."""
        sampler = EpochSampler(len(self), shuffle=self.shuffle, seed=self.seed)
        return DataLoader(self, batch_size, sampler=sampler, collate_fn=_as_it_is)


class TensorTable(Dataset[Batch]):
    """Rows of an array, or of what gives some like one, as inputs: what a frozen trunk has computed, once an image.

    rows: which row of `inputs` each item is; repeats are free.
    """

    def __init__(self, inputs: Rows, rows: np.ndarray, labels: np.ndarray, *, shuffle: bool, seed: int = 0) -> None:
        self.inputs = inputs
        self.rows = rows
        self.labels = torch.tensor(labels.tolist(), dtype=torch.int64)
        self.shuffle = shuffle
        self.seed = seed

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, draws: Sequence[Draw]) -> Batch:
        chosen = [draw.row for draw in draws]
        inputs = torch.from_numpy(self.inputs[self.rows[chosen]])
        is_spatial = inputs.ndim == 4
        return inputs.contiguous(memory_format=torch.channels_last) if is_spatial else inputs, self.labels[chosen]

    def loader(self, batch_size: int) -> DataLoader[Batch]:
        """Batches (inputs, labels), in another order each epoch where shuffled."""
        sampler = EpochSampler(len(self), shuffle=self.shuffle, seed=self.seed)
        return DataLoader(self, batch_size, sampler=sampler, collate_fn=_as_it_is)


def preprocessed(pixels_bhwc: Pixels, preprocess: Preprocessing | None) -> torch.Tensor:
    """float32 images (batch, 3, height, width), channels last, from uint8 ones (batch, height, width, 3)."""
    images = torch.from_numpy(pixels_bhwc).permute(0, 3, 1, 2).to(torch.float32).div_(255)
    if preprocess is None:
        return images
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preprocess.mean, preprocess.std))
    return images.sub_(mean).div_(std)


def _as_it_is(batch: Any) -> Any:
    """The batch that `__getitems__` has made already."""
    return batch
