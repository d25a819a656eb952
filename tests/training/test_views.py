"""A frozen trunk sees each augmented view once; what training then sees is what it would see of the images."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_images import SCRATCH, tiny_images, transfer_of
from torch import nn

from linnaeus.data.balance import balanced
from linnaeus.data.dataset import Draw, ImageDataset, TensorTable
from linnaeus.data.split import Splits
from linnaeus.evaluation import inference
from linnaeus.evaluation.inference import Forward
from linnaeus.networks.classifier import Classifier, build_classifier
from linnaeus.recipe import Recipe
from linnaeus.scale.engine import Engine, fastest_engine
from linnaeus.scale.processes import Shard
from linnaeus.settings import CleanRecipe
from linnaeus.training import train as module
from linnaeus.training.fit import Fitted
from linnaeus.training.train import TrainingImages, prepare, train_classifier

SIDE = 16
COUNTS = {"dark": 14, "light": 8}
TRANSFER = transfer_of(SIDE)
NOTHING: dict[str, object] = {
    "flip_horizontal": False,
    "flip_vertical": False,
    "brightness": 0,
    "contrast": [1, 1],
    "saturation": [1, 1],
    "hue": 0,
    "crop": 1,
}
HISTORY = ["epoch", "loss", "accuracy", "val_loss", "val_accuracy"]


def recipe_of(
    model: dict[str, object] = TRANSFER, *, epochs: int = 2, balance: object = "none", **data: object
) -> Recipe:
    training = {"epochs": epochs, "batch_size": 8, "patience": None, "precision": "32-true", "learning_rate": 0.01}
    content = {"name": "tiny", "model": model, "data": {"balance": balance, **data}, "training": training}
    return Recipe.model_validate(content)


def classifier_of(recipe: Recipe) -> Classifier:
    return build_classifier(recipe.model, sorted(COUNTS), CleanRecipe(size=SIDE))


@pytest.fixture
def images(tmp_path: Path) -> TrainingImages:
    """Dark and light images; the test part's files are deleted."""
    return tiny_images(tmp_path, COUNTS, SIDE)


def trained(images: TrainingImages, recipe: Recipe) -> tuple[Fitted, dict[str, torch.Tensor]]:
    classifier = classifier_of(recipe)
    fitted = train_classifier(classifier, recipe, images)
    return fitted, classifier.state_dict()


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert [name for name in found if not torch.equal(found[name], expected[name])] == []


def shown(images: TrainingImages, recipe: Recipe, epoch: int) -> dict[str, np.ndarray[Any, Any]]:
    """The activations that an epoch of training sees, by the relpath of the (unrepeated) training image."""
    loader = prepare(classifier_of(recipe), recipe, images).loaders[0]
    table = balanced(images.splits.train, recipe.data.balance)
    inputs, _ = loader.dataset.whole.batch([Draw(row, epoch) for row in range(len(table))])  # type: ignore[attr-defined]
    return dict(zip(table["relpath"], inputs.numpy(), strict=True))


def test_the_trunk_sees_each_view_of_a_training_image_once_and_a_validation_image_once(
    images: TrainingImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[int] = []
    engines: list[int | None] = []

    def noted(forward: Forward, *arguments: Any, images: int) -> Iterator[np.ndarray[Any, Any]]:
        passes.append(images)
        return plain_call(forward, *arguments, images=images)

    def noted_engine(module: nn.Module, example: torch.Tensor, images: int | None = None) -> Engine:
        engines.append(images)
        return fastest_engine(module, example, images)

    plain_call = Forward.__call__
    monkeypatch.setattr(Forward, "__call__", noted)
    monkeypatch.setattr(inference, "fastest_engine", noted_engine)
    recipe = recipe_of(views=2, epochs=5)
    trained(images, recipe)
    train, val = len(images.splits.train), len(images.splits.val)
    assert sorted(passes) == sorted([train, train, val])
    assert len(engines) == 1  # a trunk is prepared once for all its views
    trained(images, recipe)
    assert len(passes) == 3


def test_epochs_take_the_views_in_turn(images: TrainingImages) -> None:
    recipe = recipe_of(views=2)
    first, second, third = (shown(images, recipe, epoch) for epoch in range(3))
    for relpath, activations in first.items():
        assert not np.array_equal(activations, second[relpath])
        np.testing.assert_array_equal(activations, third[relpath])


def test_a_view_is_the_trunk_of_the_augmented_image(images: TrainingImages) -> None:
    recipe = recipe_of(views=3)
    classifier = classifier_of(recipe)
    dataset = ImageDataset(
        images.splits.train, images.folder, augment=recipe.data.augment, preprocess=classifier.facts.preprocessing
    ).identified_by(list(images.hashes[images.splits.train["relpath"]]))
    for view in range(3):
        pixels, _ = dataset.batch([Draw(row, view) for row in range(len(dataset))])
        with torch.inference_mode():
            expected = classifier.body(pixels).numpy()
        found = np.stack([*shown(images, recipe, view).values()])
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_one_image_in_two_rows_comes_in_two_views_in_every_epoch() -> None:
    views = [np.full((3, 1), view, np.float32) for view in range(2)]
    rows = np.array([0, 1, 0, 2, 2, 1])
    table = TensorTable(views, rows, np.zeros(6, np.int64), shuffle=False)
    for epoch in range(3):
        inputs, _ = table.batch([Draw(item, epoch) for item in range(6)])
        seen = inputs[:, 0].numpy()
        assert all(set(seen[rows == row]) == {0, 1} for row in range(3))
        assert seen[0] == epoch % 2


def test_an_up_sampled_table_shows_as_many_views_as_an_image_has_repeats(images: TrainingImages) -> None:
    recipe = recipe_of(views=2, balance=40)
    loader = prepare(classifier_of(recipe), recipe, images).loaders[0]
    table = balanced(images.splits.train, 40)
    inputs, _ = loader.dataset.whole.batch([Draw(row, 0) for row in range(len(table))])  # type: ignore[attr-defined]
    seen = pd.Series([row.tobytes() for row in inputs.numpy()]).groupby(table["relpath"])
    repeats = table["relpath"].value_counts()
    assert (seen.nunique() == repeats.clip(upper=2)[seen.nunique().index]).all()
    assert repeats.max() > 2


def test_views_do_not_depend_on_what_was_computed_before_and_in_which_order(
    images: TrainingImages, tmp_path: Path
) -> None:
    recipe = recipe_of(views=2)
    _, expected = trained(replace(images, cache=tmp_path / "fresh"), recipe)
    table = images.splits.table
    others = table.assign(split=table["split"].map({"train": "val", "val": "train", "test": "test"})).iloc[::-1]
    trained(replace(images, splits=Splits(others)), recipe)
    files = set(images.cache.rglob("*.npy"))
    _, found = trained(images, recipe)
    assert_equal(found, expected)
    assert set(images.cache.rglob("*.npy")) > files


def test_validation_is_never_augmented(images: TrainingImages) -> None:
    recipe = recipe_of(views=2)
    classifier = classifier_of(recipe)
    loader = prepare(classifier, recipe, images).loaders[1]
    plain = ImageDataset(
        images.splits.val, images.folder, shuffle=False, preprocess=classifier.facts.preprocessing
    ).loader(8)
    for _ in range(2):
        for (found, labels), (pixels, expected_labels) in zip(loader, plain, strict=True):
            with torch.inference_mode():
                torch.testing.assert_close(found, classifier.body(pixels), rtol=1e-4, atol=1e-5)
            assert torch.equal(labels, expected_labels)


@pytest.mark.parametrize("model", [TRANSFER, TRANSFER | {"unfrozen_last_layers": 8}])
def test_views_of_an_augmentation_that_does_nothing_train_as_no_augmentation(
    images: TrainingImages, model: dict[str, object]
) -> None:
    expected, _ = trained(images, recipe_of(model, augment=None))
    found, _ = trained(images, recipe_of(model, augment=NOTHING, views=2))
    pd.testing.assert_frame_equal(found.history[HISTORY], expected.history[HISTORY], rtol=1e-5)


def test_another_seed_or_augmentation_has_views_of_its_own(images: TrainingImages) -> None:
    first = shown(images, recipe_of(views=1), 0)
    reseeded = recipe_of(views=1).changed({"training.seed": 1}, name="tiny")
    for other in (reseeded, recipe_of(views=1, augment={"crop": 0.5})):
        assert not any(np.array_equal(first[relpath], seen) for relpath, seen in shown(images, other, 0).items())


@pytest.mark.parametrize("augment", [None, {}])
@pytest.mark.parametrize("model", [SCRATCH, TRANSFER | {"unfrozen_last_layers": 8}])
def test_training_from_cached_pixels_is_training_from_files_bit_for_bit(
    images: TrainingImages, monkeypatch: pytest.MonkeyPatch, model: dict[str, object], augment: object
) -> None:
    monkeypatch.setattr(module, "LARGEST_CACHE_BYTES", 0)  # of activations, so that images are what is trained on
    recipe = recipe_of(model, augment=augment, balance="up")
    first, from_new_cache = trained(images, recipe)
    again, from_old_cache = trained(images, recipe)
    assert len([*images.pixels.rglob("*.npy")]) == 2
    monkeypatch.setattr(module, "with_cached_pixels", lambda dataset, hashes, folder, progress: dataset)
    expected, state = trained(images, recipe)
    assert_equal(from_new_cache, state)
    assert_equal(from_old_cache, state)
    for fitted in (first, again):
        pd.testing.assert_frame_equal(fitted.history[HISTORY], expected.history[HISTORY], check_exact=True)


def test_several_processes_share_each_batch_and_one_without_a_share_gets_an_empty_one() -> None:
    table = TensorTable([np.arange(5, dtype=np.float32)[:, None]], np.arange(5), np.arange(5), shuffle=False)
    first, second = ([*table.loader(4, Shard(number, 2))] for number in range(2))
    assert [labels.tolist() for _, labels in first] == [[0, 2], [4]]
    assert [labels.tolist() for _, labels in second] == [[1, 3], []]
