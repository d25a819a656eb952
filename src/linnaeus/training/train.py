"""Train a classifier on splits, and compute what is frozen in it only once."""

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader

from linnaeus.data.augment_device import RawImages, can_augment
from linnaeus.data.balance import balanced, class_weights
from linnaeus.data.dataset import Batch, ImageDataset, Rows, TensorTable
from linnaeus.data.pixels import with_cached_pixels
from linnaeus.data.split import Splits
from linnaeus.errors import TrainingError
from linnaeus.networks.backbone import split_backbone
from linnaeus.networks.classifier import Classifier, Network, freeze, trains_statistics, unfrozen_layers
from linnaeus.networks.head import NearestNeighbours
from linnaeus.progress import Progress, silent
from linnaeus.recipe import Recipe
from linnaeus.recipe_sections import FITTED_HEADS, AugmentRecipe, ScratchRecipe, TransferRecipe
from linnaeus.scale.device import best_device
from linnaeus.scale.processes import first_process_alone, this_shard
from linnaeus.training.features import activation_bytes, cached_activations, trunks_of
from linnaeus.training.fit import Fitted, Loaders, Watch, fit
from linnaeus.training.fitted_heads import Features, fit_neighbours, fit_probe
from linnaeus.training.optimization import ParameterPlan
from linnaeus.training.rates import parameter_plan

LARGEST_CACHE_BYTES = 8 << 30

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingImages:
    """What may be trained on: the splits (of which the test part is never read), the folder their paths are relative
    to, the SHA-256 of each image by relpath, and the folders that keep what a frozen trunk made of them, and their
    decoded pixels."""

    splits: Splits
    folder: Path
    hashes: pd.Series
    cache: Path
    pixels: Path


@dataclass(frozen=True)
class Prepared:
    """What is trained and on what: the network, which shares its parameters with the classifier, (training,
    validation) loaders of its inputs, a loss weight for each class or None, and what learns how fast."""

    network: Network
    loaders: Loaders
    class_weights: NDArray[np.float32] | None
    plan: ParameterPlan


def train_classifier(
    classifier: Classifier,
    recipe: Recipe,
    images: TrainingImages,
    watch: Watch = Watch(),  # noqa: B008  # frozen
) -> Fitted:
    """Train a classifier in place by its recipe, on images, or on what its frozen trunk makes of them.

    Raises TrainingError where the training or validation part is empty, or where training goes wrong.
    """
    model = classifier.facts.model
    if isinstance(model, TransferRecipe) and model.head in FITTED_HEADS:
        _check_parts(images.splits)
        freeze(classifier)
        with first_process_alone():
            seen = _Seen(classifier.body, classifier, recipe, images, watch.progress)
        return _fit_at_once(classifier.head, seen, watch.progress)
    prepared = prepare(classifier, recipe, images, watch.progress)
    weights, plan = prepared.class_weights, prepared.plan
    return fit(prepared.network, prepared.loaders, recipe.training, class_weights=weights, plan=plan, watch=watch)


def prepare(
    classifier: Classifier, recipe: Recipe, images: TrainingImages, progress: Progress = silent
) -> Prepared:  # fmt: skip
    """What training a classifier by its recipe is about; what its frozen trunk makes of images is computed here.

    Raises TrainingError where the training or validation part is empty.
    """
    _check_parts(images.splits)
    with first_process_alone():
        return _prepared(classifier, recipe, images, progress)


def _prepared(classifier: Classifier, recipe: Recipe, images: TrainingImages, progress: Progress) -> Prepared:
    trunk, network = divide(classifier)
    if trunk is not None and is_cached(trunk, classifier, recipe, len(images.hashes)):
        loaders = _Seen(trunk, classifier, recipe, images, progress).loaders()
    else:
        if recipe.data.views is not None:
            logger.warning("%s: %s views cannot be kept, so every epoch augments anew", recipe.name, recipe.data.views)
        network = classifier
        loaders = image_loaders(classifier, recipe, images, progress)
    weights = class_weights(images.splits.train, recipe.data.balance)
    return Prepared(network, loaders, weights, parameter_plan(classifier, network, recipe))


def _check_parts(splits: Splits) -> None:
    for name in ("train", "val"):
        if not splits.table["split"].eq(name).any():
            raise TrainingError(f"the {name} part is empty; split again with a share for it")


def divide(classifier: Classifier) -> tuple[nn.Module | None, Network]:
    """The classifier as (frozen trunk, trained network), which share its parameters.

    What the recipe does not unfreeze is frozen here. The trunk is None where nothing is frozen.
    """
    freeze(classifier)
    model = classifier.facts.model
    if isinstance(model, ScratchRecipe):
        return None, classifier
    if model.is_frozen:
        return classifier.body, Network(nn.Identity(), classifier.head)
    trunk, tail = split_backbone(classifier.body, unfrozen_layers(classifier.body, model))
    if trunk is None:
        return None, classifier
    return trunk, Network(tail, classifier.head, trains_statistics=trains_statistics(model))


def image_loaders(
    classifier: Classifier, recipe: Recipe, images: TrainingImages, progress: Progress = silent
) -> Loaders:
    """Batches of images for training (balanced, shuffled, augmented) and validation (as they are)."""
    preprocess = classifier.facts.preprocessing
    seed, size = recipe.training.seed, recipe.training.batch_size
    table = balanced(images.splits.train, recipe.data.balance)
    train = ImageDataset(table, images.folder, augment=recipe.data.augment, preprocess=preprocess, seed=seed)
    val = ImageDataset(images.splits.val, images.folder, shuffle=False, preprocess=preprocess)
    cached = partial(with_cached_pixels, folder=images.pixels, progress=progress)
    hashes = [list(images.hashes[part["relpath"]]) for part in (table, images.splits.val)]
    train, device = cached(train, hashes[0]), best_device()
    if device.type == "cuda" and can_augment(recipe.data.augment):
        batches = RawImages(train).finished_loader(size, device, this_shard())
    else:
        batches = train.loader(size, this_shard())
    return batches, cached(val, hashes[1]).loader(size, this_shard())


class _Seen:
    """The trunk's activations of the training and validation images; repeated rows repeat activations, not images."""

    def __init__(
        self, trunk: nn.Module, classifier: Classifier, recipe: Recipe, images: TrainingImages, progress: Progress
    ) -> None:
        splits = images.splits
        self.training = recipe.training
        self.class_weights = class_weights(splits.train, recipe.data.balance)
        self.train, self.val = balanced(splits.train, recipe.data.balance), splits.val
        seen = pd.concat([splits.train, splits.val], ignore_index=True)
        views = recipe.data.views or 0
        first_of_val = 0 if views else len(splits.train)  # views are kept of training images only
        places = np.concatenate([np.arange(len(splits.train)), first_of_val + np.arange(len(splits.val))])
        self.place = pd.Series(places, index=seen["relpath"])

        trunks = trunks_of(trunk)

        def computed(table: pd.DataFrame, augment: AugmentRecipe | None, view: int = 0) -> Rows:
            preprocess, seed = classifier.facts.preprocessing, recipe.training.seed
            dataset = ImageDataset(
                table, images.folder, shuffle=False, augment=augment, preprocess=preprocess, seed=seed
            )
            hashes = list(images.hashes[table["relpath"]])
            return cached_activations(trunks, dataset, hashes, images.cache, view=view, progress=progress)

        self.views = [computed(splits.train, recipe.data.augment, view) for view in range(views)]
        self.activations = computed(splits.val if views else seen, None)

    def loaders(self) -> Loaders:
        """Batches of activations for training (balanced, shuffled) and validation."""
        return self._loader(self.train, shuffle=True), self._loader(self.val, shuffle=False)

    def features(self, table: pd.DataFrame) -> Features:
        """The activations of a part at once."""
        return Features(self.activations[self._rows(table)], table["label"].to_numpy(np.int64))

    def _loader(self, table: pd.DataFrame, *, shuffle: bool) -> DataLoader[Batch]:
        labels, seed = table["label"].to_numpy(), self.training.seed
        views = self.views if shuffle and self.views else [self.activations]
        shown = TensorTable(views, self._rows(table), labels, shuffle=shuffle, seed=seed)
        return shown.loader(self.training.batch_size, this_shard())

    def _rows(self, table: pd.DataFrame) -> NDArray[np.int64]:
        rows: NDArray[np.int64] = self.place[table["relpath"]].to_numpy()
        return rows


def _fit_at_once(head: nn.Module, seen: _Seen, progress: Progress) -> Fitted:
    """A head that is fitted to all features at once, without epochs."""
    train, val = seen.features(seen.train), seen.features(seen.val)
    if isinstance(head, NearestNeighbours):
        return fit_neighbours(head, train, val, progress=progress)
    assert isinstance(head, nn.Sequential)
    return fit_probe(head, train, val, weights=seen.class_weights, progress=progress)


def is_cached(trunk: nn.Module, classifier: Classifier, recipe: Recipe, images: int) -> bool:
    """Whether a trunk's activations are kept: where an image comes in no other view than those, and they fit."""
    views = recipe.data.views if recipe.data.augment is not None else 1
    needed = activation_bytes(trunk, classifier.facts.preprocessing) * images * (views or 0)
    return views is not None and needed <= LARGEST_CACHE_BYTES
