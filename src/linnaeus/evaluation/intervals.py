"""How far a figure can be trusted: Wilson's interval for shares, a bootstrap of groups of images for other figures."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binomtest

Floats = NDArray[np.float64]

# Of one chunk of weights; while it is made, about four times as much is in use.
CHUNK_BYTES = 2**25


def wilson_interval(correct: int, images: int, confidence: float = 0.95) -> tuple[float, float]:
    """The Wilson score interval (low, high) of the share `correct` of `images`; (0, 1) where there are no images.

    It takes the images as independent of each other. Source: Wilson 1927; computed by scipy.
    """
    if images == 0:
        return 0.0, 1.0
    interval = binomtest(correct, images).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def group_weights(groups: NDArray[np.generic] | None, images: int, *, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each image is drawn where whole groups are drawn with replacement; chunks (some resamples, images).

    groups: of each image, its group's name or number; None makes each image a group of its own. A resample has as many
    groups as there are, so its number of images varies where groups differ in size. Together the chunks have
    `resamples` rows; one chunk takes at most 32 MiB where a single row does not take more.

    Source: the bootstrap of clusters, Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8.
    """
    # Numbered as they first appear, so that groups of one image each are drawn exactly as images without groups.
    members = np.arange(images) if groups is None else pd.factorize(groups)[0]
    count = int(members.max()) + 1
    generator = np.random.default_rng(seed)
    most = max(1, CHUNK_BYTES // (8 * images))
    for start in range(0, resamples, most):
        size = min(most, resamples - start)
        cells = generator.integers(count, size=(size, count))
        cells *= size
        cells += np.arange(size)[:, None]
        drawn = np.bincount(cells.ravel(), minlength=count * size).reshape(count, size)
        # An image's draws lie side by side in memory, which is how sums over images read them.
        yield drawn.astype(np.float64)[members].T


def percentile_interval(values: Floats, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """The percentile interval (low, high) of values (resamples, ...), each shaped as one resample.

    A resample whose value is NaN says nothing and is left out; where all are NaN, so is the interval.
    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    is_known = ~np.isnan(values).all(axis=0)
    interval = np.full((2, *values.shape[1:]), np.nan)
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    interval[:, is_known] = np.nanquantile(values[:, is_known], tails, axis=0)
    return interval[0], interval[1]
