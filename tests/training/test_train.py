from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_images import SCRATCH, tiny_images, transfer_of
from torch import nn

from linnaeus.data.dataset import ImageDataset
from linnaeus.data.split import Splits
from linnaeus.data.store import StoredRows
from linnaeus.errors import TrainingError
from linnaeus.evaluation.inference import Forward
from linnaeus.networks.classifier import Classifier, build_classifier
from linnaeus.recipe import Recipe, load_recipe
from linnaeus.records import Preprocessing
from linnaeus.settings import CleanRecipe
from linnaeus.training import features
from linnaeus.training import train as module
from linnaeus.training.features import activation_bytes, cached_activations
from linnaeus.training.train import TrainingImages, divide, image_loaders, train_classifier

SIDE = 32
PLAIN = Preprocessing(8, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
TRANSFER = transfer_of(SIDE)
COUNTS = {"dark": 20, "light": 10}


def _recipe(model: dict[str, object], balance: str = "up", augment: object = None, **training: object) -> Recipe:
    usual = {"epochs": 3, "learning_rate": 0.01, "patience": None, "batch_size": 8, "precision": "32-true"}
    content = {
        "name": "tiny",
        "model": model,
        "data": {"balance": balance, "augment": augment},
        "training": usual | training,
    }
    return Recipe.model_validate(content)


def _classifier(recipe: Recipe) -> Classifier:
    return build_classifier(recipe.model, sorted(COUNTS), CleanRecipe(size=SIDE), pretrained=False)


@pytest.fixture
def images(tmp_path: Path) -> TrainingImages:
    """Dark and light images; the test part's files are deleted."""
    return tiny_images(tmp_path, COUNTS, SIDE)


def _state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def _changed(module: nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}


def test_a_cnn_from_scratch_learns_dark_from_light_without_reading_the_test_part(images: TrainingImages) -> None:
    recipe = _recipe(SCRATCH, epochs=6)
    fitted = train_classifier(_classifier(recipe), recipe, images)
    assert fitted.history["val_accuracy"].max() == 1
    assert not images.cache.exists()


def test_a_frozen_backbone_stays_bit_identical_and_its_head_learns(images: TrainingImages) -> None:
    recipe = _recipe(TRANSFER)
    classifier = _classifier(recipe)
    body, head = _state(classifier.body), _state(classifier.head)
    fitted = train_classifier(classifier, recipe, images)
    assert _changed(classifier.body, body) == set()
    assert _changed(classifier.head, head) == {*head}
    assert len(fitted.history) == 3


def test_what_a_frozen_backbone_makes_of_images_is_computed_once_and_found_again(
    images: TrainingImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = _recipe(TRANSFER, epochs=1)
    first = train_classifier(_classifier(recipe), recipe, images)
    (file,) = images.cache.rglob("*.npy")
    assert np.load(file).shape == (len(images.splits.train) + len(images.splits.val), 96)
    monkeypatch.setattr(ImageDataset, "batch", None)
    second = train_classifier(_classifier(recipe), recipe, images)
    assert [*second.history["loss"]] == [*first.history["loss"]]
    assert [*images.cache.rglob("*.npy")] == [file]


def test_training_on_cached_features_gives_what_training_on_images_gives(
    images: TrainingImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = _recipe(TRANSFER, epochs=2)
    cached = train_classifier(_classifier(recipe), recipe, images)
    monkeypatch.setattr(module, "LARGEST_CACHE_BYTES", 0)
    direct = train_classifier(_classifier(recipe), recipe, images)
    columns = ["loss", "accuracy", "val_loss", "val_accuracy"]
    pd.testing.assert_frame_equal(cached.history[columns], direct.history[columns], rtol=1e-4)


def test_augmentation_needs_images_so_nothing_is_cached(images: TrainingImages) -> None:
    recipe = _recipe(TRANSFER, epochs=1, augment={})
    train_classifier(_classifier(recipe), recipe, images)
    assert not images.cache.exists()


@pytest.mark.parametrize("augment", [None, {}])
def test_fine_tuning_changes_the_last_layers_alone_and_no_running_statistics(
    images: TrainingImages, augment: object
) -> None:
    recipe = _recipe(TRANSFER | {"unfrozen_last_layers": 8}, epochs=1, augment=augment)
    classifier = _classifier(recipe)
    before = _state(classifier.body)
    train_classifier(classifier, recipe, images)
    changed = _changed(classifier.body, before)
    assert changed
    assert all(name.startswith("layer4.0.") for name in changed)
    assert not [name for name in changed if "running" in name or "num_batches" in name]


@pytest.mark.parametrize("model", [SCRATCH, TRANSFER, TRANSFER | {"unfrozen_last_layers": 8}])
def test_the_same_seed_trains_the_very_same_classifier(images: TrainingImages, model: dict[str, object]) -> None:
    states = []
    for _ in range(2):
        recipe = _recipe(model, epochs=1, augment={} if model is SCRATCH else None)
        classifier = _classifier(recipe)
        train_classifier(classifier, recipe, images)
        states.append(_state(classifier))
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


@pytest.mark.parametrize("model", [TRANSFER, TRANSFER | {"unfrozen_last_layers": 8}])
def test_trunk_and_trained_network_compute_what_the_classifier_computes(model: dict[str, object]) -> None:
    classifier = _classifier(_recipe(model))
    trunk, network = divide(classifier)
    assert trunk is not None
    inputs = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(network.eval()(trunk.eval()(inputs)), classifier(inputs))
    assert {id(p) for p in network.head.parameters()} == {id(p) for p in classifier.head.parameters()}


def test_a_cnn_from_scratch_has_no_trunk() -> None:
    classifier = _classifier(_recipe(SCRATCH))
    assert divide(classifier) == (None, classifier)


def test_only_training_images_are_resampled_shuffled_and_augmented(images: TrainingImages) -> None:
    recipe = _recipe(SCRATCH, balance="up", augment={})
    train, val = image_loaders(_classifier(recipe), recipe, images)
    labels = torch.cat([labels for _, labels in train])
    assert labels.bincount().tolist() == [14, 14]
    plain = ImageDataset(images.splits.val, images.folder, shuffle=False)
    expected = torch.cat([batch for batch, _ in plain.loader(8)])
    for _ in range(2):
        assert torch.equal(torch.cat([batch for batch, _ in val]), expected)
    assert torch.cat([labels for _, labels in val]).tolist() == [*images.splits.val["label"]]


@pytest.mark.parametrize(("balance", "weights"), [("class-weights", [0.75, 1.5]), ("up", None), ("none", None)])
def test_the_loss_is_weighted_where_the_recipe_asks_for_class_weights(
    images: TrainingImages, monkeypatch: pytest.MonkeyPatch, balance: str, weights: list[float] | None
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(module, "fit", lambda *arguments, **options: seen.append(options["class_weights"]))
    recipe = _recipe(SCRATCH, balance=balance)
    train_classifier(_classifier(recipe), recipe, images)
    assert [None if found is None else found.tolist() for found in seen] == [weights]


@pytest.mark.parametrize("part", ["train", "val"])
def test_an_empty_part_is_refused_by_its_name(images: TrainingImages, part: str) -> None:
    splits = Splits(images.splits.table[images.splits.table["split"] != part])
    without = TrainingImages(splits, images.folder, images.hashes, images.cache, images.pixels)
    recipe = _recipe(SCRATCH)
    with pytest.raises(TrainingError, match=f"the {part} part is empty"):
        train_classifier(_classifier(recipe), recipe, without)


def test_the_deck_s_untrained_head_runs_through_without_a_change(images: TrainingImages) -> None:
    recipe = load_recipe("mobnet2_small_notraining").changed(
        {"model.backbone": "test_resnet", "model.weights": "random", "model.input_size": SIDE}
    )
    classifier = _classifier(recipe)
    before = _state(classifier)
    fitted = train_classifier(classifier, recipe, images)
    assert (fitted.best_epoch, len(fitted.history)) == (0, 0)
    assert _changed(classifier, before) == set()


def _trunk(value: float) -> nn.Sequential:
    layer = nn.Conv2d(3, 2, 1, bias=False)
    nn.init.constant_(layer.weight, value)
    return nn.Sequential(layer, nn.Flatten())


def _cached(images: TrainingImages, trunk: nn.Module, **changes: Any) -> set[str]:
    """Compute activations of the validation part; the names of the files that the cache then holds."""
    settings: dict[str, Any] = {"table": images.splits.val, "preprocess": PLAIN, "hashes": None} | changes
    table = settings["table"]
    dataset = ImageDataset(table, images.folder, shuffle=False, preprocess=settings["preprocess"])
    hashes = settings["hashes"] or list(images.hashes[table["relpath"]])
    found = cached_activations([Forward(trunk)], dataset, hashes, images.cache)
    with torch.inference_mode():
        expected = trunk(dataset.batch(range(len(table)))[0]).numpy()
    np.testing.assert_allclose(found[np.arange(len(table))], expected, rtol=1e-5)
    return {str(path.relative_to(images.cache)) for path in images.cache.rglob("*.npy")}


def test_a_cache_is_found_again_by_the_same_trunk_and_images(images: TrainingImages) -> None:
    assert len(_cached(images, _trunk(1))) == 1
    assert len(_cached(images, _trunk(1))) == 1


def test_activations_that_are_too_many_for_memory_are_read_from_their_files(
    images: TrainingImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, places = images.splits.val, np.arange(len(images.splits.val))
    dataset = ImageDataset(table, images.folder, shuffle=False, preprocess=PLAIN)
    hashes = list(images.hashes[table["relpath"]])
    held = cached_activations([Forward(_trunk(1))], dataset, hashes, images.cache)
    monkeypatch.setattr(features, "LARGEST_IN_MEMORY_BYTES", 0)
    read = cached_activations([Forward(_trunk(1))], dataset, hashes, images.cache)
    assert isinstance(held, np.ndarray)
    assert isinstance(read, StoredRows)
    np.testing.assert_array_equal(read[places], held[places])


def test_other_weights_images_or_preprocessing_have_a_cache_of_their_own(images: TrainingImages) -> None:
    assert len(_cached(images, _trunk(1))) == 1
    assert len(_cached(images, _trunk(2))) == 2
    assert len(_cached(images, _trunk(1), preprocess=Preprocessing(8, (0.5,) * 3, (1.0,) * 3))) == 3
    assert len(_cached(images, _trunk(1), preprocess=Preprocessing(16, (0.0,) * 3, (1.0,) * 3))) == 4
    rewritten = [f"{digest}x" for digest in images.hashes[images.splits.val["relpath"]]]
    assert len(_cached(images, _trunk(1), hashes=rewritten)) == 5


def test_only_images_that_are_new_to_a_trunk_are_computed(images: TrainingImages) -> None:
    some = images.splits.val.iloc[:3]
    _cached(images, _trunk(1), table=some)
    assert len(_cached(images, _trunk(1), table=some.iloc[::-1])) == 1
    assert len(_cached(images, _trunk(1))) == 2
    new = sorted(images.cache.rglob("*.npy"))[1]
    assert len(np.load(new)) == len(images.splits.val) - 3
    repeated = pd.concat([some, some], ignore_index=True)
    assert len(_cached(images, _trunk(1), table=repeated)) == 2


def test_a_trunk_with_the_same_weights_but_another_path_has_a_cache_of_its_own(images: TrainingImages) -> None:
    rectified = nn.Sequential(*_trunk(-1), nn.ReLU())
    assert len(_cached(images, _trunk(-1))) == 1
    assert len(_cached(images, rectified)) == 2


def test_a_cache_that_is_interrupted_leaves_no_file(images: TrainingImages) -> None:
    class Interrupted(nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            raise KeyboardInterrupt

    dataset = ImageDataset(images.splits.val, images.folder, shuffle=False, preprocess=PLAIN)
    with pytest.raises(KeyboardInterrupt):
        cached_activations([Forward(Interrupted())], dataset, list("abcdef"), images.cache)
    assert [path for path in images.cache.rglob("*") if path.is_file()] == []


def test_the_bytes_of_an_activation_are_those_it_takes_on_disk() -> None:
    assert activation_bytes(_trunk(1), PLAIN) == 2 * 8 * 8 * 4
