"""From batches to logits and features; validation, test, feature caches and prediction all come through here."""

from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from linnaeus.networks.classifier import Network
from linnaeus.progress import Advance
from linnaeus.scale.ahead import ahead
from linnaeus.scale.engine import FEWEST_IMAGES, Engine, fastest_engine

Probabilities = NDArray[np.float64]
WIDEST_FEATURES = 4096  # wider ones, such as a CNN's maps, are told by the head's last hidden layer


@dataclass(frozen=True)
class Outputs:
    """What a network says of images: logits (images, classes), and the features (images, width) that these come from:
    what the head gets, or where that is very wide, what its last layer gets."""

    logits: NDArray[np.float32]
    features: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.logits)


class Forward:
    """A module's forward pass, in evaluation mode and 32-bit floats, on the best device.

    The fastest way (`linnaeus.scale.engine`) is prepared once for images of one shape, however often it is called; the
    module stays as it is, and what is done to its weights after the first call is not seen.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._engine: Engine | None = None
        self._made_for: tuple[torch.Size, bool] | None = None

    def __call__(
        self, batches: Iterable[torch.Tensor], advance: Advance | None = None, *, images: int | None = None
    ) -> Iterator[NDArray[np.float32]]:
        """The output for each batch; another thread makes the next ones meanwhile.

        images: how many there are in all batches; only where they are known to be many is a faster way worth preparing.
        """
        are_many = (images or 0) >= FEWEST_IMAGES
        for batch in ahead(batches):
            output = self._engine_for(batch, images, are_many=are_many)(batch.float())
            if advance is not None:
                advance(len(batch))
            yield output

    def _engine_for(self, batch: torch.Tensor, images: int | None, *, are_many: bool) -> Engine:
        shape = batch.shape[1:]
        if self._engine is None or self._made_for not in {(shape, True), (shape, are_many)}:
            self._engine = fastest_engine(self.module, batch.float(), images)
            self._made_for = (shape, are_many)
        return self._engine


def run_module(
    module: nn.Module, batches: Iterable[torch.Tensor], advance: Advance | None = None, *, images: int | None = None
) -> Iterator[NDArray[np.float32]]:
    """The module's output for each batch, by a Forward that is used once."""
    return Forward(module)(batches, advance, images=images)


def outputs_in_batches(
    network: Network, batches: Iterable[torch.Tensor], advance: Advance | None = None, *, images: int | None = None
) -> Iterator[Outputs]:
    """The network's outputs for each batch. images: how many there are in all batches, where that is known."""
    head = deepcopy(network.head).cpu().eval()
    for seen in run_module(network.body, batches, advance, images=images):
        features = torch.from_numpy(seen).flatten(1)
        with torch.inference_mode():
            if features.shape[1] > WIDEST_FEATURES and isinstance(head, nn.Sequential):
                features = head[:-1](features)
                logits = head[-1](features)
            else:
                logits = head(features)
        yield Outputs(logits.numpy(), features.numpy())


def network_outputs(
    network: Network, batches: Iterable[torch.Tensor], advance: Advance | None = None, *, images: int | None = None
) -> Outputs:
    """The network's outputs for all images, in the order of the batches."""
    outputs = [*outputs_in_batches(network, batches, advance, images=images)]
    return Outputs(
        np.concatenate([each.logits for each in outputs]), np.concatenate([each.features for each in outputs])
    )
