import threading
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from linnaeus.data.dataset import Batch, Draw, EpochSampler, ImageDataset, TensorTable, as_it_is, preprocessed
from linnaeus.data.decode import resized, rgb_pixels
from linnaeus.errors import TrainingError
from linnaeus.recipe_sections import AugmentRecipe
from linnaeus.records import Preprocessing

SIDE = 16
HALVES = Preprocessing(SIDE, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    """Ten images in `tmp_path`, each of its own noise."""
    rows = []
    for number in range(10):
        pixels = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        rows.append((f"{number}.png", number % 3))
    return pd.DataFrame(rows, columns=["relpath", "label"])


def _order(loader: Iterable[Batch]) -> list[float]:
    """The images of an epoch, told apart by their first value, in the order in which they come."""
    return [float(image[0, 0, 0]) for images, _ in loader for image in images]


def _epochs(dataset: ImageDataset, count: int) -> list[list[float]]:
    loader = dataset.loader(4)
    orders = []
    for epoch in range(count):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        orders.append(_order(loader))
    return orders


def test_an_item_is_an_image_and_its_label(table: pd.DataFrame, tmp_path: Path) -> None:
    image, label = ImageDataset(table, tmp_path)[4]
    assert (image.shape, image.dtype) == ((3, SIDE, SIDE), torch.float32)
    assert (label.shape, label.dtype, int(label)) == ((), torch.int64, 1)


def test_without_preprocessing_pixels_are_on_the_scale_of_0_to_1(table: pd.DataFrame, tmp_path: Path) -> None:
    image, _ = ImageDataset(table, tmp_path)[2]
    expected = rgb_pixels((tmp_path / "2.png").read_bytes()).transpose(2, 0, 1) / 255
    np.testing.assert_allclose(image.numpy(), expected, atol=1e-6)


def test_preprocessing_takes_the_mean_away_and_divides_by_the_deviation(table: pd.DataFrame, tmp_path: Path) -> None:
    own = Preprocessing(SIDE, (0.1, 0.2, 0.3), (0.5, 0.25, 0.125))
    image, _ = ImageDataset(table, tmp_path, preprocess=own)[0]
    plain, _ = ImageDataset(table, tmp_path)[0]
    for channel, (mean, std) in enumerate(zip(own.mean, own.std, strict=True)):
        torch.testing.assert_close(image[channel], (plain[channel] - mean) / std)


def test_preprocessing_brings_images_to_the_model_s_size(table: pd.DataFrame, tmp_path: Path) -> None:
    image, _ = ImageDataset(table, tmp_path, preprocess=Preprocessing(8, (0, 0, 0), (1, 1, 1)))[0]
    assert image.shape == (3, 8, 8)


def test_a_batch_is_its_items(table: pd.DataFrame, tmp_path: Path) -> None:
    dataset = ImageDataset(table, tmp_path, preprocess=HALVES, augment=True)
    images, labels = dataset.batch([3, 0, 7])
    for place, row in enumerate([3, 0, 7]):
        image, label = dataset[row]
        assert torch.equal(images[place], image)
        assert labels[place] == label


def test_batches_lie_channels_last(table: pd.DataFrame, tmp_path: Path) -> None:
    images, _ = ImageDataset(table, tmp_path, preprocess=HALVES).batch([0, 1])
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_one_epoch_shows_every_row_once(table: pd.DataFrame, tmp_path: Path) -> None:
    loader = ImageDataset(table, tmp_path).loader(4)
    assert [len(labels) for _, labels in loader] == [4, 4, 2]
    plain = _order(ImageDataset(table, tmp_path, shuffle=False).loader(10))
    assert len(set(plain)) > 5
    assert sorted(_order(loader)) == sorted(plain)


def test_labels_stay_with_their_images_when_they_are_shuffled(table: pd.DataFrame, tmp_path: Path) -> None:
    dataset = ImageDataset(table, tmp_path)
    label_of = {dataset[row][0].numpy().tobytes(): int(dataset[row][1]) for row in range(10)}
    for images, labels in dataset.loader(3):
        for image, label in zip(images, labels, strict=True):
            assert label_of[image.contiguous().numpy().tobytes()] == label


def test_the_order_depends_on_the_seed_and_the_epoch_alone(table: pd.DataFrame, tmp_path: Path) -> None:
    first, second = _epochs(ImageDataset(table, tmp_path, seed=1), 2)
    assert [first, second] == _epochs(ImageDataset(table, tmp_path, seed=1), 2)
    assert first != second
    assert first != _epochs(ImageDataset(table, tmp_path, seed=2), 1)[0]


def test_the_global_random_state_plays_no_part(table: pd.DataFrame, tmp_path: Path) -> None:
    orders = []
    for seed in (1, 2):
        np.random.seed(seed)
        torch.manual_seed(seed)
        orders.append(_epochs(ImageDataset(table, tmp_path, seed=5, augment=True), 1)[0])
    assert orders[0] == orders[1]


def test_without_shuffling_the_rows_keep_their_order(table: pd.DataFrame, tmp_path: Path) -> None:
    dataset = ImageDataset(table, tmp_path, shuffle=False)
    assert _epochs(dataset, 2) == [[float(dataset[row][0][0, 0, 0]) for row in range(10)]] * 2


def test_the_same_seed_epoch_and_row_give_the_same_pixels(table: pd.DataFrame, tmp_path: Path) -> None:
    def pixels(seed: int, epoch: int) -> bytes:
        return ImageDataset(table, tmp_path, augment=True, seed=seed).pixels(Draw(3, epoch)).tobytes()

    assert pixels(1, 0) == pixels(1, 0)
    assert len({pixels(1, 0), pixels(1, 1), pixels(2, 0)}) == 3


def test_the_same_image_in_another_row_is_augmented_otherwise(table: pd.DataFrame, tmp_path: Path) -> None:
    twice = pd.concat([table.iloc[[0]], table.iloc[[0]]])
    dataset = ImageDataset(twice, tmp_path, augment=True)
    assert (dataset.pixels(Draw(0, 0)) != dataset.pixels(Draw(1, 0))).any()


def test_a_second_epoch_is_augmented_otherwise_without_being_told(table: pd.DataFrame, tmp_path: Path) -> None:
    loader = ImageDataset(table, tmp_path, augment=AugmentRecipe(), shuffle=False).loader(10)
    loader.sampler.set_epoch(0)  # type: ignore[attr-defined]
    first = next(iter(loader))[0]
    loader.sampler.set_epoch(1)  # type: ignore[attr-defined]
    assert not torch.equal(next(iter(loader))[0], first)


@pytest.mark.parametrize("augment", [None, False])
def test_without_augmentation_every_epoch_shows_the_same_pixels(
    table: pd.DataFrame, tmp_path: Path, augment: bool | None
) -> None:
    dataset = ImageDataset(table, tmp_path, augment=augment)
    np.testing.assert_array_equal(dataset.pixels(Draw(3, 0)), dataset.pixels(Draw(3, 9)))
    np.testing.assert_array_equal(dataset.pixels(Draw(3, 0)), rgb_pixels((tmp_path / "3.png").read_bytes()))


def test_an_up_sampled_table_keeps_no_image_in_memory(table: pd.DataFrame, tmp_path: Path) -> None:
    many = pd.concat([table] * 1000)
    dataset = ImageDataset(many, tmp_path, preprocess=HALVES)
    assert len(dataset) == 10_000
    arrays = [value for value in vars(dataset).values() if isinstance(value, torch.Tensor | np.ndarray)]
    assert sum(array.nbytes for array in arrays) <= 8 * len(dataset)
    (tmp_path / "9.png").unlink()
    assert dataset[9_998][0].shape == (3, SIDE, SIDE)


def test_a_reversed_table_is_a_table(table: pd.DataFrame, tmp_path: Path) -> None:
    dataset = ImageDataset(table.iloc[::-1], tmp_path)
    assert dataset.labels.tolist() == [*table["label"]][::-1]


def test_an_empty_table_is_refused() -> None:
    with pytest.raises(TrainingError, match="no rows"):
        ImageDataset(pd.DataFrame({"relpath": [], "label": []}))


def test_an_image_of_the_right_size_is_not_resampled() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    np.testing.assert_array_equal(resized(pixels, SIDE, SIDE), pixels)


def test_a_smaller_image_is_the_average_of_what_it_covers() -> None:
    pixels = np.zeros((4, 4, 3), dtype=np.uint8)
    pixels[:2, 0] = 200
    assert resized(pixels, 2, 2)[:, :, 0].tolist() == [[100, 0], [0, 0]]


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (20, 30), (30, 3)])
def test_an_image_of_any_shape_becomes_a_square(shape: tuple[int, int]) -> None:
    assert resized(np.full((*shape, 3), 77, dtype=np.uint8), 8, 8).tolist() == [[[77] * 3] * 8] * 8


def test_preprocessing_leaves_its_argument_alone() -> None:
    pixels = np.full((1, 2, 2, 3), 100, dtype=np.uint8)
    preprocessed(pixels, HALVES)
    assert (pixels == 100).all()


def test_preprocessing_is_exact_for_every_value() -> None:
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    own = Preprocessing(SIDE, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    exact = (values[0].astype(np.float64) / 255 - own.mean) / own.std
    np.testing.assert_allclose(preprocessed(values, own)[0].permute(1, 2, 0).numpy(), exact, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("cores", [1, 3])
def test_batches_are_the_same_whatever_the_number_of_cores(
    table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int
) -> None:
    recipe = AugmentRecipe(shift=0.1, rotate=20, rand_augment=2, erase=0.5)
    dataset = ImageDataset(pd.concat([table] * 3), tmp_path, augment=recipe, seed=1, preprocess=HALVES)
    expected = [dataset.batch([Draw(row, 2)])[0][0] for row in range(30)]
    monkeypatch.setattr("linnaeus.scale.cores.core_count", lambda: cores)
    found = dataset.batch([Draw(row, 2) for row in range(30)])[0]
    assert torch.equal(found, torch.stack(expected))


def test_threads_stay_from_batch_to_batch(table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linnaeus.scale.cores.core_count", lambda: 2)
    dataset = ImageDataset(table, tmp_path)
    dataset.batch(range(10))
    before = {thread.ident for thread in threading.enumerate()}
    for _ in range(3):
        dataset.batch(range(10))
    assert {thread.ident for thread in threading.enumerate()} == before


def test_an_image_that_cannot_be_read_is_named_to_the_reader(table: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "7.png").write_bytes(b"nothing")
    batches = iter(ImageDataset(table, tmp_path, shuffle=False).loader(4))
    assert len(next(batches)[1]) == 4
    with pytest.raises(TrainingError, match=r"7\.png.*linnaeus clean"):
        next(batches)


def test_a_reader_that_stops_leaves_no_thread_that_makes_batches(table: pd.DataFrame, tmp_path: Path) -> None:
    batches = iter(ImageDataset(table, tmp_path).loader(1))
    next(batches)
    assert any(thread.name.startswith("ahead") for thread in threading.enumerate())
    del batches
    assert not any(thread.name.startswith("ahead") for thread in threading.enumerate())


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_torch_s_own_worker_processes_make_the_same_batches(table: pd.DataFrame, tmp_path: Path) -> None:
    dataset = ImageDataset(table, tmp_path, augment=True)
    expected = dataset.batch(range(10))[0]
    loader = DataLoader(dataset, batch_size=5, num_workers=1, collate_fn=as_it_is)
    assert torch.equal(torch.cat([images for images, _ in loader]), expected)


def test_an_epoch_can_begin_in_its_middle(table: pd.DataFrame, tmp_path: Path) -> None:
    loader = ImageDataset(table, tmp_path, augment=True, seed=2).loader(3)
    loader.sampler.set_epoch(5)  # type: ignore[attr-defined]
    whole = [*loader]
    loader.sampler.set_epoch(5, start=6)  # type: ignore[attr-defined]
    rest = [*loader]
    assert len(loader) == len(whole) == 4
    assert [torch.equal(*pair) for pair in zip((b[0] for b in rest), (b[0] for b in whole[2:]), strict=True)] == [
        True
    ] * 2
    loader.sampler.set_epoch(6)  # type: ignore[attr-defined]
    assert len([*loader]) == 4


def test_an_epoch_that_has_begun_does_not_change_with_the_next() -> None:
    sampler = EpochSampler(5, shuffle=True, seed=0)
    draws = iter(sampler)
    first = next(draws)
    sampler.set_epoch(1)
    assert {draw.epoch for draw in [first, *draws]} == {0}


def test_a_sampler_draws_every_row_with_its_epoch() -> None:
    sampler = EpochSampler(5, shuffle=True, seed=0)
    sampler.set_epoch(3)
    draws = [*sampler]
    assert sorted(draw.row for draw in draws) == [0, 1, 2, 3, 4]
    assert {draw.epoch for draw in draws} == {3}
    assert len(sampler) == 5


def test_a_tensor_table_gives_the_rows_it_names_with_their_labels(tmp_path: Path) -> None:
    np.save(tmp_path / "inputs.npy", np.arange(12, dtype=np.float32).reshape(4, 3))
    inputs = np.load(tmp_path / "inputs.npy", mmap_mode="r")
    rows, labels = np.array([2, 2, 0]), np.array([1, 1, 0])
    (batch,) = TensorTable([inputs], rows, labels, shuffle=False).loader(8)
    assert batch[0].tolist() == [[6, 7, 8], [6, 7, 8], [0, 1, 2]]
    assert batch[1].tolist() == [1, 1, 0]


def test_a_tensor_table_is_shuffled_by_seed_and_epoch() -> None:
    inputs = np.arange(20, dtype=np.float32)[:, None]

    def order(seed: int, epoch: int) -> list[float]:
        loader = TensorTable([inputs], np.arange(20), np.arange(20), shuffle=True, seed=seed).loader(6)
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        return [float(value) for batch, _ in loader for value in batch]

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(0, 0)), tuple(order(0, 1)), tuple(order(1, 0))}) == 3
    assert sorted(order(0, 0)) == [*range(20)]
