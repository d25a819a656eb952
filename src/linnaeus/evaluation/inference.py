"""From batches to probabilities; validation, test, feature caches and prediction all come through here."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from linnaeus.progress import Advance
from linnaeus.scale.ahead import ahead
from linnaeus.scale.engine import FEWEST_IMAGES, Engine, fastest_engine

Probabilities = NDArray[np.float32]


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


def predict_probabilities(
    classifier: nn.Module,
    batches: Iterable[torch.Tensor],
    advance: Advance | None = None,
    *,
    images: int | None = None,
) -> Probabilities:
    """The softmax of a classifier's logits, (images, classes), rows in the order of the batches.

    images: how many there are in all batches.
    """
    return np.concatenate([*predict_in_batches(classifier, batches, advance, images=images)])


def predict_in_batches(
    classifier: nn.Module,
    batches: Iterable[torch.Tensor],
    advance: Advance | None = None,
    *,
    images: int | None = None,
) -> Iterator[Probabilities]:
    """The probabilities of each batch, as predict_probabilities gives them of all."""
    for logits in run_module(classifier, batches, advance, images=images):
        exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
        yield exponents / exponents.sum(axis=1, keepdims=True)
