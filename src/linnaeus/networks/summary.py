"""A model's layers as the deck prints them: type, output shape (channels last), parameters."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import nn

from linnaeus.networks.backbone import count_parameters, timm_name
from linnaeus.networks.classifier import Classifier, build_classifier, freeze
from linnaeus.networks.concatenated import Concatenated
from linnaeus.networks.scratch import GlobalAverage, ResidualBlock
from linnaeus.recipe import Recipe, load_recipe, recipe_names
from linnaeus.recipe_sections import ScratchRecipe, TransferRecipe
from linnaeus.settings import CleanRecipe

# Keras's names, which the deck's tables have. ReLU has no row: in Keras it belongs to the layer before it.
LAYER_TYPES: dict[type[nn.Module], str] = {
    nn.Conv2d: "Conv2D",
    nn.BatchNorm2d: "BatchNormalization",
    nn.MaxPool2d: "MaxPooling2D",
    nn.Flatten: "Flatten",
    GlobalAverage: "GlobalAveragePooling2D",
    nn.Linear: "Dense",
    nn.Dropout: "Dropout",
}


@dataclass(frozen=True)
class ModelSummary:
    """A model's layer table and its parameters. Running statistics of normalisation layers count as non-trainable.

    `layers`: layer (type), output_shape (None for the batch), parameters.
    """

    name: str
    layers: pd.DataFrame
    trainable: int
    non_trainable: int

    @property
    def total(self) -> int:
        """All parameters, those of an optimizer not among them."""
        return self.trainable + self.non_trainable


def summarise(recipe: Recipe, classes: int = 10, size: int = 224) -> ModelSummary:
    """The layers of a recipe's model for images of `size` pixels; no weights are fetched. Raises RecipeError."""
    names = [str(place) for place in range(classes)]
    classifier = build_classifier(recipe.model, names, CleanRecipe(size=size), pretrained=False)
    freeze(classifier)
    trainable, non_trainable = count_parameters(classifier)
    return ModelSummary(recipe.name, _layer_table(classifier), trainable, non_trainable)


def recipe_table() -> pd.DataFrame:
    """The recipes that come with Linnaeus: name, body (convolutions, or the backbone), dense, dropout, rate, epochs,
    patience, balance, starts_from; sorted by name."""
    return pd.DataFrame([_recipe_row(load_recipe(name)) for name in recipe_names()])


def _recipe_row(recipe: Recipe) -> dict[str, object]:
    model, training = recipe.model, recipe.training
    return {
        "name": recipe.name,
        "body": _joined(model.conv_widths) if isinstance(model, ScratchRecipe) else model.backbone,
        "pools": _joined(model.pool_sizes) if isinstance(model, ScratchRecipe) else "",
        "dense": _joined(model.dense_widths),
        "dropout": _joined(model.dropouts),
        "learning_rate": training.learning_rate,
        "epochs": training.epochs,
        "patience": training.patience,
        "balance": recipe.data.balance,
        "starts_from": recipe.starts_from or "",
    }


def _joined(values: Sequence[float]) -> str:
    return "-".join(f"{value:g}" for value in values)


def _layer_table(classifier: Classifier) -> pd.DataFrame:
    rows: list[tuple[str, str, int]] = []
    facts = classifier.facts
    images = torch.zeros(1, 3, facts.preprocessing.size, facts.preprocessing.size)
    with torch.inference_mode():
        if isinstance(facts.model, TransferRecipe):
            features = _backbone_rows(classifier.body, facts.model, images, rows)
        else:
            features = _plain_rows(classifier.body, images, rows)
        _plain_rows(classifier.head, features, rows)
    return pd.DataFrame(rows, columns=["layer", "output_shape", "parameters"])


def _plain_rows(part: nn.Module, values: torch.Tensor, rows: list[tuple[str, str, int]]) -> torch.Tensor:
    for layer in part.children():
        if isinstance(layer, ResidualBlock):
            rows.append(("Add", _shape(_plain_rows(layer.branch, values, rows)), 0))
        values = layer(values)
        if type(layer) in LAYER_TYPES:
            rows.append((LAYER_TYPES[type(layer)], _shape(values), sum(count_parameters(layer))))
    return values


def _backbone_rows(
    backbone: nn.Module, model: TransferRecipe, images: torch.Tensor, rows: list[tuple[str, str, int]]
) -> torch.Tensor:
    if isinstance(backbone, Concatenated):
        joined = []
        for name, member in zip((model.backbone, *model.more_backbones), backbone.members, strict=True):
            joined.append(member(images))
            rows.append((timm_name(name), _shape(joined[-1]), sum(count_parameters(member))))
        joint = torch.cat(joined, dim=1)
        rows.append(("Concatenate", _shape(joint), 0))
        return joint
    unpooled: torch.Tensor = backbone.forward_features(images)  # type: ignore[operator]  # every timm model has it
    features: torch.Tensor = backbone(images)
    rows.append((timm_name(model.backbone), _shape(unpooled), sum(count_parameters(backbone))))
    if unpooled.ndim == 4:
        rows.append(("global_average_pooling2d", _shape(features), 0))
    return features


def _shape(values: torch.Tensor) -> str:
    batch_first = values.permute(0, 2, 3, 1) if values.ndim == 4 else values
    return f"({', '.join(['None', *map(str, batch_first.shape[1:])])})"
