"""Train a classifier on splits, and compute what is frozen in it only once."""

from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn
from torch.utils.data import DataLoader

from linnaeus.data.balance import balanced, class_weights
from linnaeus.data.dataset import Batch, ImageDataset, TensorTable
from linnaeus.data.split import Splits
from linnaeus.errors import TrainingError
from linnaeus.models.backbone import split_backbone
from linnaeus.models.classifier import Classifier, Network, freeze
from linnaeus.progress import Progress, silent
from linnaeus.recipe import Recipe, ScratchRecipe
from linnaeus.training.features import activation_bytes, cached_activations
from linnaeus.training.fit import Fitted, fit

LARGEST_CACHE_BYTES = 8 << 30

Loaders = tuple[DataLoader[Batch], DataLoader[Batch]]


def train_classifier(
    classifier: Classifier,
    recipe: Recipe,
    splits: Splits,
    hashes: pd.Series,
    folders: tuple[Path, Path],
    progress: Progress = silent,
) -> Fitted:
    """Train a classifier in place by its recipe.

    hashes: SHA-256 of each image by relpath. folders: that of the images, and that of the feature cache.
    Only the training and validation parts are read. Raises TrainingError.
    """
    for name in ("train", "val"):
        if splits.table["split"].eq(name).sum() == 0:
            raise TrainingError(f"the {name} part is empty; split again with a share for it")
    trunk, network = divide(classifier)
    if trunk is not None and recipe.data.augment is None and _fits_cache(trunk, classifier, len(hashes)):
        loaders = _activation_loaders(trunk, classifier, recipe, splits, hashes, folders, progress)
    else:
        network = classifier
        loaders = image_loaders(classifier, recipe, splits, folders[0])
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


def image_loaders(classifier: Classifier, recipe: Recipe, splits: Splits, images: Path) -> Loaders:
    """Batches of images for training (balanced, shuffled, augmented) and validation (as they are)."""
    preprocess = classifier.facts.preprocessing
    seed = recipe.training.seed
    table = balanced(splits.train, recipe.data.balance)
    train = ImageDataset(table, images, augment=recipe.data.augment, preprocess=preprocess, seed=seed)
    val = ImageDataset(splits.val, images, shuffle=False, preprocess=preprocess)
    size = recipe.training.batch_size
    return train.loader(size), val.loader(size)


def _activation_loaders(
    trunk: nn.Module,
    classifier: Classifier,
    recipe: Recipe,
    splits: Splits,
    hashes: pd.Series,
    folders: tuple[Path, Path],
    progress: Progress,
) -> Loaders:
    """Batches of the trunk's activations; a resampled training table repeats rows of them, not images."""
    seen = pd.concat([splits.train, splits.val], ignore_index=True)
    images, cache = folders
    dataset = ImageDataset(seen, images, shuffle=False, preprocess=classifier.facts.preprocessing)
    activations = cached_activations(trunk, dataset, list(hashes[seen["relpath"]]), cache, progress)
    place = pd.Series(np.arange(len(seen)), index=seen["relpath"])

    def loader(table: pd.DataFrame, *, shuffle: bool) -> DataLoader[Batch]:
        rows, labels = place[table["relpath"]].to_numpy(), table["label"].to_numpy()
        rows_of = TensorTable(activations, rows, labels, shuffle=shuffle, seed=recipe.training.seed)
        return rows_of.loader(recipe.training.batch_size)

    return loader(balanced(splits.train, recipe.data.balance), shuffle=True), loader(splits.val, shuffle=False)


def _fits_cache(trunk: nn.Module, classifier: Classifier, images: int) -> bool:
    return activation_bytes(trunk, classifier.facts.preprocessing) * images <= LARGEST_CACHE_BYTES
