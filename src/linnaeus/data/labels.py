"""Likely wrong labels, and images unlike their class, from features that a pretrained network has made of them."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import sklearn
from cleanlab.count import num_label_issues
from cleanlab.rank import get_label_quality_scores
from numpy.typing import NDArray
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.preprocessing import StandardScaler

from linnaeus.progress import Progress, silent
from linnaeus.settings import LabelRecipe

DEFAULTS = LabelRecipe()
FEWEST_TO_JUDGE = 3  # images of a class that are no near-duplicates: one to judge, two to learn the class from
FEWEST_FOR_OUTLIERS = 10  # below that, a median and its deviation say little
NEIGHBOURS = 20
CLEARLY_ANOTHER = 0.25  # the label score at which another class has 0.5 more of the probability than the given one
# The variance of a logit that the probe's L2 penalty expects: C times the number of features, each of variance 1.
LOGIT_VARIANCE = 2.5
BLOCK_MIB = 128  # of distances at a time
SIGMA_OF_MAD = 1.4826  # of a normal distribution

Features = NDArray[np.float32]
Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


def out_of_fold_probabilities(
    features: Features,
    labels: Integers,
    groups: Integers | None = None,
    *,
    folds: int = DEFAULTS.folds,
    seed: int = DEFAULTS.seed,
    progress: Progress = silent,
) -> Floats:
    """The probability of each class for each image, (images, classes), by a probe that has not seen the image.

    The probe is the mean of a logistic regression and a vote of the 20 nearest images (cosine), both on standardised
    features. It is fitted on the other folds.

    features: (images, width). labels: 0 to classes - 1. groups: the same number for near-duplicates, which stay in one
    fold, since a copy with the same wrong label would vouch for it; None where there are none. A class with fewer
    images than `folds` lowers the number of folds. A class with fewer than three images, near-duplicates counted once,
    takes no part: its images have NaN everywhere, and its column is 0 for the others.
    """
    groups = np.arange(len(labels)) if groups is None else groups
    probabilities = np.full((len(labels), int(labels.max()) + 1), np.nan)
    rows = np.flatnonzero(np.isin(labels, _large_classes(labels, groups, FEWEST_TO_JUDGE)))
    classes = np.unique(labels[rows])
    if len(classes) < 2:
        return probabilities
    probabilities[rows] = 0
    inputs, given = _standardised(features[rows]), labels[rows]
    parts = [*_test_parts(given, groups[rows], folds, seed)]
    with progress("Judging labels", len(parts)) as advance, sklearn.config_context(working_memory=BLOCK_MIB):
        for is_test in parts:
            probe = _probe(inputs.shape[1], int((~is_test).sum())).fit(inputs[~is_test], given[~is_test])
            probabilities[np.ix_(rows[is_test], classes)] = probe.predict_proba(inputs[is_test])
            advance(1)
    return probabilities


def label_issues(probabilities: Floats, labels: Integers) -> pd.DataFrame:
    """How doubtful each label is: a row an image, in the order of the images.

    probabilities: (images, classes), from `out_of_fold_probabilities`.
    label_score: half of 1 + p(given) - p(the likeliest other class), 0 to 1; the lower, the more doubtful.
    suggested: the class with the highest probability. rank: 1 for the most doubtful label.
    is_label_issue: another class is suggested, and the label is among the N most doubtful ones, where N is confident
    learning's estimate of how many are wrong; or its score is below 0.25, since that estimate is too low where few are
    wrong. Where features cannot tell classes apart, images on their border are flagged as well. Images that were not
    judged (NaN) have a label_score of NaN, are no issue, keep their own class and rank last.

    Source: Northcutt, Jiang & Chuang 2021, Confident Learning, and Kuan & Mueller 2022, Model-agnostic label quality
    scoring (normalised margin), both by cleanlab. Its own default picks by self-confidence within pairs of classes;
    benchmarks/labels.py holds the two against each other.
    """
    score, suggested = np.full(len(labels), np.nan), labels.copy()
    is_judged = ~np.isnan(probabilities).any(axis=1)
    count = 0
    if is_judged.any():
        classes, given = np.unique(labels[is_judged], return_inverse=True)
        judged = probabilities[np.ix_(is_judged, classes)]
        score[is_judged] = get_label_quality_scores(given, judged, method="normalized_margin")
        suggested[is_judged] = classes[judged.argmax(axis=1)]
        count = num_label_issues(given, judged, estimation_method="off_diagonal_calibrated")
    rank = np.empty(len(labels), dtype=np.int64)
    rank[np.argsort(score, kind="stable")] = np.arange(1, len(labels) + 1)
    return pd.DataFrame(
        {
            "label_score": score,
            "is_label_issue": ((rank <= count) & (suggested != labels)) | (score < CLEARLY_ANOTHER),
            "suggested": suggested,
            "rank": rank,
        }
    )


def outlier_scores(
    features: Features,
    labels: Integers,
    groups: Integers | None = None,
    *,
    threshold: float = DEFAULTS.outlier_threshold,
) -> Floats:
    """How much each image is like its own class, 0 to 1; below 0.5 it is an outlier.

    It comes from the mean cosine distance (of standardised features) to the 20 nearest images of the class, without
    the image's own near-duplicates. That distance is 1 up to the class's median, and halves with every `threshold`
    robust standard deviations above it. Their size is the mean of the class's own and that of all classes, so that
    a small or uniform class does not make outliers of ordinary images.

    features: (images, width). labels: class indices. groups: the same number for near-duplicates. Classes with fewer
    than ten images, near-duplicates counted once, are not judged: NaN.

    Source: Kuan & Mueller 2022, Back to the Basics: Revisiting Out-of-Distribution Detection Baselines.
    """
    groups = np.arange(len(labels)) if groups is None else groups
    inputs = _standardised(features)
    excess, sigma = np.full(len(labels), np.nan), np.full(len(labels), np.nan)
    with sklearn.config_context(working_memory=BLOCK_MIB):
        for label in _large_classes(labels, groups, FEWEST_FOR_OUTLIERS):
            rows = np.flatnonzero(labels == label)
            distance = _neighbour_distance(inputs[rows], groups[rows])
            excess[rows] = distance - np.median(distance)
            sigma[rows] = _robust_sigma(excess[rows])
    is_judged = ~np.isnan(excess)
    if not is_judged.any():
        return excess
    sigma = (sigma + _robust_sigma(excess[is_judged])) / 2
    deviations = np.maximum(excess, 0) / np.maximum(sigma, np.finfo(np.float32).eps)
    scores: Floats = 0.5 ** (deviations / threshold)
    return scores


def _large_classes(labels: Integers, groups: Integers, fewest: int) -> Integers:
    """The classes with at least so many images, where near-duplicates count once."""
    pairs = np.unique(np.stack([labels, groups]), axis=1)
    classes, counts = np.unique(pairs[0], return_counts=True)
    return np.asarray(classes[counts >= fewest], dtype=np.int64)


def _standardised(features: Features) -> Features:
    standardised: Features = StandardScaler().fit_transform(np.asarray(features, dtype=np.float32))
    return standardised


def _test_parts(labels: Integers, groups: Integers, folds: int, seed: int) -> Iterator[NDArray[np.bool_]]:
    """Which images each fold judges: every image once, groups whole, classes shared out evenly."""
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    # Much faster than scikit-learn's StratifiedGroupKFold, which looks at every group on its own.
    smallest = np.unique(labels[first], return_counts=True)[1].min()
    splitter = StratifiedKFold(min(folds, int(smallest)), shuffle=True, random_state=seed)
    for _, test in splitter.split(first, labels[first]):
        yield np.isin(group, test)


def _probe(width: int, images: int) -> VotingClassifier:
    linear = LogisticRegression(C=LOGIT_VARIANCE / width, tol=1e-3, max_iter=1000)
    nearest = KNeighborsClassifier(min(NEIGHBOURS, images), metric="cosine", algorithm="brute")
    return VotingClassifier([("linear", linear), ("nearest", nearest)], voting="soft")


def _neighbour_distance(features: Features, groups: Integers) -> Floats:
    """The mean cosine distance to the nearest other groups, each represented by its first image."""
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    wanted = min(NEIGHBOURS, len(first) - 1)
    search = NearestNeighbors(n_neighbors=wanted + 1, metric="cosine", algorithm="brute").fit(features[first])
    distances, found = search.kneighbors(features)
    distances[found == group[:, None]] = np.inf
    nearest: Floats = np.sort(distances, axis=1)[:, :wanted].mean(axis=1, dtype=np.float64)
    return nearest


def _robust_sigma(excess: Floats) -> float:
    return SIGMA_OF_MAD * float(np.median(np.abs(excess)))
