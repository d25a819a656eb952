"""CNNs from scratch: the deck's, with valid 3x3 convolutions, pooled and rectified, and what has been learnt since."""

import torch
from torch import nn

from linnaeus.errors import RecipeError
from linnaeus.networks.head import start_as_keras
from linnaeus.recipe_sections import ScratchRecipe
from linnaeus.records import Preprocessing


class GlobalAverage(nn.Module):
    """(batch, channels, height, width) to (batch, channels): each channel's mean. Source: Lin et al. 2014."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """The means of a batch."""
        return maps.mean(dim=(2, 3))


class ResidualBlock(nn.Module):
    """(batch, width, height, width) to the same shape: two 3x3 convolutions, added to what went in, then ReLU.

    The branch starts at zero, so that a fresh block passes on what it is given. Sources: He et al. 2016 (the basic
    block); Goyal et al. 2017, section 5.1 (its start).
    """

    def __init__(self, width: int, *, batch_norm: bool) -> None:
        super().__init__()
        first = _convolution(width, width, padding=True, batch_norm=batch_norm)
        second = _convolution(width, width, padding=True, batch_norm=batch_norm)
        self.branch = nn.Sequential(*first, nn.ReLU(), *second)

    def start_as_identity(self) -> None:
        """Set the last layer of the branch to zero."""
        nn.init.zeros_(self.branch[-1].weight)  # type: ignore[arg-type]  # a convolution or a normalisation

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """The block's output for a batch."""
        added: torch.Tensor = self.branch(maps) + maps
        return added.relu()


def build_convolutions(recipe: ScratchRecipe) -> nn.Sequential:
    """(batch, 3, size, size) to (batch, features): the convolutional part, flattened or averaged.

    Pooling comes before ReLU: both are monotone, so the result is the same and ReLU has a quarter of the work. It comes
    after batch normalisation, whose scales may become negative and then do not keep order.
    """
    layers: list[nn.Module] = []
    channels = 3
    for stage, (width, pool) in enumerate(zip(recipe.conv_widths, recipe.pool_sizes, strict=True)):
        stride = recipe.stem_stride if stage == 0 else 1
        layers += _convolution(channels, width, stride, padding=recipe.padding, batch_norm=recipe.batch_norm)
        layers += [nn.MaxPool2d(pool), nn.ReLU()]
        if recipe.residual and stage > 0:
            layers.append(ResidualBlock(width, batch_norm=recipe.batch_norm))
        channels = width
    layers.append(nn.Flatten() if recipe.pooling == "flatten" else GlobalAverage())
    convolutions = nn.Sequential(*layers)
    convolutions.apply(start_as_keras)
    for block in layers:
        if isinstance(block, ResidualBlock):
            block.start_as_identity()
    return convolutions


def feature_count(recipe: ScratchRecipe, size: int) -> int:
    """The length of the features of a square image with `size` pixels a side.

    Raises RecipeError where the image is too small for the layers.
    """
    side, lost = size, 0 if recipe.padding else 2
    for stage, pool in enumerate(recipe.pool_sizes):
        stride = recipe.stem_stride if stage == 0 else 1
        side = ((side - lost - 1) // stride + 1) // pool
    if side < 1:
        raise RecipeError(
            f"images of {size} pixels are too small for {len(recipe.pool_sizes)} convolutions with pools "
            f"{list(recipe.pool_sizes)}; use fewer layers, or clean to a larger size"
        )
    return recipe.conv_widths[-1] * (side * side if recipe.pooling == "flatten" else 1)


def scratch_preprocessing(size: int) -> Preprocessing:
    """The scale 0 to 1, as the deck has it."""
    return Preprocessing(size, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def _convolution(
    channels: int, width: int, stride: int = 1, *, padding: bool, batch_norm: bool
) -> list[nn.Module]:  # fmt: skip
    """A 3x3 convolution, normalised or not; the normalisation's shift is its bias."""
    convolution = nn.Conv2d(channels, width, 3, stride, padding=int(padding), bias=not batch_norm)
    return [convolution, nn.BatchNorm2d(width)] if batch_norm else [convolution]
