"""A search for a good learning rate: the loss while the rate grows from almost nothing."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.nn import functional

from linnaeus.progress import Progress, silent
from linnaeus.recipe_sections import TrainingRecipe
from linnaeus.scale.device import best_device
from linnaeus.training.optimization import build_optimizer, set_rate
from linnaeus.training.train import Prepared

LOWEST, HIGHEST = 1e-7, 1.0
STEPS = 100
SMOOTHING = 0.9
DIVERGED = 4.0  # times the lowest loss


@dataclass(frozen=True)
class RateSearch:
    """`table`: learning_rate, loss (of the step's batch) and smoothed, a row a step; `suggestion` is the rate at which
    the smoothed loss falls fastest, None where it never falls."""

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
    with progress("Trying learning rates", STEPS) as advance, torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        for rate, (inputs, labels) in zip(rates, _endless(prepared), strict=False):
            set_rate(optimizer, float(rate))
            loss = functional.cross_entropy(network(inputs.to(device)), labels.to(device), weights)
            losses.append(float(loss.detach()))
            if not math.isfinite(losses[-1]) or losses[-1] > DIVERGED * min(losses):
                break
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            advance(1)
        advance(STEPS - len(losses))
    smoothed = _smoothed(np.array(losses))
    table = pd.DataFrame({"learning_rate": rates[: len(losses)], "loss": losses, "smoothed": smoothed})
    return RateSearch(table, steepest(table))


def steepest(table: pd.DataFrame) -> float | None:
    """The rate at which the smoothed loss falls fastest per factor of the rate, before its lowest point."""
    smoothed = table["smoothed"].to_numpy()
    falling = np.diff(smoothed[: int(np.nanargmin(smoothed)) + 1])
    if not len(falling) or falling.min() >= 0:
        return None
    return float(table["learning_rate"].iloc[int(falling.argmin())])


def _smoothed(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """The running mean, corrected for its start from 0. Source: Adam's, Kingma and Ba 2015."""
    mean, means = 0.0, []
    for number, loss in enumerate(losses, start=1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        means.append(mean / (1 - SMOOTHING**number))
    return np.array(means)


def _endless(prepared: Prepared):  # type: ignore[no-untyped-def]
    """The training batches, epoch after epoch."""
    loader = prepared.loaders[0]
    epoch = 0
    while True:
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        yield from loader
        epoch += 1
