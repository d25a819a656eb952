"""From batches to probabilities; validation, test, feature caches and prediction all come through here."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from linnaeus.progress import Advance
from linnaeus.scale.ahead import ahead
from linnaeus.scale.engine import Engine, fastest_engine

Probabilities = NDArray[np.float32]


def run_module(
    module: nn.Module, batches: Iterable[torch.Tensor], advance: Advance | None = None, *, images: int | None = None
) -> Iterator[NDArray[np.float32]]:
    """The module's output for each batch, in evaluation mode and 32-bit floats, on the best device.

    The next batches are made by another thread meanwhile. The module stays as it is. images: how many there are in all
    batches; only where they are known to be many is it worth preparing the fastest way (`linnaeus.scale.engine`).
    """
    engine: Engine | None = None
    shape = None
    for batch in ahead(batches):
        if engine is None or batch.shape[1:] != shape:
            engine, shape = fastest_engine(module, batch.float(), images), batch.shape[1:]
        output = engine(batch.float())
        if advance is not None:
            advance(len(batch))
        yield output


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
