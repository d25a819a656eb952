"""Heads that are fitted to features at once: a logistic regression, and nearest neighbours."""

import warnings
from collections.abc import Iterator
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from torch import nn

from linnaeus.networks.head import NearestNeighbours
from linnaeus.progress import Progress, silent
from linnaeus.training.fit import HISTORY_COLUMNS, Fitted

REGULARISATIONS = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)  # C, the strongest first
NEIGHBOURS = (1, 3, 5, 10, 20, 50, 100)
MOST_ITERATIONS = 300
MOST_SELF_JUDGED = 2000  # training images whose own neighbours give the training accuracy


class Features(NamedTuple):
    """`inputs` (images, width) float32 and `labels` (images,) of one part."""

    inputs: NDArray[np.float32]
    labels: NDArray[np.int64]


def fit_probe(
    head: nn.Sequential, train: Features, val: Features, *, weights: NDArray[np.float32] | None = None,
    progress: Progress = silent,
) -> Fitted:  # fmt: skip
    """Make the head's one linear layer a logistic regression on standardised features; `epoch` counts the C tried.

    From the strongest regularisation on, each starting from the one before, until the validation loss has risen twice;
    the C with the lowest is kept. weights: a loss weight for each class.
    """
    layer = head[-1]
    assert isinstance(layer, nn.Linear)
    mean, scale = train.inputs.mean(axis=0), train.inputs.std(axis=0) + 1e-6
    standard = Features((train.inputs - mean) / scale, train.labels)
    standard_val = Features((val.inputs - mean) / scale, val.labels)
    class_weight = None if weights is None else dict(enumerate(weights.tolist()))
    rows: list[dict[str, Any]] = []
    best = float("inf")
    with progress("Fitting the probe", len(REGULARISATIONS)) as advance:
        for model in _regressions(standard, class_weight):
            started = perf_counter()
            row = {"setting": f"C={model.C:g}"} | _judged(model.predict_proba(standard.inputs), train.labels, "")
            row |= _judged(model.predict_proba(standard_val.inputs), val.labels, "val_")
            rows.append(row | {"seconds": perf_counter() - started + model.seconds_})
            advance(1)
            losses = [each["val_loss"] for each in rows]
            if losses[-1] < best:
                best = losses[-1]
                _set_layer(layer, model, mean, scale)
            if len(losses) > 2 and losses[-1] > losses[-2] > losses[-3]:
                break
    return _fitted(rows)


def fit_neighbours(head: NearestNeighbours, train: Features, val: Features, *, progress: Progress = silent) -> Fitted:
    """Give the head the training features; the number of neighbours with the lowest validation loss is kept.

    `epoch` counts the numbers tried. The training accuracy is that of images judged by all others (some of them, where
    there are many).
    """
    references, labels = torch.tensor(train.inputs), torch.tensor(train.labels)
    judged = np.random.default_rng(0).permutation(len(labels))[:MOST_SELF_JUDGED]
    rows: list[dict[str, Any]] = []
    counts = [count for count in NEIGHBOURS if count < len(labels)] or [1]
    with progress("Finding neighbours", len(counts)) as advance, torch.inference_mode():
        for count in counts:
            started = perf_counter()
            head.remember(references, labels, count)
            row = {"setting": f"{count} neighbours"} | _judged(_shares(head, val.inputs), val.labels, "val_")
            row |= _judged(_shares_without_itself(head, judged), train.labels[judged], "")
            rows.append(row | {"seconds": perf_counter() - started})
            advance(1)
    fitted = _fitted(rows)
    head.remember(references, labels, counts[fitted.best_epoch - 1])
    return fitted


def _regressions(train: Features, class_weight: dict[int, float] | None) -> Iterator[LogisticRegression]:
    """A fitted model for each C; they are the same object, which each fit goes on from."""
    model = LogisticRegression(max_iter=MOST_ITERATIONS, warm_start=True, class_weight=class_weight)
    for strength in REGULARISATIONS:
        started = perf_counter()
        model.C = strength
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the next C goes on from here
            model.fit(train.inputs, train.labels)
        model.seconds_ = perf_counter() - started
        yield model


def _set_layer(
    layer: nn.Linear, model: LogisticRegression, mean: NDArray[np.float32], scale: NDArray[np.float32]
) -> None:
    """Give a layer the model's weights, with the standardisation multiplied in."""
    weight, bias = np.asarray(model.coef_, np.float64), np.asarray(model.intercept_, np.float64)
    if len(weight) == 1:  # of two classes, scikit-learn keeps the second's
        weight, bias = np.concatenate([0 * weight, weight]), np.concatenate([0 * bias, bias])
    weight = weight / scale
    bias = bias - weight @ mean
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.copy_(torch.from_numpy(bias))


def _shares(head: NearestNeighbours, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    batches = torch.split(torch.tensor(inputs), 512)
    shares: NDArray[np.float32] = torch.cat([head(batch).softmax(dim=1) for batch in batches]).numpy()
    return shares


def _shares_without_itself(head: NearestNeighbours, judged: NDArray[np.int64]) -> NDArray[np.float32]:
    """The votes of the others for some of the references themselves."""
    own = torch.from_numpy(judged)
    cosines = head.references[own] @ head.references.T
    cosines[torch.arange(len(own)), own] = -2.0
    shares: NDArray[np.float32] = head.log_votes(cosines).softmax(dim=1).numpy()
    return shares


def _judged(shares: NDArray[np.float32], labels: NDArray[np.int64], prefix: str) -> dict[str, Any]:
    classes = np.arange(shares.shape[1])
    normal = shares.astype(np.float64)
    normal /= normal.sum(axis=1, keepdims=True)
    loss = float(log_loss(labels, normal, labels=classes))
    return {f"{prefix}loss": loss, f"{prefix}accuracy": float((shares.argmax(axis=1) == labels).mean())}


def _fitted(rows: list[dict[str, Any]]) -> Fitted:
    history = pd.DataFrame(rows)
    history = history.assign(epoch=range(1, len(rows) + 1), learning_rate=np.nan)
    return Fitted(history[[*HISTORY_COLUMNS, "setting"]], int(history["val_loss"].argmin()) + 1)
