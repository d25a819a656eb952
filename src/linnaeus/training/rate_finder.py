"""A search for a good learning rate: the loss while the rate grows from almost nothing."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.nn import functional

from linnaeus.data.dataset import Batch
from linnaeus.progress import Progress, silent
from linnaeus.recipe_sections import TrainingRecipe
from linnaeus.scale.device import best_device
from linnaeus.training.optimization import build_optimizer, set_rate
from linnaeus.training.train import Prepared

LOWEST, HIGHEST = 1e-7, 1.0
STEPS = 100
SMOOTHING = 0.9
SETTLED = 10  # steps after which the smoothed loss no longer jumps with every batch
DELAY = round(SMOOTHING / (1 - SMOOTHING))  # steps by which the smoothed loss comes later
LEAST_FALL = 0.1  # share of the loss; batches differ by chance
DIVERGED = 4.0  # times the lowest loss


@dataclass(frozen=True)
class RateSearch:
    """`table`: learning_rate, loss (of the step's batch) and smoothed, a row a step; `suggestion` is the rate at which
    the loss has done half of its fall, None where it falls by less than a tenth."""

    table: pd.DataFrame
    suggestion: float | None


def find_rate(prepared: Prepared, recipe: TrainingRecipe, progress: Progress = silent) -> RateSearch:
    """The losses of at most 100 steps from rate 1e-7 to 1, ended where they diverge; the network is left trained so.

    Source: the range test of Smith 2017, with exponential growth.
    """
    device = best_device()
    network = prepared.network.to(device).train()
    optimizer = build_optimizer(network, recipe, prepared.plan)
    weights = None if prepared.class_weights is None else torch.from_numpy(prepared.class_weights).to(device)
    rates, losses = np.geomspace(LOWEST, HIGHEST, STEPS), list[float]()
    smoothed = _smoothed(losses)
    with progress("Trying learning rates", STEPS) as advance, torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        for rate, (inputs, labels) in zip(rates, _whole_batches(prepared), strict=False):
            set_rate(optimizer, float(rate))
            loss = functional.cross_entropy(network(inputs.to(device)), labels.to(device), weights)
            losses.append(float(loss.detach()))
            advance(1)
            smoothed = _smoothed(losses)
            if not smoothed[-1] <= DIVERGED * smoothed.min():  # also where it is not a number
                break
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        advance(STEPS - len(losses))
    table = pd.DataFrame({"learning_rate": rates[: len(losses)], "loss": losses, "smoothed": smoothed})
    return RateSearch(table, halfway(table))


def halfway(table: pd.DataFrame) -> float | None:
    """The rate at which the loss has done half of its fall, that is, about where it falls fastest.

    The steepest step itself would be one of chance: batches differ by more than a step changes.
    """
    smoothed = table["smoothed"].fillna(math.inf).to_numpy()[SETTLED:]
    if not len(smoothed) or not smoothed.min() < (1 - LEAST_FALL) * smoothed[0]:
        return None
    half = SETTLED + int(np.argmax(smoothed <= (smoothed[0] + smoothed.min()) / 2))
    return float(table["learning_rate"].iloc[max(half - DELAY, 0)])


def _smoothed(losses: Sequence[float]) -> NDArray[np.float64]:
    """The running mean, corrected for its start from 0. Source: Adam's, Kingma and Ba 2015."""
    mean, means = 0.0, []
    for number, loss in enumerate(losses, start=1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        means.append(mean / (1 - SMOOTHING**number))
    return np.array(means)


def _whole_batches(prepared: Prepared) -> Iterator[Batch]:
    """The training batches, epoch after epoch; a smaller last one, which batch norm may not like, only if it is all."""
    loader = prepared.loaders[0]
    for epoch in count():
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        for inputs, labels in loader:
            if len(labels) == loader.batch_size or len(loader) == 1:
                yield inputs, labels
