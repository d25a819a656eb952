"""What a training will take, told before it begins."""

from collections.abc import Iterable, Iterator
from itertools import repeat
from time import perf_counter

import torch
from torch import nn
from torch.nn import functional

from linnaeus.data.balance import balanced
from linnaeus.evaluation.inference import run_module
from linnaeus.networks.classifier import Classifier, build_classifier
from linnaeus.recipe import Recipe
from linnaeus.recipe_sections import FITTED_HEADS, ScratchRecipe, TrainingRecipe, TransferRecipe
from linnaeus.scale.device import best_device, training_precision
from linnaeus.settings import CleanRecipe
from linnaeus.training.features import images_to_compute
from linnaeus.training.train import TrainingImages, divide, is_cached

TIMED_BATCHES = 2  # after one to warm up
VALIDATION_SHARE = 1 / 3  # of what training on an image takes: forward without backward
HALVES = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def cheapest_first(recipes: Iterable[Recipe]) -> list[Recipe]:
    """The recipes in the order in which their kinds take time: heads fitted at once, other frozen backbones,
    fine-tuning, CNNs from scratch; within a kind as they came. Before each comes the one that it starts from."""
    wanted = {recipe.name: recipe for recipe in sorted(recipes, key=_kind)}
    ordered: dict[str, Recipe] = {}

    def with_those_before(recipe: Recipe, behind: tuple[str, ...] = ()) -> Iterator[Recipe]:
        earlier = wanted.get(recipe.starts_from or "")
        if earlier is not None and earlier.name not in behind:  # training refuses a circle, by its names
            yield from with_those_before(earlier, (*behind, recipe.name))
        yield recipe

    for recipe in wanted.values():
        ordered |= {each.name: each for each in with_those_before(recipe) if each.name not in ordered}
    return [*ordered.values()]


def _kind(recipe: Recipe) -> int:
    model = recipe.model
    if isinstance(model, ScratchRecipe):
        return 3
    if model.head in FITTED_HEADS:
        return 0
    return 1 if model.is_frozen else 2


def estimated_seconds(recipe: Recipe, images: TrainingImages, clean: CleanRecipe) -> float:
    """Seconds that training by a recipe takes at most, by a few batches on this machine, all epochs counted.

    What the cache has of the images already is left out; early stopping is not allowed for, and a head that is fitted
    at once counts as nothing. Raises WeightsError where pretrained weights cannot be had.
    """
    classifier = build_classifier(recipe.model, images.splits.classes, clean)
    trunk, network = divide(classifier)
    has_epochs = not isinstance(recipe.model, TransferRecipe) or recipe.model.head not in FITTED_HEADS
    each_epoch = len(balanced(images.splits.train, recipe.data.balance)) + VALIDATION_SHARE * len(images.splits.val)
    shown = recipe.training.epochs * each_epoch if has_epochs else 0.0
    size = classifier.facts.preprocessing.size
    inputs = torch.rand(recipe.training.batch_size, 3, size, size).contiguous(memory_format=torch.channels_last)
    if trunk is None or not is_cached(trunk, classifier, recipe, len(images.hashes)):
        return shown * _seconds_to_train(classifier, inputs, recipe.training)
    passing = _images_that_pass(trunk, classifier, recipe, images)
    activations, seconds = _passed(trunk, inputs, passing)
    return passing * seconds + (shown * _seconds_to_train(network, activations, recipe.training) if shown else 0.0)


def _images_that_pass(trunk: nn.Module, classifier: Classifier, recipe: Recipe, images: TrainingImages) -> int:
    train, val = images.splits.train["relpath"], images.splits.val["relpath"]
    preprocessing, folder = classifier.facts.preprocessing, images.cache
    if recipe.data.views is not None:
        return recipe.data.views * len(train) + images_to_compute(trunk, preprocessing, [*images.hashes[val]], folder)
    return images_to_compute(trunk, preprocessing, [*images.hashes[train], *images.hashes[val]], folder)


def _passed(trunk: nn.Module, inputs: torch.Tensor, images: int) -> tuple[torch.Tensor, float]:
    """What a trunk makes of a batch, and the seconds that it takes an image, of so many."""
    outputs = run_module(trunk, repeat(inputs, 1 + TIMED_BATCHES), images=images)
    activations = torch.from_numpy(next(outputs))
    started = perf_counter()
    for _ in outputs:
        pass
    return activations, (perf_counter() - started) / (TIMED_BATCHES * len(inputs))


def _seconds_to_train(network: nn.Module, inputs: torch.Tensor, recipe: TrainingRecipe) -> float:
    """Seconds that an image takes forward and backward."""
    device = best_device()
    half = HALVES.get(training_precision(recipe.precision, device))
    network.to(device).train()
    inputs, labels = inputs.to(device), torch.zeros(len(inputs), dtype=torch.int64, device=device)
    for batch in range(1 + TIMED_BATCHES):
        if batch == 1:
            started = perf_counter()
        with torch.autocast(device.type, half, enabled=half is not None):
            loss = functional.cross_entropy(network(inputs), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        float(loss.detach())  # waits for the device
    return (perf_counter() - started) / (TIMED_BATCHES * len(inputs))
