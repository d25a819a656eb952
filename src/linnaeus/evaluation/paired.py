"""Which of several models is better on the same images; images of one group (near-duplicates) count as one draw."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from itertools import combinations
from math import ceil, lcm, sqrt

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.signal import fftconvolve
from scipy.stats import binom, chi2, norm

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

LEVEL = 0.05
POWER = 0.8
MOST_SEEDS = 100
"""The largest denominator of a share: a column may be the mean of at most as many seeds."""
LONGEST_DIRECT = 1e8
"""From as many products on, a convolution goes by FFT, whose error is about 1e-15 of 1, however small the p-value."""


@dataclass(frozen=True)
class Pair:
    """Two models on the same images.

    `difference`: accuracy of `second` minus that of `first`, as a share; `low` to `high`: its 95 % interval, which is
    not corrected for the number of pairs. `first_only`, `second_only`: images that only that one gets right; where
    shares are fractions, the sum of its leads. `needed`: about how many images like these would tell the two apart, at
    the level that so many pairs leave to each; None where the difference is zero, or told already.
    """

    first: str
    second: str
    difference: float
    low: float
    high: float
    p_value: float
    adjusted_p_value: float
    images: int
    groups: int
    first_only: float
    second_only: float
    needed: int | None

    @property
    def is_told(self) -> bool:
        """Whether one of the two is better: an adjusted p-value below 0.05, and zero outside of the interval."""
        return self.adjusted_p_value < LEVEL and not self.low <= 0 <= self.high


@dataclass(frozen=True)
class Pairwise:
    """Every pair of the models, in the order of their columns, and Cochran's Q of all; None below three models."""

    q: float | None
    q_p_value: float | None
    pairs: tuple[Pair, ...]

    @property
    def table(self) -> pd.DataFrame:
        """A row a pair: the facts of `Pair`, and `is_told`."""
        names = [*Pair.__dataclass_fields__, "is_told"]
        rows = [asdict(pair) | {"is_told": pair.is_told} for pair in self.pairs]
        return pd.DataFrame(rows, columns=names).astype({"needed": "Int64", "is_told": bool})


@dataclass(frozen=True)
class Lead:
    """By how much a second model leads a first one: right answers times `denominator`, whole numbers.

    `of_images` (images,); `of_groups`, their sums, and `sizes`, images of each group (groups,).
    """

    of_images: Counts
    of_groups: Counts
    sizes: Counts
    denominator: int


def compare_pairs(correct: pd.DataFrame, groups: Counts | None = None) -> Pairwise:
    """All pairs of models by accuracy, with p-values that are Holm-corrected for their number.

    `correct`: a row an image, a column a model, the share of right answers: 0 or 1, or a fraction where a column is the
    mean of several seeds of one recipe. `groups` (images,): equal numbers for images that are not independent; None
    where each is its own. Raises ValueError where a share is missing, outside 0 to 1, or no mean of at most 100 seeds.

    Sources: Cochran 1950; McNemar 1947; Holm 1979; Agresti and Min 2005; Connor 1987.
    """
    blocks = np.arange(len(correct)) if groups is None else np.unique(groups, return_inverse=True)[1]
    columns = [*combinations(range(correct.shape[1]), 2)]
    leads = [lead_of(correct.iloc[:, [*pair]], blocks) for pair in columns]
    p_values = [sign_flip_p_value(lead.of_groups) for lead in leads]
    names = [(str(correct.columns[first]), str(correct.columns[second])) for first, second in columns]
    pairs = map(_pair, names, leads, p_values, holm(p_values), [LEVEL / max(len(columns), 1)] * len(columns))
    q, q_p_value = cochrans_q(correct, blocks) if correct.shape[1] > 2 else (None, None)
    return Pairwise(q, q_p_value, tuple(pairs))


def sentence(pair: Pair) -> str:
    """What a pair says, in words: which is better and by how much, or how many images it would take to know."""
    first, second, low, high = pair.first, pair.second, pair.low, pair.high
    if pair.difference < 0:
        first, second, low, high = second, first, -high, -low
    difference = _points(abs(pair.difference))
    interval = f"95 % interval {_points(low)} to {_points(high)}"
    if pair.is_told:
        return f"{second} is better than {first}: +{difference} points ({interval})"
    start = f"these {pair.images:,} pictures cannot tell {second} from {first}"
    if pair.needed is None:
        return f"{start} (difference 0.0 points, {interval}); they are right equally often"
    return f"{start} (difference +{difference} points, {interval}); about {_rounded(pair.needed)} would be needed"


def lead_of(correct: pd.DataFrame, blocks: Counts) -> Lead:
    """The lead of the second of two columns over the first; `blocks` (images,) numbers the groups from 0.

    Raises ValueError where a share is missing, outside 0 to 1, or no mean of at most 100 seeds.
    """
    shares = correct.to_numpy(float)
    if not ((shares >= 0) & (shares <= 1)).all():
        raise ValueError("a share of right answers is missing, below 0 or above 1")
    fractions = [Fraction(share).limit_denominator(MOST_SEEDS) for share in np.unique(shares)]
    denominator = lcm(*(fraction.denominator for fraction in fractions))
    counts = np.rint(shares * denominator)
    if np.abs(counts / denominator - shares).max(initial=0) > 1e-6:  # what 32 bits make of a fraction differs by less
        raise ValueError(f"a share of right answers is no mean of at most {MOST_SEEDS} seeds")
    of_images = (counts[:, 1] - counts[:, 0]).astype(np.int64)
    of_groups = np.rint(np.bincount(blocks, weights=of_images)).astype(np.int64)
    return Lead(of_images, of_groups, np.bincount(blocks), denominator)


def sign_flip_p_value(sums: Counts) -> float:
    """The exact two-sided p-value of two models being equally good, from the whole lead in each group (groups,).

    If they are, each lead may as well have the other sign. So a group of lead w adds w or nothing with equal chance,
    groups of equal lead add w times a binomial number, and convolution gives the distribution over all w. With groups
    of one image, right or wrong, it is McNemar's exact test. Source: Fisher 1935, The Design of Experiments, chapter 3.
    """
    leads, groups = np.unique(np.abs(sums[sums != 0]), return_counts=True)
    chances: Floats = np.ones(1)
    for step, draws in zip(leads.tolist(), groups.tolist(), strict=True):
        spread = np.zeros(step * draws + 1)
        spread[::step] = binom.pmf(np.arange(draws + 1), draws, 0.5)
        chances = _convolved(chances, spread)
    distances = np.abs(2 * np.arange(len(chances)) - (len(chances) - 1))
    return min(1.0, float(chances[distances >= abs(int(sums.sum()))].sum()))


def difference_interval(lead: Lead) -> tuple[float, float]:
    """The 95 % interval of a difference of accuracies, as shares.

    Agresti and Min 2005, Statistics in Medicine 24: Wald's after 1/2 is added to each of the four cells. Those are four
    half images of lead 0, 0, 1 and -1, each a group of its own; the others add up within theirs.
    """
    images = int(lead.sizes.sum()) + 2
    sums = lead.of_groups / lead.denominator
    centre = float(sums.sum()) / images
    half = float(norm.ppf(1 - LEVEL / 2)) * sqrt(((sums - centre * lead.sizes) ** 2).sum() + 1 + 2 * centre**2) / images
    return max(centre - half, -1.0), min(centre + half, 1.0)


def images_needed(lead: Lead, level: float = LEVEL) -> int | None:
    """How many images like these give a test at `level` a power of 80 %; None where the difference is zero.

    Connor 1987, Biometrics 43, page 209, whose two variances an image, without a difference and with this one, are here
    those of the groups' sums.
    """
    sums, images = lead.of_groups / lead.denominator, int(lead.sizes.sum())
    difference = float(sums.sum()) / images
    if difference == 0:
        return None
    of_none, of_this = (sums**2).sum() / images, ((sums - difference * lead.sizes) ** 2).sum() / images
    root = float(norm.ppf(1 - level / 2)) * sqrt(of_none) + float(norm.ppf(POWER)) * sqrt(of_this)
    return ceil((root / difference) ** 2)


def cochrans_q(correct: pd.DataFrame, blocks: Counts) -> tuple[float, float]:
    """Cochran's Q of models that are all equally often right, and its p-value by chi-squared; 0 and 1 where all agree.

    `correct` and `blocks` as in `lead_of`; right answers add up within a group. Source: Cochran 1950, Biometrika 37.
    """
    sums = np.array([np.bincount(blocks, weights=shares) for shares in correct.to_numpy(float).T])
    within = float(((sums - sums.mean(axis=0)) ** 2).sum())
    totals = sums.sum(axis=1)
    freedom = len(totals) - 1
    if within < 1e-9:
        return 0.0, 1.0
    q = freedom * float(((totals - totals.mean()) ** 2).sum()) / within
    return q, float(chi2.sf(q, freedom))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number, so that at most one in twenty families of tests has a false alarm.

    Source: Holm 1979, A Simple Sequentially Rejective Multiple Test Procedure.
    """
    raw = np.asarray(p_values, float)
    order = np.argsort(raw, kind="stable")
    adjusted = np.empty_like(raw)
    adjusted[order] = np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1)).clip(max=1)
    corrected: list[float] = adjusted.tolist()
    return corrected


def _pair(names: tuple[str, str], lead: Lead, p_value: float, adjusted: float, level: float) -> Pair:
    leads, images = lead.of_images / lead.denominator, len(lead.of_images)
    low, high = difference_interval(lead)
    pair = Pair(
        *names,
        difference=int(lead.of_images.sum()) / lead.denominator / images,
        low=low,
        high=high,
        p_value=p_value,
        adjusted_p_value=adjusted,
        images=images,
        groups=len(lead.sizes),
        first_only=float(np.abs(leads[leads < 0]).sum()),
        second_only=float(leads[leads > 0].sum()),
        needed=None,
    )
    needed = images_needed(lead, level)
    if pair.is_told or needed is None:
        return pair
    # The formula is a normal approximation, and of a handful of images may ask for fewer than have just failed.
    return replace(pair, needed=max(needed, images + 1))


def _convolved(first: Floats, second: Floats) -> Floats:
    """The distribution of a sum; summed directly it has no negative or cancelled terms."""
    if len(first) * len(second) < LONGEST_DIRECT:
        return np.convolve(first, second)
    convolved: Floats = fftconvolve(first, second)
    return convolved.clip(0)


def _points(share: float) -> str:
    """A share in points; with a second decimal where it would seem to be zero and is not."""
    return f"{100 * share:z.{2 if 0 < abs(share) < 0.0005 else 1}f}"


def _rounded(images: int) -> str:
    """A number to two digits: 1,234 becomes 1,200."""
    return f"{float(f'{images:.1e}'):,.0f}"
