"""The same random changes made on the device: the feeder sends bytes and matrices, and a GPU does the rest."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from linnaeus.data.augment import drawn_change
from linnaeus.data.changes import Change, colour_map
from linnaeus.data.dataset import CHUNK, AheadLoader, Batch, Draw, EpochSampler, ImageDataset, Shared, as_it_is
from linnaeus.data.decode import Pixels
from linnaeus.errors import TrainingError
from linnaeus.recipe_sections import AugmentRecipe
from linnaeus.records import Preprocessing
from linnaeus.scale.cores import map_at_once
from linnaeus.scale.processes import Shard


class RawBatch(NamedTuple):
    """What the device needs to make a batch.

    images: (batch, 3, height, width) uint8, channels last. warps: (batch, 2, 3), from source to target pixels.
    colours: (batch, 3, 7), each times (pixel, mean, 1). Both are float32. labels: (batch,) int64.
    """

    images: torch.Tensor
    warps: torch.Tensor
    colours: torch.Tensor
    labels: torch.Tensor

    def to(self, device: torch.device) -> "RawBatch":
        """The same on a device, copied there while the host goes on where its memory is pinned."""
        return RawBatch(*(tensor.to(device, non_blocking=True) for tensor in self))


class RawImages(Dataset[RawBatch]):
    """An image dataset whose batches are augmented and preprocessed later, by `finished_batch`.

    Raises TrainingError where the recipe asks for what only the host can do.
    """

    def __init__(self, dataset: ImageDataset) -> None:
        if not can_augment(dataset.augment):
            raise TrainingError("rand_augment and erase are not made on the device; load the images augmented")
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def batch(self, draws: Sequence[Draw]) -> RawBatch:
        """What the device needs for draws of the table."""
        chunks = [draws[start : start + CHUNK] for start in range(0, len(draws), CHUNK)]
        sources, changes = zip(*chain.from_iterable(map_at_once(self._chunk, chunks)), strict=True)
        images = torch.from_numpy(np.stack(sources)).permute(0, 3, 1, 2)
        warps = np.stack([change.warp for change in changes])
        colours = np.stack([colour_map(change.colours) for change in changes])
        labels = self.dataset.labels[[draw.row for draw in draws]]
        return RawBatch(images, torch.from_numpy(warps).float(), torch.from_numpy(colours).float(), labels)

    def loader(self, batch_size: int, shard: Shard = Shard()) -> DataLoader[RawBatch]:  # noqa: B008  # a tuple
        """Batches in the order of the dataset's own loader, in pinned memory where there is a GPU; of each only a
        shard's share."""
        return AheadLoader(Shared(self, shard), batch_size, **self._options())

    def finished_loader(self, batch_size: int, device: torch.device, shard: Shard) -> DataLoader[Batch]:
        """The same batches on a device, augmented and preprocessed there."""
        preprocess = self.dataset.preprocess
        return _FinishedLoader(Shared(self, shard), batch_size, device, preprocess, **self._options())

    def _options(self) -> dict[str, Any]:
        sampler = EpochSampler(len(self), shuffle=self.dataset.shuffle, seed=self.dataset.seed)
        return {"sampler": sampler, "collate_fn": as_it_is, "pin_memory": torch.cuda.is_available()}

    def _chunk(self, draws: Sequence[Draw]) -> list[tuple[Pixels, Change]]:
        sources = self.dataset.sources([draw.row for draw in draws])
        return [(source, self._change(draw, *source.shape[:2])) for source, draw in zip(sources, draws, strict=True)]

    def _change(self, draw: Draw, height: int, width: int) -> Change:
        recipe = self.dataset.augment
        return (
            Change(np.eye(2, 3)) if recipe is None else drawn_change(height, width, recipe, self.dataset.random(draw))
        )


class _FinishedLoader(AheadLoader[Batch]):
    """Raw batches, finished on a device."""

    def __init__(
        self,
        raw: Dataset[RawBatch],
        batch_size: int,
        device: torch.device,
        preprocess: Preprocessing | None,
        **options: Any,
    ) -> None:
        super().__init__(cast(Any, raw), batch_size, **options)
        self.device = device
        self.preprocess = preprocess

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        batches = cast(Iterator[RawBatch], super().__iter__())
        return (finished_batch(raw.to(self.device), self.preprocess) for raw in batches)


def can_augment(recipe: AugmentRecipe | None) -> bool:
    """Whether all that a recipe asks for is a warp and a colour matrix."""
    return recipe is None or not (recipe.rand_augment or recipe.erase)


def finished_batch(raw: RawBatch, preprocess: Preprocessing | None) -> Batch:
    """Images (batch, 3, size, size) float32, channels last, and labels, as `ImageDataset.batch` makes them on the host.

    They agree with those within a few grey levels: OpenCV rounds to whole levels after each step.
    """
    images = augmented_batch(raw.images, raw.warps, raw.colours)
    if preprocess is not None and images.shape[2:] != (preprocess.size, preprocess.size):
        size = [preprocess.size, preprocess.size]
        images = functional.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
    images = images.div_(255)
    if preprocess is not None:
        mean, std = (images.new_tensor(values).view(3, 1, 1) for values in (preprocess.mean, preprocess.std))
        images = images.sub_(mean).div_(std)
    return images.contiguous(memory_format=torch.channels_last), raw.labels


def augmented_batch(images: torch.Tensor, warps: torch.Tensor, colours: torch.Tensor) -> torch.Tensor:
    """Changed copies of images (batch, 3, height, width) on the scale of 0 to 255, float32.

    warps, colours: as in RawBatch, from the same draws as `changed` has them.
    """
    grid = functional.affine_grid(_sampling(warps, *images.shape[2:]), list(images.shape), align_corners=False)
    moved = functional.grid_sample(images.float(), grid, "bilinear", "reflection", align_corners=False)
    mean = moved.mean(dim=(2, 3))
    shift = torch.einsum("bij,bj->bi", colours[:, :, 3:6], mean) + colours[:, :, 6]
    turned = torch.einsum("bij,bjhw->bihw", colours[:, :, :3], moved)
    return turned.add_(shift[:, :, None, None]).clamp_(0, 255)


def _sampling(warps: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The warps turned round, from target to source, on torch's scale of -1 to 1 from edge to edge."""
    # A place p in pixels, counted from the middle of the first, is (2 * p + 1) / side - 1 on that scale.
    scale = warps.new_tensor([[2 / width, 0, 1 / width - 1], [0, 2 / height, 1 / height - 1], [0, 0, 1]])
    last = warps.new_tensor([[0, 0, 1]]).expand(len(warps), 1, 3)
    back = torch.linalg.inv(torch.cat([warps, last], dim=1))
    sampling: torch.Tensor = (scale @ back @ torch.linalg.inv(scale))[:, :2]
    return sampling
