"""Batches made from a table: decode, augment, preprocess, in an order that depends on the seed alone."""

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar, cast

import cv2
import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from linnaeus.data.augment import augmented
from linnaeus.data.decode import Pixels, read_bytes, resized, rgb_pixels
from linnaeus.data.store import StoredRows
from linnaeus.errors import DecodeError, TrainingError
from linnaeus.recipe_sections import AugmentRecipe
from linnaeus.records import Preprocessing
from linnaeus.scale.ahead import ahead
from linnaeus.scale.cores import map_at_once
from linnaeus.scale.processes import Shard

Batch = tuple[torch.Tensor, torch.Tensor]
AnyBatch = TypeVar("AnyBatch")
Made_co = TypeVar("Made_co", covariant=True)

CHUNK = 4  # images that a thread makes at a time


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
        self.start = 0

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the epoch that the next iteration is of, and how many of its rows are left out at its beginning."""
        self.epoch = epoch
        self.start = start

    def __len__(self) -> int:
        return self.rows

    def __iter__(self) -> Iterator[Draw]:
        epoch, order = self.epoch, np.arange(self.rows)
        if self.shuffle:
            np.random.default_rng((self.seed, epoch)).shuffle(order)
        return (Draw(int(row), epoch) for row in order[self.start :])


class MadeInBatches(Protocol[Made_co]):
    """A dataset that makes whole batches of draws."""

    def __len__(self) -> int: ...

    def batch(self, draws: Sequence[Draw]) -> Made_co:
        """A batch of draws."""


class Shared(Dataset[Made_co]):
    """What one of several processes sees of a dataset: of each batch its own share."""

    def __init__(self, whole: MadeInBatches[Made_co], shard: Shard) -> None:
        self.whole = whole
        self.shard = shard

    def __len__(self) -> int:
        return len(self.whole)

    def __getitems__(self, draws: Sequence[Draw]) -> Made_co:
        share = self.shard.share(draws)
        if not share:  # of a last validation batch
            return cast(Made_co, (torch.empty(0), torch.empty(0, dtype=torch.int64)))
        return self.whole.batch(share)


class AheadLoader(DataLoader[AnyBatch]):
    """Batches that another thread makes while the reader is busy with those before them."""

    def __iter__(self) -> Iterator[AnyBatch]:  # type: ignore[override]
        return ahead(super().__iter__())


class ImageDataset(Dataset[Batch]):
    """The images of a table as a map-style torch dataset.

    An item is (image, label): float32 (3, size, size), preprocessed, and an int64 scalar. `loader` gives batches of
    them, in channels-last memory order, made on all cores, the next ones while one is in use.

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
        path_of = {relpath: Path(root) / relpath for relpath in table["relpath"].unique()}
        self.paths = [path_of[relpath] for relpath in table["relpath"]]
        self.labels = torch.tensor(table["label"].to_list(), dtype=torch.int64)
        self.shuffle = shuffle
        self.augment = (AugmentRecipe() if augment else None) if isinstance(augment, bool) else augment
        self.preprocess = preprocess
        self.seed = seed
        self.stored: StoredRows | None = None
        self.identities: Sequence[int] = range(len(self.paths))

    def __len__(self) -> int:
        return len(self.paths)

    def reading(self, stored: StoredRows) -> "ImageDataset":
        """The same images, whose pixels are read from rows (size, size, 3) uint8 instead of decoded from files."""
        found = copy(self)
        found.stored = stored
        return found

    def identified_by(self, hashes: Sequence[str]) -> "ImageDataset":
        """The same images, whose augmentation depends on the hash of each one's content in place of its row."""
        found = copy(self)
        found.identities = [int(content[:16], 16) for content in hashes]
        return found

    def subset(self, rows: Sequence[int]) -> "ImageDataset":
        """The same images and settings for some of the rows."""
        part = copy(self)
        part.paths, part.labels = [self.paths[row] for row in rows], self.labels[list(rows)]
        part.identities = [self.identities[row] for row in rows]
        if self.stored is not None:
            part.stored = self.stored.subset(np.array(rows, np.int64))
        return part

    def __getitem__(self, index: Draw | int) -> Batch:
        images, labels = self.batch([index])
        return images[0], labels[0]

    def __getitems__(self, draws: Sequence[Draw | int]) -> Batch:
        return self.batch(draws)

    def batch(self, draws: Sequence[Draw | int]) -> Batch:
        """Images (batch, 3, size, size) and labels (batch,) for rows of the table, or draws of them."""
        known = [draw if isinstance(draw, Draw) else Draw(draw, 0) for draw in draws]
        chunks = [known[start : start + CHUNK] for start in range(0, len(known), CHUNK)]
        pixels = np.stack([*chain.from_iterable(map_at_once(self._chunk, chunks))])
        return preprocessed(pixels, self.preprocess), self.labels[[draw.row for draw in known]]

    def sources(self, rows: Sequence[int]) -> Iterable[Pixels]:
        """The images of some rows as they are stored, each (height, width, 3) uint8."""
        return map(self.decoded, rows) if self.stored is None else self.stored[np.array(rows)]

    def _chunk(self, draws: Sequence[Draw]) -> list[Pixels]:
        sources = self.sources([draw.row for draw in draws])
        return [self._seen(source, draw) for source, draw in zip(sources, draws, strict=True)]

    def pixels(self, draw: Draw) -> Pixels:
        """One image before preprocessing, (size, size, 3) uint8; augmented where the dataset is."""
        return self._chunk([draw])[0]

    def decoded(self, row: int) -> Pixels:
        """The image file of a row as it is, (height, width, 3) uint8. Raises TrainingError where it cannot be read."""
        path = self.paths[row]
        try:
            return rgb_pixels(read_bytes(path))
        except DecodeError as error:
            raise TrainingError(f"{path}: {error}; make the clean copy again: linnaeus clean PROJECT --force") from None

    def random(self, draw: Draw) -> np.random.Generator:
        """The randomness that an image's augmentation comes from."""
        return np.random.default_rng((self.seed, draw.epoch, self.identities[draw.row]))

    def _seen(self, pixels: Pixels, draw: Draw) -> Pixels:
        if self.augment is not None:
            pixels = augmented(pixels, self.augment, self.random(draw))
        side = self.preprocess.size if self.preprocess else None
        return pixels if side is None else resized(pixels, side, side)

    def loader(self, batch_size: int = 32, shard: Shard = Shard()) -> DataLoader[Batch]:  # noqa: B008  # a tuple
        """Batches (images, labels); another order and other augmentation in each epoch (`sampler.set_epoch`).

        shard: which share of each batch is wanted, where several processes train together.
        """
        sampler = EpochSampler(len(self), shuffle=self.shuffle, seed=self.seed)
        return AheadLoader(Shared(self, shard), batch_size, sampler=sampler, collate_fn=as_it_is)


class TensorTable(Dataset[Batch]):
    """Rows of arrays, or of what gives some like one, as inputs: what a frozen trunk has computed of each image.

    views: the same images' inputs, each time of another view of them; an item comes in another one each epoch, and so
        do items of one row in one epoch.
    rows: which row of each view an item is; repeats are free.
    """

    def __init__(
        self, views: Sequence[Rows], rows: np.ndarray, labels: np.ndarray, *, shuffle: bool, seed: int = 0
    ) -> None:
        self.views = views
        self.rows = rows
        self.repeat = pd.Series(rows).groupby(rows).cumcount().to_numpy()  # how often its row came before an item
        self.labels = torch.tensor(labels.tolist(), dtype=torch.int64)
        self.shuffle = shuffle
        self.seed = seed

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, draws: Sequence[Draw]) -> Batch:
        """Inputs and labels of items."""
        chosen = np.array([draw.row for draw in draws])
        inputs = torch.from_numpy(self._inputs(chosen, (self.repeat[chosen] + draws[0].epoch) % len(self.views)))
        is_spatial = inputs.ndim == 4
        return inputs.contiguous(memory_format=torch.channels_last) if is_spatial else inputs, self.labels[chosen]

    def _inputs(self, chosen: np.ndarray, view: np.ndarray) -> np.ndarray:
        """The inputs of items, each in its view."""
        if len(self.views) == 1:
            return self.views[0][self.rows[chosen]]
        found = {number: self.views[number][self.rows[chosen[view == number]]] for number in np.unique(view)}
        inputs = np.empty((len(chosen), *next(iter(found.values())).shape[1:]), np.float32)
        for number, of_view in found.items():
            inputs[view == number] = of_view
        return inputs

    def loader(self, batch_size: int, shard: Shard = Shard()) -> DataLoader[Batch]:  # noqa: B008  # a tuple
        """Batches (inputs, labels), in another order each epoch where shuffled; of each only a shard's share."""
        sampler = EpochSampler(len(self), shuffle=self.shuffle, seed=self.seed)
        return DataLoader(Shared(self, shard), batch_size, sampler=sampler, collate_fn=as_it_is)


def preprocessed(pixels_bhwc: Pixels, preprocess: Preprocessing | None) -> torch.Tensor:
    """float32 images (batch, 3, height, width), channels last, from uint8 ones (batch, height, width, 3)."""
    batch, height, width, _ = pixels_bhwc.shape
    values = torch.arange(256, dtype=torch.float32).div_(255).expand(3, 256).T
    if preprocess is not None:
        values = (values - torch.tensor(preprocess.mean)) / torch.tensor(preprocess.std)
    table = values.reshape(1, 256, 3).contiguous().numpy()
    images = cv2.LUT(pixels_bhwc.reshape(batch * height, width, 3), table)
    return torch.from_numpy(images.reshape(batch, height, width, 3)).permute(0, 3, 1, 2)


def as_it_is(batch: Any) -> Any:
    """The batch that `__getitems__` has made already."""
    return batch
