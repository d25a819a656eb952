"""What joined backbones, blocks and gradual unfreezing promise in training."""

from pathlib import Path

import pytest
import torch
from tiny_images import tiny_images

from linnaeus.data.dataset import ImageDataset
from linnaeus.networks.classifier import build_classifier, freeze, load_classifier, save_classifier
from linnaeus.networks.concatenated import Concatenated, Member
from linnaeus.networks.summary import summarise
from linnaeus.recipe import Recipe, transfer_recipe
from linnaeus.settings import CleanRecipe
from linnaeus.training.rates import parameter_plan
from linnaeus.training.train import TrainingImages, divide, train_classifier

CLASSES = ("dark", "light")


@pytest.fixture
def images(tmp_path: Path) -> TrainingImages:
    return tiny_images(tmp_path, {"dark": 15, "light": 15}, 40, keeps_test=True)


def joined_recipe(**model: object) -> Recipe:
    recipe = transfer_recipe("test_resnet+test_vit", "probe")
    return recipe.changed(
        {"model.weights": "random", **{f"model.{key}": value for key, value in model.items()}}, "joined"
    )


def test_a_probe_over_two_backbones_is_trained_saved_and_serves_what_was_trained(
    images: TrainingImages, tmp_path: Path
) -> None:
    recipe = joined_recipe()
    classifier = build_classifier(recipe.model, CLASSES, CleanRecipe(size=40), pretrained=False)
    fitted = train_classifier(classifier, recipe, images)
    assert fitted.history["val_accuracy"].max() == 1
    table = images.splits.val
    dataset = ImageDataset(table, images.folder, shuffle=False, preprocess=classifier.facts.preprocessing)
    inputs, labels = next(iter(dataset.loader(len(dataset))))
    save_classifier(classifier, tmp_path / "model")
    loaded = load_classifier(tmp_path / "model")
    with torch.inference_mode():
        logits = classifier(inputs)
        assert torch.equal(logits.argmax(dim=1), labels)
        assert torch.equal(loaded(inputs), logits)


def test_each_of_two_joined_backbones_has_its_activations_kept_apart_and_shares_them_where_it_can(
    images: TrainingImages,
) -> None:
    alone = transfer_recipe("test_resnet", "probe").changed({"model.weights": "random"}, "alone")
    single = build_classifier(alone.model, CLASSES, CleanRecipe(size=40), pretrained=False)
    train_classifier(single, alone, images)
    recipe = joined_recipe()
    classifier = build_classifier(recipe.model, CLASSES, CleanRecipe(size=40), pretrained=False)
    assert isinstance(classifier.body, Concatenated)
    first, second = classifier.body.members
    assert isinstance(first, Member)
    assert isinstance(second, Member)
    assert first.own == first.given
    first.backbone.load_state_dict(single.body.state_dict())
    train_classifier(classifier, recipe, images)
    assert len([*images.cache.iterdir()]) == 2


def test_the_layers_of_joined_backbones_are_told() -> None:
    summary = summarise(joined_recipe(), classes=2)
    assert [*summary.layers["layer"]] == ["test_resnet", "test_vit", "Concatenate", "Dense"]
    assert summary.layers["parameters"].sum() == summary.total


def unfrozen_recipe(**training: object) -> Recipe:
    changes = {"model.weights": "random", "model.unfrozen_last_blocks": 2}
    changes |= {f"training.{key}": value for key, value in training.items()}
    return transfer_recipe("test_resnet", "dense128").changed(changes, "unfrozen")


def test_the_last_blocks_are_trained_and_nothing_before_them(images: TrainingImages) -> None:
    recipe = unfrozen_recipe(epochs=1)
    classifier = build_classifier(recipe.model, CLASSES, CleanRecipe(size=40), pretrained=False)
    freeze(classifier)
    wanted = {name for name, parameter in classifier.named_parameters() if parameter.requires_grad}
    before = {name: value.clone() for name, value in classifier.named_parameters()}
    train_classifier(classifier, recipe, images)
    changed = {name for name, value in classifier.named_parameters() if not torch.equal(value, before[name])}
    assert changed <= wanted
    assert {name for name in wanted if name.startswith("body.")} & changed
    assert {name for name in before if name.startswith("body.")} - wanted


def test_lower_blocks_learn_more_slowly_and_begin_later_and_the_head_does_neither() -> None:
    recipe = unfrozen_recipe(backbone_rate=0.5, layer_decay=0.1, unfreeze_epochs=4)
    classifier = build_classifier(recipe.model, CLASSES, CleanRecipe(size=40), pretrained=False)
    _, network = divide(classifier)
    plan = parameter_plan(classifier, network, recipe)
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert {name for name in trained if name.startswith("body.")} == set(plan.rate_shares) == set(plan.first_epochs)
    assert sorted({round(share, 6) for share in plan.rate_shares.values()}, reverse=True)[:2] == [0.5, 0.05]
    by_share = sorted((share, plan.first_epochs[name]) for name, share in plan.rate_shares.items())
    assert by_share[-1] == (0.5, 1)
    assert by_share[0][1] > 1
