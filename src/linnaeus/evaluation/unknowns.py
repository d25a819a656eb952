"""Whether an image is of none of the classes: scores by which known images lie above unknown ones, and a threshold."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logsumexp
from sklearn.metrics import roc_auc_score
from sklearn.utils.extmath import randomized_svd

from linnaeus.evaluation.metrics import Labels

Floats = NDArray[np.float64]
AnyFloats = NDArray[np.floating]

DEFAULT_SCORE = "distance"
"""The score by which the product tells unknown images: the distance, near the best, and far ahead for two classes.

By benchmarks/unknowns.py on 2,379 photographs of nine animals, frozen EfficientNet-Lite0, mean over nine trials of the
AUROC, and of the share of unknown images taken for known where 95 % of the known are kept. Eight classes known:

    head                 maximum probability   energy         distance
    lite0-probe          0.940, 43 %           0.951, 23 %    0.937, 29 %
    lite0-dense256       0.930, 42 %           0.943, 33 %    0.937, 29 %
    lite0-knn            0.917, 44 %           0.901, 50 %    0.937, 29 %

Two classes known: 0.932, 29 % for the probe's probability and energy, which are then the same; 0.739, 51 % for those of
lite0-knn; 0.980, 9 % for the distance. It does not depend on the head. Hardest are classes between others: of unknown
cows and horses it takes nine in ten for known, and the probe's energy 68 and 50 %.
"""
KEPT = 0.95
NEIGHBOURS = 5  # 3 and 10 were as good
AXES = 128  # 64 were as good for nine classes
MOST_REFERENCES = 5000
BLOCK = 1024  # images whose cosines are held at a time


@dataclass(frozen=True)
class Separation:
    """How well scores tell known images from unknown ones: the area under the ROC curve (0.5 for chance, 1 for
    perfect), and the share of the unknown that is taken for known."""

    auroc: float
    false_positive_rate: float


def maximum_probability(probabilities: AnyFloats) -> Floats:
    """The probability (images,) of the likeliest class, from calibrated probabilities (images, classes).

    Source: Hendrycks and Gimpel 2017, A Baseline for Detecting Misclassified and Out-of-Distribution Examples.
    """
    highest: Floats = probabilities.max(axis=1).astype(np.float64)
    return highest


def energy(logits: AnyFloats) -> Floats:
    """The logarithm (images,) of the sum of the exponentials of logits (images, classes): the negative free energy.

    Each image's logits first lose their mean, which softmax does not see and training leaves to chance: a probe of two
    classes has 0 for the first, whose images would otherwise all count as unknown. The energy then is the mean over
    the classes of -log(probability): how sure the classifier is of what an image is not.

    Source: Liu, Wang, Owens and Li 2020, Energy-based Out-of-distribution Detection.
    """
    wide = logits.astype(np.float64)
    negative: Floats = logsumexp(wide, axis=1) - wide.mean(axis=1)
    return negative


@dataclass(frozen=True)
class ClassDistance:
    """How near features are to those of the classes' training images.

    axes: (width, axes) float32, the directions in which the training images' features of length 1 mostly lie.
    references: (images, axes) float16, those features in these directions. Both take 1.9 MB for 5,000 images of 1280
    features.
    """

    axes: NDArray[np.float32]
    references: NDArray[np.float16]

    def score(self, features: AnyFloats) -> Floats:
        """The cosine (images,) of features (images, width) to the fifth most alike training image.

        What lies outside the axes counts as unlike. About two seconds for 26,000 images and 5,000 references.

        Source: Sun, Ming, Zhu and Li 2022, Out-of-Distribution Detection with Deep Nearest Neighbors.
        """
        known = self.references.T.astype(np.float32)
        count = min(NEIGHBOURS, len(self.references))
        nearest = np.empty(len(features))
        for start in range(0, len(features), BLOCK):
            cosines = unit_length(features[start : start + BLOCK]) @ self.axes @ known
            nearest[start : start + BLOCK] = np.partition(cosines, -count, axis=1)[:, -count]
        return nearest


def fit_class_distance(features: AnyFloats, labels: Labels, *, seed: int = 0) -> ClassDistance:
    """The distance learned from training features (images, width) and labels (images,).

    At most 5,000 images become references, the same number of each class as far as it has them. The axes are the first
    128 right singular vectors of their features of length 1, by which cosines change least (Eckart and Young 1936).
    """
    unit = unit_length(features[spread_over_classes(labels, MOST_REFERENCES, seed=seed)])
    _, _, axes = randomized_svd(unit, min(AXES, *unit.shape), random_state=seed)
    return ClassDistance(axes.T.astype(np.float32), (unit @ axes.T).astype(np.float16))


def spread_over_classes(labels: Labels, most: int, *, seed: int = 0) -> NDArray[np.int64]:
    """The places of at most so many images, drawn at random, the same number of each class as far as it has them."""
    order = np.random.default_rng(seed).permutation(len(labels))
    turn = pd.Series(labels[order]).groupby(labels[order]).cumcount().to_numpy()
    places: NDArray[np.int64] = order[np.argsort(turn, kind="stable")[:most]]
    return places


def unit_length(features: AnyFloats) -> NDArray[np.float32]:
    """Features (images, width), each image's divided by their length; zeros stay."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    unit: NDArray[np.float32] = (features / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32)
    return unit


def threshold(scores: AnyFloats, kept: float = KEPT) -> float:
    """The largest threshold that at least a share `kept` of the validation images reach (score >= threshold: known).

    It is one of the scores (images,), at least one, without interpolation. Of n validation images that many reach
    k = ceil(kept * n). Further images of the same kind reach it with probability k / (n + 1), the average over draws of
    validation images: for 95 % of 200, 94.5 %. In a single draw that share has a Beta(k, n + 1 - k) distribution, whose
    standard deviation is 1.6 points for 200 images and 0.7 for 1,000.

    Source: the order statistic of split conformal prediction, Vovk, Gammerman and Shafer 2005; Vovk 2012 for the Beta.
    """
    # The small number, since 0.07 * 100 is above 7 in floating point.
    reaching = max(int(np.ceil(kept * len(scores) - 1e-9)), 1)
    return float(np.partition(scores, len(scores) - reaching)[len(scores) - reaching])


def auroc_and_fpr(known: AnyFloats, unknown: AnyFloats, kept: float = KEPT) -> Separation:
    """How well scores (images,) of known and of unknown test images are apart.

    The false-positive rate is the share of unknown images that reach the threshold that keeps a share `kept` of the
    known ones; ties count as known there, and half in the area.
    """
    is_known = np.concatenate([np.ones(len(known)), np.zeros(len(unknown))])
    auroc = float(roc_auc_score(is_known, np.concatenate([known, unknown])))
    return Separation(auroc, float(np.mean(unknown >= threshold(known, kept))))
