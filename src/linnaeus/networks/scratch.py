"""The deck's CNNs from scratch: valid 3x3 convolutions, each pooled and rectified, flattened for the head."""

from torch import nn

from linnaeus.errors import RecipeError
from linnaeus.networks.head import start_as_keras
from linnaeus.recipe_sections import ScratchRecipe
from linnaeus.records import Preprocessing


def build_convolutions(recipe: ScratchRecipe) -> nn.Sequential:
    """(batch, 3, size, size) to (batch, features): the convolutional part, flattened.

    Pooling comes before ReLU: both are monotone, so the result is the same and ReLU has a quarter of the work.
    """
    layers: list[nn.Module] = []
    channels = 3
    for width, pool in zip(recipe.conv_widths, recipe.pool_sizes, strict=True):
        layers += [nn.Conv2d(channels, width, 3), nn.MaxPool2d(pool), nn.ReLU()]
        channels = width
    layers.append(nn.Flatten())
    convolutions = nn.Sequential(*layers)
    convolutions.apply(start_as_keras)
    return convolutions


def feature_count(recipe: ScratchRecipe, size: int) -> int:
    """The length of the flattened features of a square image with `size` pixels a side.

    Raises RecipeError where the image is too small for the layers.
    """
    side = size
    for pool in recipe.pool_sizes:
        side = (side - 2) // pool
    if side < 1:
        raise RecipeError(
            f"images of {size} pixels are too small for {len(recipe.pool_sizes)} convolutions with pools "
            f"{list(recipe.pool_sizes)}; use fewer layers, or clean to a larger size"
        )
    return side * side * recipe.conv_widths[-1]


def scratch_preprocessing(size: int) -> Preprocessing:
    """The scale 0 to 1, as the deck has it."""
    return Preprocessing(size, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
