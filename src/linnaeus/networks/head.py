"""The dense layers that end a classifier."""

from collections.abc import Sequence

from torch import nn


def build_head(inputs: int, dense_widths: Sequence[int], dropouts: Sequence[float], classes: int) -> nn.Sequential:
    """Dense layers with ReLU (and dropout where it is above 0), then one of `classes` logits.

    Takes (batch, inputs), gives (batch, classes). Weights start as in Keras, Glorot uniform and zero biases.
    """
    layers: list[nn.Module] = []
    for position, width in enumerate(dense_widths):
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        if dropouts and dropouts[position] > 0:
            layers.append(nn.Dropout(dropouts[position]))
        inputs = width
    layers.append(nn.Linear(inputs, classes))
    head = nn.Sequential(*layers)
    head.apply(start_as_keras)
    return head


def start_as_keras(module: nn.Module) -> None:
    """Glorot-uniform weights and zero biases for a convolution or a dense layer. Source: Glorot and Bengio 2010."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
