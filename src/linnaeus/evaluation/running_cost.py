"""What a classifier costs to run: arithmetic, milliseconds, and which of several models are worth their cost."""

from collections.abc import Iterator
from copy import deepcopy
from time import perf_counter

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from linnaeus.scale.backends import backends
from linnaeus.scale.engine import Engine

LATENCY_COLUMNS = ["backend", "p50_ms", "p99_ms", "images_per_second", "passes", "reason"]
WARMING_PASSES = 5
FEWEST_PASSES, MOST_PASSES = 30, 300
MOST_BATCHES = 20
BATCH_IMAGES = 32


def macs(module: nn.Module, size: int) -> int:
    """The multiply-accumulates of convolutions and matrix products for one image (3, size, size), in evaluation mode.

    Half of what torch's FlopCounterMode counts; biases, normalisation, activations and pooling are not in it, padding
    is. The module stays as it is.
    """
    frozen = deepcopy(module).cpu().eval()  # not on "meta", where what reads a value, as neighbours do, cannot run
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        frozen(torch.zeros(1, 3, size, size))
    return int(counter.get_total_flops()) // 2


def latencies(
    classifier: nn.Module, size: int, *, images: torch.Tensor | None = None, seconds: float = 1.5
) -> pd.DataFrame:
    """How long this machine takes in each way (`linnaeus.scale.backends`): backend, p50_ms, p99_ms,
    images_per_second, passes, reason; a row for each.

    Of the network alone: from a preprocessed tensor to the output on the CPU, without reading or decoding an image.
    Milliseconds are of single images, one after another, over `passes` passes: at least 30 and at most 300, as many as
    fit into `seconds`; of a few passes the 99th percentile is little less than the slowest. images_per_second is that
    of the fastest of at most 20 batches of 32, within another `seconds`. Where a way cannot run the network, `reason`
    says why, and the figures are NaN. images: preprocessed ones (images, 3, size, size), by which 16 bits are held
    against 32; else noise, the same at each call.
    """
    if images is None:
        images = torch.rand(BATCH_IMAGES, 3, size, size, generator=torch.Generator().manual_seed(0))
    images = images[:BATCH_IMAGES].contiguous(memory_format=torch.channels_last)
    rows: list[dict[str, object]] = []
    for backend in backends(classifier, images):
        row: dict[str, object] = {"backend": backend.name, "passes": 0, "reason": backend.reason}
        if backend.run is not None:
            single = 1000 * _seconds_of_singles(backend.run, images, seconds)
            row |= {"passes": len(single), "p50_ms": np.percentile(single, 50), "p99_ms": np.percentile(single, 99)}
            row["images_per_second"] = len(images) / min(_seconds_of_batches(backend.run, images, seconds))
        rows.append(row)
    return pd.DataFrame(rows, columns=LATENCY_COLUMNS)


def _seconds_of_singles(run: Engine, images: torch.Tensor, seconds: float) -> np.ndarray:
    singles = torch.split(images, 1)
    for place in range(WARMING_PASSES):
        run(singles[place % len(singles)])
    taken: list[float] = []
    end = perf_counter() + seconds
    while len(taken) < FEWEST_PASSES or (len(taken) < MOST_PASSES and perf_counter() < end):
        taken.append(_seconds_of(run, singles[len(taken) % len(singles)]))
    return np.array(taken)


def _seconds_of_batches(run: Engine, images: torch.Tensor, seconds: float) -> Iterator[float]:
    run(images)
    end = perf_counter() + seconds
    for _ in range(MOST_BATCHES):
        yield _seconds_of(run, images)
        if perf_counter() > end:
            return


def _seconds_of(run: Engine, batch: torch.Tensor) -> float:
    start = perf_counter()
    run(batch)
    return perf_counter() - start


def pareto(table: pd.DataFrame, better: str, costs: str) -> "pd.Series[bool]":
    """Whether no other row has at least as much of the column `better` for at most as much of the column `costs`, with
    one of the two strictly so.

    Rows that are equal in both stay together. A row where either is NaN is never among them, and beats none.
    """
    gains, prices = (table[column].to_numpy(dtype=float, na_value=np.nan) for column in (better, costs))
    at_least = (gains >= gains[:, None]) & (prices <= prices[:, None])
    strictly = (gains > gains[:, None]) | (prices < prices[:, None])
    is_beaten = (at_least & strictly).any(axis=1)
    return pd.Series(~is_beaten & ~np.isnan(gains) & ~np.isnan(prices), index=table.index)
