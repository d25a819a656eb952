"""From batches to probabilities; validation, test, feature caches and prediction all come through here."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from linnaeus.progress import Advance
from linnaeus.scale.device import best_device

Probabilities = NDArray[np.float32]


def run_module(
    module: nn.Module, batches: Iterable[torch.Tensor], advance: Advance | None = None
) -> Iterator[NDArray[np.float32]]:
    """The module's output for each batch, in evaluation mode and 32-bit floats, on the best device."""
    device = best_device()
    module.to(device).eval()
    for batch in batches:
        with torch.inference_mode():
            output: NDArray[np.float32] = module(batch.to(device)).float().cpu().numpy()
        if advance is not None:
            advance(len(batch))
        yield output


def predict_probabilities(
    classifier: nn.Module, batches: Iterable[torch.Tensor], advance: Advance | None = None
) -> Probabilities:
    """The softmax of a classifier's logits, (images, classes), rows in the order of the batches."""
    logits = np.concatenate([*run_module(classifier, batches, advance)])
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: Probabilities = exponents / exponents.sum(axis=1, keepdims=True)
    return probabilities
