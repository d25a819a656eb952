"""Every figure of one classifier on one part of the images, each with its 95 % interval, and the curves behind them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.metrics import precision_recall_curve, roc_curve

from linnaeus.evaluation.intervals import Floats, group_weights, percentile_interval, wilson_interval
from linnaeus.evaluation.metrics import Labels

Probabilities = NDArray[np.floating]
Share = tuple[int, int]  # images that are right, of how many

TOP = (1, 3, 5)
MOST_RESAMPLES, FEWEST_RESAMPLES = 2000, 200
# Images x classes x resamples that are worth computing: up to 25,000 images of 10 classes have all the resamples.
WORK = 500_000_000


@dataclass(frozen=True)
class Figures:
    """Figures by their name: `overall` holds arrays (resamples,), `by_class` arrays (classes, resamples)."""

    overall: dict[str, Floats]
    by_class: dict[str, Floats]

    def rows(self) -> Floats:
        """All of them, (figures, resamples), the overall ones first."""
        return np.vstack([*self.overall.values(), *self.by_class.values()])


@dataclass(frozen=True)
class Counts:
    """Weights of images by class, each (classes, resamples): true and predicted, predicted, and true."""

    hits: Floats
    called: Floats
    support: Floats


def measures(
    labels: Labels,
    probabilities: Probabilities,
    classes: Sequence[str],
    groups: NDArray[np.generic] | None = None,
    *,
    seed: int = 0,
) -> pd.DataFrame:
    """A row a figure: measure, class ("" for overall), value, low, high (95 %), interval ("wilson" or "bootstrap").

    labels (images,) number the columns of probabilities (images, classes); the predicted class is the first of the most
    probable ones. Figures are defined as in scikit-learn, those of a class one-vs-rest. A class that is never predicted
    has precision 0. One without images has no recall, F1, ROC AUC or average precision (NaN): macro precision, recall
    and F1 count it as 0; balanced accuracy, macro ROC AUC and macro average precision leave it out.

    Shares of images (top-k, weighted recall, recall and precision by class) have Wilson's interval, everything else the
    percentile interval of a bootstrap of groups (`groups` (images,), or each image alone). It has 2,000 resamples,
    fewer, down to 200, where images x classes pass 250,000. Wilson's interval knows nothing of groups; the bootstrap's
    is too narrow where a class has few images, and that of F1 has no width where no image is wrong.
    """
    point = weighted_figures(labels, probabilities, np.ones((1, len(labels))))
    low, high = _bootstrap(labels, probabilities, groups, seed)
    names = [(name, "") for name in point.overall] + [(name, label) for name in point.by_class for label in classes]
    table = pd.DataFrame(
        {"value": point.rows()[:, 0], "low": low, "high": high, "interval": "bootstrap"},
        index=pd.MultiIndex.from_tuples(names, names=["measure", "class"]),
    )
    shares = _shares(labels, probabilities, classes)
    table.loc[[*shares], ["low", "high"]] = [wilson_interval(*share) for share in shares.values()]
    table.loc[[*shares], "interval"] = "wilson"
    return table.reset_index()


def weighted_figures(labels: Labels, probabilities: Probabilities, weights: Floats) -> Figures:
    """The figures for each row of weights (resamples, images), how often each image counts; in shares, or nats.

    A resample that has none of a class's images says nothing of that class: its recall, F1, ROC AUC and average
    precision are NaN there, and macro means are those of the classes that it has; so a rare class does not lower them
    where the draw missed it. A class that is absent from the part itself counts as `measures` says, in all resamples.
    """
    draws = np.ascontiguousarray(weights.T)
    counts = _counts(labels, probabilities, draws)
    decided = _precision_recall_f1(counts)
    graded = _ranking(labels, probabilities, draws)
    known = np.where(counts.support > 0, 1.0, np.nan)
    present = np.mean(np.bincount(labels, minlength=probabilities.shape[1]) > 0)
    brier = _brier(labels, probabilities, draws)
    overall = {
        **_top(labels, probabilities, draws),
        "balanced_accuracy": _mean(decided["recall"] * known),
        **{f"{name}_macro": _mean(values * known) * present for name, values in decided.items()},
        **{f"{name}_weighted": _mean(values, counts.support) for name, values in decided.items()},
        **_agreement(counts),
        "log_loss": _log_losses(labels, probabilities) @ draws / draws.sum(axis=0),
        "brier": brier.sum(axis=0),
        **{
            f"{name}_{average}": _mean(values, weights)
            for name, values in graded.items()
            for average, weights in (("macro", None), ("weighted", counts.support))
        },
    }
    by_class = {
        "precision": decided["precision"],
        "recall": decided["recall"] * known,
        "f1": decided["f1"] * known,
        **graded,
        "brier": brier,
    }
    return Figures(overall, by_class)


def curves(labels: Labels, probabilities: Probabilities, classes: Sequence[str], *, points: int = 200) -> pd.DataFrame:
    """The points of each class's one-vs-rest curves: curve ("roc" or "precision-recall"), class, x, y, threshold.

    x and y are the false and true positive rates, or recall and precision; threshold is the lowest probability that
    counts as positive, infinite where none does. A curve has its ends and at most `points` points: what is left out
    lies within 1 / (points - 1) of the curve's length from what stays. Classes with none or all of the images have no
    curves.
    """
    tables = [
        _thinned(curve, points).assign(**{"class": name})
        for label, name in enumerate(classes)
        if 0 < np.count_nonzero(labels == label) < len(labels)
        for curve in _full_curves(labels == label, probabilities[:, label])
    ]
    columns = ["curve", "class", "x", "y", "threshold"]
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)


def _bootstrap(
    labels: Labels, probabilities: Probabilities, groups: NDArray[np.generic] | None, seed: int
) -> tuple[Floats, Floats]:
    resamples = int(np.clip(WORK // probabilities.size, FEWEST_RESAMPLES, MOST_RESAMPLES))
    chunks = group_weights(groups, len(labels), resamples=resamples, seed=seed)
    drawn = [weighted_figures(labels, probabilities, weights).rows() for weights in chunks]
    return percentile_interval(np.concatenate(drawn, axis=1).T)


def _shares(labels: Labels, probabilities: Probabilities, classes: Sequence[str]) -> dict[tuple[str, str], Share]:
    """What is a share of images, by measure and class."""
    once = np.ones((len(labels), 1))
    correct = {
        name: round(float((share * len(labels))[0])) for name, share in _top(labels, probabilities, once).items()
    }
    correct["recall_weighted"] = correct["top_1"]
    counts = _counts(labels, probabilities, once)
    of_class = {"precision": counts.called, "recall": counts.support}
    return {(name, ""): (count, len(labels)) for name, count in correct.items()} | {
        (name, label): (int(hits), int(images))
        for name, wholes in of_class.items()
        for label, hits, images in zip(classes, counts.hits[:, 0], wholes[:, 0], strict=True)
    }


def _ratio(numerator: Floats, denominator: Floats, otherwise: float = np.nan) -> Floats:
    whole = np.broadcast_to(denominator, numerator.shape)
    ratio = np.full(numerator.shape, otherwise)
    np.divide(numerator, whole, out=ratio, where=whole != 0)
    return ratio


def _mean(values: Floats, weights: Floats | None = None) -> Floats:
    """The mean over classes (rows) whose value is known."""
    known = np.where(np.isnan(values), 0.0, 1.0 if weights is None else weights)
    return _ratio((np.nan_to_num(values) * known).sum(axis=0), known.sum(axis=0))


def _counts(labels: Labels, probabilities: Probabilities, draws: Floats) -> Counts:
    classes = probabilities.shape[1]
    predicted = probabilities.argmax(axis=1)
    hits = np.flatnonzero(predicted == labels)
    return Counts(
        _sums(labels[hits], hits, draws, classes),
        _sums(predicted, np.arange(len(labels)), draws, classes),
        _sums(labels, np.arange(len(labels)), draws, classes),
    )


def _sums(rows: NDArray[np.int64], images: NDArray[np.int64], draws: Floats, count: int) -> Floats:
    """The weights of the images, added up by the row that each belongs to: (count, resamples)."""
    places = csr_array((np.ones(len(rows)), (rows, images)), shape=(count, len(draws)))
    sums: Floats = places @ draws
    return sums


def _precision_recall_f1(counts: Counts) -> dict[str, Floats]:
    """By class, 0 where nothing was predicted or nothing is there."""
    return {
        "precision": _ratio(counts.hits, counts.called, 0.0),
        "recall": _ratio(counts.hits, counts.support, 0.0),
        "f1": _ratio(2 * counts.hits, counts.called + counts.support, 0.0),
    }


def _agreement(counts: Counts) -> dict[str, Floats]:
    """Cohen's kappa, NaN where only one class is there and predicted; Matthews' correlation (Gorodkin 2004), then 0."""
    total, called, support = counts.support.sum(axis=0), counts.called, counts.support
    by_chance = (called * support).sum(axis=0)
    above_chance = counts.hits.sum(axis=0) * total - by_chance
    spread = (total**2 - (called**2).sum(axis=0)) * (total**2 - (support**2).sum(axis=0))
    return {
        "cohen_kappa": _ratio(above_chance, total**2 - by_chance),
        "matthews_correlation": _ratio(above_chance, np.sqrt(spread), 0.0),
    }


def _top(labels: Labels, probabilities: Probabilities, draws: Floats) -> dict[str, Floats]:
    """The share of images whose class is among the k most probable; of equals, the first come first, as in argmax."""
    classes = probabilities.shape[1]
    own = probabilities[np.arange(len(labels)), labels][:, None]
    is_earlier = np.arange(classes) < labels[:, None]
    ranks = ((probabilities > own) | ((probabilities == own) & is_earlier)).sum(axis=1)
    return {f"top_{k}": (ranks < k) @ draws / draws.sum(axis=0) for k in TOP if k == 1 or k < classes}


def _log_losses(labels: Labels, probabilities: Probabilities) -> Floats:
    """Of each image, in nats, its probability clipped by float64's precision as scikit-learn does."""
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    epsilon = np.finfo(np.float64).eps
    losses: Floats = -np.log(own.clip(epsilon, 1 - epsilon))
    return losses


def _brier(labels: Labels, probabilities: Probabilities, draws: Floats) -> Floats:
    """The mean squared error of each class's probability."""
    errors = ((column.astype(np.float64) - (labels == label)) ** 2 for label, column in enumerate(probabilities.T))
    means: Floats = np.stack([error @ draws for error in errors]) / draws.sum(axis=0)
    return means


def _ranking(labels: Labels, probabilities: Probabilities, draws: Floats) -> dict[str, Floats]:
    """ROC AUC and average precision by class, one-vs-rest; NaN without positives, the AUC also without negatives."""
    pairs = [_areas(labels == label, column, draws) for label, column in enumerate(probabilities.T)]
    roc_auc, average_precision = np.array(pairs).transpose(1, 0, 2)
    return {"roc_auc": roc_auc, "average_precision": average_precision}


def _areas(is_positive: NDArray[np.bool_], scores: NDArray[np.floating], draws: Floats) -> tuple[Floats, Floats]:
    """The area under the ROC curve, and the average precision, (resamples,) each.

    Both are sums over the scores that positives have: of the negatives below one, ties counting half; and of the
    precision at one. So images are added up between these scores first, which leaves few rows for everything else.
    """
    thresholds = np.unique(scores[is_positive])
    steps = len(thresholds)
    place = np.searchsorted(thresholds, scores, side="right") - 1
    positives, negatives = np.flatnonzero(is_positive), np.flatnonzero(~is_positive & (place >= 0))
    # Negatives that tie with threshold j are in row 2j, those above it and below the next one in row 2j + 1.
    rows = 2 * place[negatives] + (scores[negatives] > thresholds[place[negatives]])
    here = _sums(place[positives], positives, draws, steps)
    beyond = _from_the_top(_sums(rows, negatives, draws, 2 * steps))
    positive = here.sum(axis=0)
    negative = draws.sum(axis=0) - positive
    below = negative - (beyond[0::2] + beyond[1::2]) / 2
    found = _from_the_top(here)
    precision = _ratio(found, found + beyond[0::2], 0.0)
    return _ratio((here * below).sum(axis=0), positive * negative), _ratio((here * precision).sum(axis=0), positive)


def _from_the_top(rows: Floats) -> Floats:
    """The sum of each row and all after it."""
    return np.cumsum(rows[::-1], axis=0)[::-1]


def _full_curves(is_positive: NDArray[np.bool_], scores: NDArray[np.floating]) -> Iterator[pd.DataFrame]:
    false_rate, true_rate, thresholds = roc_curve(is_positive, scores)
    yield pd.DataFrame({"curve": "roc", "x": false_rate, "y": true_rate, "threshold": thresholds})
    precision, recall, thresholds = precision_recall_curve(is_positive, scores, drop_intermediate=True)
    thresholds = np.append(thresholds, np.inf)
    yield pd.DataFrame({"curve": "precision-recall", "x": recall, "y": precision, "threshold": thresholds})


def _thinned(curve: pd.DataFrame, points: int) -> pd.DataFrame:
    """The curve's ends, and the points that come next after equal steps along it."""
    steps = curve[["x", "y"]].diff().abs().sum(axis=1)
    walked = steps.cumsum().to_numpy()
    wanted = np.linspace(0, walked[-1], points - 1, endpoint=False)
    kept = np.append(np.searchsorted(walked, wanted), len(curve) - 1)
    return curve.iloc[np.unique(kept)]
