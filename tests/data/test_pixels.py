from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from linnaeus.data.dataset import ImageDataset
from linnaeus.data.pixels import with_cached_pixels
from linnaeus.errors import TrainingError
from linnaeus.records import Preprocessing

SIDE = 16
HALVES = Preprocessing(8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    """Six images of noise in `tmp_path`."""
    for number in range(6):
        _save(tmp_path / f"{number}.png", SIDE, SIDE, seed=number)
    return pd.DataFrame({"relpath": [f"{number}.png" for number in range(6)], "label": [0, 1, 2, 0, 1, 2]})


def _save(path: Path, height: int, width: int, seed: int = 0) -> None:
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)


def _cached(dataset: ImageDataset, folder: Path) -> ImageDataset:
    return with_cached_pixels(dataset, [path.stem for path in dataset.paths], folder / "pixels")


def _files(folder: Path) -> list[str]:
    found = (folder / "pixels").rglob("*")
    return sorted(path.relative_to(folder / "pixels").as_posix() for path in found if path.is_file())


@pytest.mark.parametrize("augment", [True, False])
@pytest.mark.parametrize("preprocess", [None, HALVES])
def test_batches_from_the_cache_are_those_from_the_files(
    table: pd.DataFrame, tmp_path: Path, augment: bool, preprocess: Preprocessing | None
) -> None:
    dataset = ImageDataset(table, tmp_path, augment=augment, preprocess=preprocess, seed=3)
    cached = _cached(dataset, tmp_path)
    for expected, found in zip(dataset.loader(4), cached.loader(4), strict=True):
        assert torch.equal(found[0], expected[0])
        assert torch.equal(found[1], expected[1])


def test_an_image_is_decoded_once_however_often_it_is_asked_for(table: pd.DataFrame, tmp_path: Path) -> None:
    dataset = ImageDataset(pd.concat([table, table.iloc[:2]]), tmp_path)
    cached = _cached(dataset, tmp_path)
    assert _files(tmp_path) == [f"{SIDE}/0.json", f"{SIDE}/0.npy"]
    assert np.load(tmp_path / f"pixels/{SIDE}/0.npy").shape == (6, SIDE, SIDE, 3)
    expected = dataset[7][0]
    for path in dataset.paths[1:6]:
        path.unlink()
    assert torch.equal(cached[7][0], expected)
    assert torch.equal(_cached(dataset, tmp_path)[7][0], expected)


def test_only_new_images_are_decoded(table: pd.DataFrame, tmp_path: Path) -> None:
    _cached(ImageDataset(table.iloc[:4], tmp_path), tmp_path)
    _cached(ImageDataset(table, tmp_path), tmp_path)
    assert [len(np.load(path)) for path in sorted((tmp_path / "pixels").rglob("*.npy"))] == [4, 2]


def test_a_subset_of_a_cached_dataset_shows_its_own_images(table: pd.DataFrame, tmp_path: Path) -> None:
    dataset = ImageDataset(table, tmp_path)
    part = _cached(dataset, tmp_path).subset([4, 1])
    assert torch.equal(part[0][0], dataset[4][0])
    assert torch.equal(part[1][0], dataset[1][0])


@pytest.mark.parametrize(("height", "width"), [(SIDE + 1, SIDE + 1), (SIDE, SIDE + 1)])
@pytest.mark.parametrize("place", [0, 5])
def test_images_of_differing_sizes_are_decoded_each_time_and_leave_no_file(
    table: pd.DataFrame, tmp_path: Path, height: int, width: int, place: int
) -> None:
    _save(tmp_path / f"{place}.png", height, width)
    dataset = ImageDataset(table, tmp_path, preprocess=HALVES)
    cached = _cached(dataset, tmp_path)
    assert cached is dataset
    assert cached.batch(range(6))[0].shape == (6, 3, 8, 8)
    assert _files(tmp_path) == []


def test_an_image_that_cannot_be_read_is_named(table: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "3.png").write_bytes(b"nothing")
    with pytest.raises(TrainingError, match=r"3\.png"):
        _cached(ImageDataset(table, tmp_path), tmp_path)
    assert _files(tmp_path) == []
