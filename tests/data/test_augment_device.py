from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from linnaeus.data.augment_device import RawImages, augmented_batch, finished_batch
from linnaeus.data.dataset import ImageDataset
from linnaeus.errors import TrainingError
from linnaeus.recipe_sections import AugmentRecipe
from linnaeus.records import Preprocessing
from linnaeus.scale.processes import Shard

SIDE = 48
STRONG = AugmentRecipe(crop=0.6, shift=0.2, rotate=30, brightness=0.2, contrast=(0.5, 1.5), hue=0.2)


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    """Eight images in `tmp_path`, each of soft waves."""
    y, x = np.mgrid[:SIDE, :SIDE]
    for number in range(8):
        rates, shifts = np.random.default_rng(number).uniform(0.03, 0.2, (2, 3, 2)) * [[[1, 1]], [[30, 30]]]
        waves = np.sin(x[..., None] * rates[:, 0] + shifts[:, 0]) + np.cos(y[..., None] * rates[:, 1] + shifts[:, 1])
        Image.fromarray((127 + 60 * waves).astype(np.uint8)).save(tmp_path / f"{number}.png")
    return pd.DataFrame({"relpath": [f"{number}.png" for number in range(8)], "label": range(8)})


@pytest.mark.parametrize("augment", [None, AugmentRecipe(), STRONG])
@pytest.mark.parametrize("size", [SIDE, 32])
def test_the_device_makes_the_batches_of_the_host_within_a_few_grey_levels(
    table: pd.DataFrame, tmp_path: Path, augment: AugmentRecipe | None, size: int
) -> None:
    preprocess = Preprocessing(size, (0.4, 0.5, 0.6), (0.5, 0.25, 0.2))
    dataset = ImageDataset(table, tmp_path, augment=augment, preprocess=preprocess, seed=4)
    levels = 255 * torch.tensor(preprocess.std).view(3, 1, 1)
    raw_batches = [*RawImages(dataset).loader(3)]
    assert [raw.images.dtype for raw in raw_batches] == [torch.uint8] * 3
    for raw, (images, labels) in zip(raw_batches, dataset.loader(3), strict=True):
        found, found_labels = finished_batch(raw.to(torch.device("cpu")), preprocess)
        assert torch.equal(found_labels, labels)
        assert found.is_contiguous(memory_format=torch.channels_last)
        assert float(((found - images).abs() * levels).mean()) < 2


def test_the_same_images_in_another_order_would_be_told_apart(table: pd.DataFrame, tmp_path: Path) -> None:
    dataset = ImageDataset(table, tmp_path, augment=STRONG, shuffle=False)
    raw = next(iter(RawImages(dataset).loader(8)))
    found = augmented_batch(raw.images, raw.warps.roll(1, 0), raw.colours)
    assert float((found / 255 - dataset.batch(range(8))[0]).abs().mean()) > 0.05


def test_a_still_image_stays_as_it_is(table: pd.DataFrame, tmp_path: Path) -> None:
    dataset = ImageDataset(table, tmp_path, shuffle=False)
    images, _ = finished_batch(next(iter(RawImages(dataset).loader(8))), None)
    torch.testing.assert_close(images, dataset.batch(range(8))[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("augment", [AugmentRecipe(erase=0.5), AugmentRecipe(rand_augment=1)])
def test_what_the_device_cannot_do_is_refused(table: pd.DataFrame, tmp_path: Path, augment: AugmentRecipe) -> None:
    with pytest.raises(TrainingError, match="not made on the device"):
        RawImages(ImageDataset(table, tmp_path, augment=augment))


def test_the_finished_loader_gives_what_finishing_its_raw_batches_gives_and_shares_them_among_processes(
    table: pd.DataFrame, tmp_path: Path
) -> None:
    preprocess = Preprocessing(32, (0.4, 0.5, 0.6), (0.5, 0.25, 0.2))
    dataset = ImageDataset(table, tmp_path, augment=AugmentRecipe(), preprocess=preprocess)
    device = torch.device("cpu")
    loaders = [RawImages(dataset).finished_loader(4, device, Shard(number, 2)) for number in (0, 1)]
    raw = [*RawImages(dataset).loader(4)]
    for whole, first, second in zip(raw, *loaders, strict=True):
        images, labels = finished_batch(whole, preprocess)
        for number, (shared, shared_labels) in enumerate((first, second)):
            torch.testing.assert_close(shared, images[number::2])
            assert torch.equal(shared_labels, labels[number::2])
