"""Train a classifier on splits, and compute what is frozen in it only once."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn
from torch.utils.data import DataLoader

from linnaeus.data.balance import balanced, class_weights
from linnaeus.data.dataset import Batch, ImageDataset, TensorTable
from linnaeus.data.split import Splits
from linnaeus.errors import TrainingError
from linnaeus.networks.backbone import split_backbone
from linnaeus.networks.classifier import Classifier, Network, freeze
from linnaeus.progress import Progress, silent
from linnaeus.recipe import Recipe
from linnaeus.recipe_sections import ScratchRecipe
from linnaeus.training.features import activation_bytes, cached_activations
from linnaeus.training.fit import Fitted, fit

LARGEST_CACHE_BYTES = 8 << 30

Loaders = tuple[DataLoader[Batch], DataLoader[Batch]]


@dataclass(frozen=True)
class TrainingImages:
    """What may be trained on: the splits (of which the test part is never read), the folder their paths are relative
    to, the SHA-256 of each image by relpath, and the folder that keeps what a frozen trunk made of them."""

    splits: Splits
    folder: Path
    hashes: pd.Series
    cache: Path


def train_classifier(
    classifier: Classifier, recipe: Recipe, images: TrainingImages, progress: Progress = silent
) -> Fitted:
    """Train a classifier in place by its recipe, on images, or on what its frozen trunk makes of them.

    Raises TrainingError where the training or validation part is empty, or where training goes wrong.
    """
    splits = images.splits
    for name in ("train", "val"):
        if not splits.table["split"].eq(name).any():
            raise TrainingError(f"the {name} part is empty; split again with a share for it")
    trunk, network = divide(classifier)
    if trunk is not None and recipe.data.augment is None and _fits_cache(trunk, classifier, len(images.hashes)):
        loaders = _activation_loaders(trunk, classifier, recipe, images, progress)
    else:
        network = classifier
        loaders = image_loaders(classifier, recipe, images)
    weights = class_weights(splits.train, recipe.data.balance)
    return fit(network, loaders, recipe.training, class_weights=weights, progress=progress)


def divide(classifier: Classifier) -> tuple[nn.Module | None, Network]:
    """The classifier as (frozen trunk, trained network), which share its parameters.

    What the recipe does not unfreeze is frozen here. The trunk is None where nothing is frozen.
    """
    freeze(classifier)
    model = classifier.facts.model
    if isinstance(model, ScratchRecipe):
        return None, classifier
    if model.unfrozen_last_layers == 0:
        return classifier.body, Network(nn.Identity(), classifier.head)
    trunk, tail = split_backbone(classifier.body, model.unfrozen_last_layers)
    return trunk, (Network(tail, classifier.head) if trunk is not None else classifier)


def image_loaders(classifier: Classifier, recipe: Recipe, images: TrainingImages) -> Loaders:
    """Batches of images for training (balanced, shuffled, augmented) and validation (as they are)."""
    preprocess = classifier.facts.preprocessing
    seed, size = recipe.training.seed, recipe.training.batch_size
    table = balanced(images.splits.train, recipe.data.balance)
    train = ImageDataset(table, images.folder, augment=recipe.data.augment, preprocess=preprocess, seed=seed)
    val = ImageDataset(images.splits.val, images.folder, shuffle=False, preprocess=preprocess)
    return train.loader(size), val.loader(size)


def _activation_loaders(
    trunk: nn.Module, classifier: Classifier, recipe: Recipe, images: TrainingImages, progress: Progress
) -> Loaders:
    """Batches of the trunk's activations; a resampled training table repeats rows of them, not images."""
    splits = images.splits
    seen = pd.concat([splits.train, splits.val], ignore_index=True)
    dataset = ImageDataset(seen, images.folder, shuffle=False, preprocess=classifier.facts.preprocessing)
    hashes = list(images.hashes[seen["relpath"]])
    activations = cached_activations(trunk, dataset, hashes, images.cache, progress)
    place = pd.Series(np.arange(len(seen)), index=seen["relpath"])

    def loader(table: pd.DataFrame, *, shuffle: bool) -> DataLoader[Batch]:
        rows, labels = place[table["relpath"]].to_numpy(), table["label"].to_numpy()
        shown = TensorTable(activations, rows, labels, shuffle=shuffle, seed=recipe.training.seed)
        return shown.loader(recipe.training.batch_size)

    train = balanced(splits.train, recipe.data.balance)
    return loader(train, shuffle=True), loader(splits.val, shuffle=False)


def _fits_cache(trunk: nn.Module, classifier: Classifier, images: int) -> bool:
    return activation_bytes(trunk, classifier.facts.preprocessing) * images <= LARGEST_CACHE_BYTES
