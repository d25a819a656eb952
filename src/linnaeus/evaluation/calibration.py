"""Probabilities that mean what they say: a temperature found on validation, and how far confidence is from accuracy."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import erf
from scipy.special import softmax as scipy_softmax
from scipy.stats import rankdata

from linnaeus.evaluation.intervals import wilson_interval
from linnaeus.evaluation.metrics import Labels

Floats = NDArray[np.float64]
AnyFloats = NDArray[np.floating]

COLDEST, HOTTEST = 0.05, 20.0
BINS = 15  # as Guo et al. 2017
FEWEST_IN_BIN = 10


@dataclass(frozen=True)
class Calibration:
    """The expected calibration error, a share between 0 and 1, as it is and with its excess taken off."""

    ece: float
    ece_debiased: float


def fit_temperature(logits: AnyFloats, labels: Labels) -> float:
    """The T > 0 for which softmax(logits / T) has the lowest mean negative log likelihood on validation.

    logits: (images, classes). labels: (images,). The likelihood is concave in 1 / T, so its slope has at most one zero,
    which is looked for between T = 0.05 and 20; where it lies beyond, the nearer bound comes back. 1.0 where validation
    cannot tell: without images, and without any mistake, since then the lower T the better, down to certainty.

    Source: Guo, Pleiss, Sun and Weinberger 2017, On Calibration of Modern Neural Networks.
    """
    if not len(labels):
        return 1.0
    below_best = logits - logits.max(axis=1, keepdims=True).astype(np.float64)
    of_label = below_best[np.arange(len(labels)), labels]
    if not of_label.any():
        return 1.0

    def slope(coldness: float) -> float:
        """Of the mean negative log likelihood over 1 / T."""
        expected = (softmax(below_best, 1 / coldness) * below_best).sum(axis=1)
        return float(np.mean(expected - of_label))

    if slope(1 / HOTTEST) >= 0:
        return HOTTEST
    if slope(1 / COLDEST) <= 0:
        return COLDEST
    return 1 / float(brentq(slope, 1 / HOTTEST, 1 / COLDEST, xtol=1e-12))


def softmax(logits: AnyFloats, temperature: float = 1.0) -> Floats:
    """The probabilities (images, classes) of logits divided by a temperature; the likeliest class stays the same."""
    probabilities: Floats = scipy_softmax(logits.astype(np.float64) / temperature, axis=1)
    return probabilities


def reliability(labels: Labels, probabilities: AnyFloats, *, bins: int = BINS) -> pd.DataFrame:
    """How often images are right that are about equally confident: a row a bin, the least confident first.

    `images`; `confidence`, the mean of the highest probability; `accuracy`, with its 95 % Wilson interval `low` to
    `high`. labels: (images,), at least one. probabilities: (images, classes).

    Bins have about as many images each, so many that there are ten, or fewer bins. Equally confident images share one
    bin, that of their middle rank, so that the order of the images does not count; there may then be fewer bins, larger
    or smaller than the others. Source of equal mass: Nguyen and O'Connor 2015, Posterior Calibration and Exploratory
    Analysis for Natural Language Processing Models.
    """
    images = len(labels)
    confidence = probabilities.max(axis=1).astype(np.float64)
    count = max(min(bins, images // FEWEST_IN_BIN), 1)
    place = np.floor((rankdata(confidence) - 0.5) * count / images)
    rows = pd.DataFrame({"confidence": confidence, "is_right": probabilities.argmax(axis=1) == labels})
    table = rows.groupby(place).agg(
        images=("is_right", "size"), confidence=("confidence", "mean"), accuracy=("is_right", "mean")
    )
    right = rows.groupby(place)["is_right"].sum()
    intervals = [wilson_interval(int(some), int(of)) for some, of in zip(right, table["images"], strict=True)]
    low, high = zip(*intervals, strict=True)
    return table.assign(low=low, high=high).reset_index(drop=True)


def expected_calibration_error(table: pd.DataFrame) -> Calibration:
    """The distance of confidence from accuracy, averaged over the images, of the bins that `reliability` gives.

    As it is, it is too high, because accuracies in bins of few images scatter to both sides and every distance counts
    as positive. The debiased one takes off by how much the bins' distances would grow on average if each accuracy
    scattered once more (the mean of a folded normal distribution), and is never below 0. Of a classifier that is
    calibrated perfectly it leaves about three fifths.

    Source: Naeini, Cooper and Hauskrecht 2015, Obtaining Well Calibrated Probabilities Using Bayesian Binning; Kumar,
    Liang and Ma 2019, Verified Uncertainty Calibration, whose implementation draws the scatter at random.
    """
    images, accuracy = table["images"].to_numpy(), table["accuracy"].to_numpy()
    distance = np.abs(table["confidence"].to_numpy() - accuracy)
    scatter = np.sqrt(accuracy * (1 - accuracy) / images)
    ece = float(np.average(distance, weights=images))
    scattered = float(np.average(_folded_normal_mean(distance, scatter), weights=images))
    return Calibration(ece, max(2 * ece - scattered, 0.0))


def error_by_chance(table: pd.DataFrame, *, draws: int = 1000, seed: int = 0) -> float:
    """The expected calibration error that only one in twenty perfectly calibrated classifiers with these bins passes.

    Of each bin as many images are right as chance will have it where confidence is what it says.
    """
    images, confidence = table["images"].to_numpy(), table["confidence"].to_numpy().clip(0, 1)
    drawn = np.random.default_rng(seed).binomial(images, confidence, (draws, len(table))) / images
    errors = np.average(np.abs(drawn - confidence), axis=1, weights=images)
    return float(np.quantile(errors, 0.95))


def _folded_normal_mean(mean: Floats, deviation: Floats) -> Floats:
    """The mean of |x| where x is normal. Source: Leone, Nelson and Nottingham 1961."""
    ratio = np.divide(mean, deviation, out=np.full_like(mean, np.inf), where=deviation > 0)
    folded: Floats = deviation * np.sqrt(2 / np.pi) * np.exp(-(ratio**2) / 2) + mean * erf(ratio / np.sqrt(2))
    return folded
