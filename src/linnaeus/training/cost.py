"""What a training will take, told before it begins."""

from collections.abc import Iterable
from time import perf_counter

import torch
from torch.nn import functional

from linnaeus.data.balance import balanced
from linnaeus.networks.classifier import Classifier, build_classifier
from linnaeus.recipe import Recipe
from linnaeus.recipe_sections import FITTED_HEADS, ScratchRecipe, TransferRecipe
from linnaeus.scale.device import best_device
from linnaeus.settings import CleanRecipe
from linnaeus.training.train import TrainingImages

TIMED_BATCHES = 2  # after one to warm up


def cheapest_first(recipes: Iterable[Recipe]) -> list[Recipe]:
    """The recipes in the order in which their kinds take time: heads fitted at once, other frozen backbones,
    fine-tuning, CNNs from scratch; within a kind as they came."""
    return sorted(recipes, key=_kind)


def _kind(recipe: Recipe) -> int:
    model = recipe.model
    if isinstance(model, ScratchRecipe):
        return 3
    if model.head in FITTED_HEADS:
        return 0
    return 1 if model.is_frozen else 2


def estimated_seconds(recipe: Recipe, images: TrainingImages, clean: CleanRecipe) -> float:
    """Seconds that training by a recipe takes at most, by a few batches on this machine, all epochs counted.

    What an earlier run may have left in the cache is not allowed for, nor early stopping.
    """
    classifier = build_classifier(recipe.model, images.splits.classes, clean, pretrained=False)
    each = _seconds_an_image(classifier, recipe)
    seen = len(images.splits.train) + len(images.splits.val)
    epochs = len(balanced(images.splits.train, recipe.data.balance)) * recipe.training.epochs
    if isinstance(recipe.model, TransferRecipe) and recipe.data.augment is None:
        share = 0.0 if recipe.model.is_frozen else 0.5  # of a pass, for what is trained above the cached activations
        return each * (seen + share * epochs)
    return each * epochs


def _seconds_an_image(classifier: Classifier, recipe: Recipe) -> float:
    """Of a CNN from scratch forward and backward, of a backbone forward."""
    device, size = best_device(), classifier.facts.preprocessing.size
    is_trained = isinstance(recipe.model, ScratchRecipe)
    classifier.to(device).train(is_trained)
    inputs = torch.rand(recipe.training.batch_size, 3, size, size, device=device)
    inputs = inputs.contiguous(memory_format=torch.channels_last)
    labels = torch.zeros(len(inputs), dtype=torch.int64, device=device)
    for batch in range(1 + TIMED_BATCHES):
        if batch == 1:
            started = perf_counter()
        with torch.set_grad_enabled(is_trained):
            loss = functional.cross_entropy(classifier(inputs), labels)
        if is_trained:
            loss.backward()  # type: ignore[no-untyped-call]
        float(loss.detach())  # waits for the device
    return (perf_counter() - started) / (TIMED_BATCHES * len(inputs))
