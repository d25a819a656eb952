"""Which running statistics training moves."""

import pytest
import torch
from torch import nn

from linnaeus.networks.backbone import running_statistics
from linnaeus.networks.classifier import Classifier, build_classifier, freeze
from linnaeus.recipe_sections import ModelRecipe, ScratchRecipe, TransferRecipe
from linnaeus.settings import CleanRecipe

SIDE = 32
FROZEN = TransferRecipe(backbone="test_resnet", weights="random", input_size=SIDE, dense_widths=(8,), dropouts=(0.5,))
TUNED = FROZEN.model_copy(update={"unfrozen_last_layers": 8})
UPDATED = TUNED.model_copy(update={"batch_norm": "updated"})
SCRATCH = ScratchRecipe(conv_widths=(4, 6), pool_sizes=(2, 2), batch_norm=True, residual=True, padding=True)


def _in_training(model: ModelRecipe) -> Classifier:
    classifier = build_classifier(model, ("a", "b"), CleanRecipe(size=SIDE), pretrained=False)
    freeze(classifier)
    classifier.train()
    return classifier


def _moved(classifier: Classifier) -> list[bool]:
    """For each running statistic of the body, in order, whether a batch moves it."""
    before = [value.clone() for value in running_statistics(classifier.body)]
    classifier(torch.rand(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)))
    return [not torch.equal(*pair) for pair in zip(before, running_statistics(classifier.body), strict=True)]


def _normalisations(classifier: Classifier) -> list[nn.BatchNorm2d]:
    return [module for module in classifier.body.modules() if isinstance(module, nn.BatchNorm2d)]


@pytest.mark.parametrize("model", [FROZEN, TUNED, FROZEN.model_copy(update={"batch_norm": "updated"})])
def test_statistics_that_are_frozen_stay_and_dropout_of_the_head_does_not(model: ModelRecipe) -> None:
    classifier = _in_training(model)
    moved = _moved(classifier)
    assert moved
    assert not any(moved)
    assert all(module.training for module in classifier.head.modules())
    assert not any(module.training for module in classifier.body.modules())


def test_updated_statistics_are_those_of_the_layers_that_are_trained_alone() -> None:
    classifier = _in_training(UPDATED)
    trained = [layer.weight.requires_grad for layer in _normalisations(classifier)]
    assert any(trained)
    assert not all(trained)
    assert _moved(classifier) == [moves for moves in trained for _ in ("mean", "variance")]


def test_a_layer_that_is_unfrozen_later_has_its_statistics_updated_from_then_on() -> None:
    classifier = _in_training(UPDATED)
    last = _normalisations(classifier)[-1]
    last.requires_grad_(False)
    classifier.train()
    assert not _moved(classifier)[-1]
    last.requires_grad_(True)
    classifier.train()
    assert _moved(classifier)[-1]


def test_a_cnn_from_scratch_updates_all_of_its_statistics() -> None:
    moved = _moved(_in_training(SCRATCH))
    assert len(moved) == 2 * 4  # two convolutions and a block of two
    assert all(moved)


@pytest.mark.parametrize("model", [FROZEN, TUNED, UPDATED, SCRATCH])
def test_in_evaluation_mode_nothing_moves(model: ModelRecipe) -> None:
    classifier = _in_training(model)
    classifier.eval()
    assert not any(_moved(classifier))
    assert not any(module.training for module in classifier.modules())
