"""Two clouds of points to tell apart, a small network that can, and a recipe for it."""

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from linnaeus.data.dataset import Batch, TensorTable
from linnaeus.recipe_sections import TrainingRecipe

Loaders = tuple[DataLoader[Batch], DataLoader[Batch]]


def recipe_of(**settings: object) -> TrainingRecipe:
    usual = {"epochs": 3, "learning_rate": 0.05, "patience": None, "batch_size": 16, "precision": "32-true"}
    return TrainingRecipe.model_validate(usual | settings)


def _points(count: int, seed: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    inputs = random.normal(0, noise, (count, 4)) + np.where(labels, 1.0, -1.0)[:, None]
    return inputs.astype(np.float32), labels


def cloud_loaders(recipe: TrainingRecipe, noise: float = 0.2) -> Loaders:
    """Two clouds of 64 points in all to train on, and of 32 to validate on."""

    def loader(count: int, seed: int, *, shuffle: bool) -> DataLoader[Batch]:
        inputs, labels = _points(count, seed, noise)
        table = TensorTable([inputs], np.arange(count), labels, shuffle=shuffle, seed=recipe.seed)
        return table.loader(recipe.batch_size)

    return loader(64, 0, shuffle=True), loader(32, 1, shuffle=False)


def small_network(*, dropout: float = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 2))
