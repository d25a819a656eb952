from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from torch import nn

from linnaeus.networks.classifier import build_classifier, load_classifier, save_classifier
from linnaeus.networks.head import NearestNeighbours, build_head
from linnaeus.recipe_sections import TransferRecipe
from linnaeus.settings import CleanRecipe
from linnaeus.training import fitted_heads as module
from linnaeus.training.fit import HISTORY_COLUMNS, Fitted
from linnaeus.training.fitted_heads import NEIGHBOURS, REGULARISATIONS, Features, fit_neighbours, fit_probe

WIDTH = 6


def _features(images: int, classes: int, seed: int, noise: float = 1.5) -> Features:
    """Clouds around a corner each, with features of very different sizes."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, images)
    centres = np.eye(classes, WIDTH) * 2
    inputs = (centres[labels] + random.normal(0, noise, (images, WIDTH))) * 10.0 ** np.arange(WIDTH) + 3
    return Features(inputs.astype(np.float32), labels)


def _probe(train: Features, val: Features, weights: NDArray[np.float32] | None = None) -> tuple[nn.Sequential, Fitted]:
    head = build_head(WIDTH, (), (), int(train.labels.max()) + 1)
    return head, fit_probe(head, train, val, weights=weights)


def _shares(head: nn.Module, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.inference_mode():
        shares: NDArray[np.float32] = head(torch.from_numpy(inputs)).softmax(dim=1).numpy()
    return shares


def _regression(train: Features, strength: float, weights: NDArray[np.float32] | None = None) -> LogisticRegression:
    class_weight = None if weights is None else dict(enumerate(weights.tolist()))
    model = LogisticRegression(C=strength, max_iter=5000, tol=1e-8, class_weight=class_weight)
    return model.fit(*_standardised(train, train))


def _standardised(part: Features, train: Features) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    wide = train.inputs.astype(np.float64)
    return (part.inputs - wide.mean(axis=0)) / wide.std(axis=0), part.labels


def _chosen(fitted: Fitted) -> dict[str, Any]:
    (row,) = fitted.history[fitted.history["epoch"] == fitted.best_epoch].to_dict("records")
    return {str(name): value for name, value in row.items()}


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("weights", [None, np.array([0.5, 1.5, 1.0], np.float32)])
def test_a_probe_gives_the_probabilities_of_scikit_learn_s_regression_on_standardised_features(
    classes: int, weights: NDArray[np.float32] | None
) -> None:
    train, val = _features(90, classes, 0, noise=4), _features(60, classes, 1, noise=4)
    of_classes = None if weights is None else weights[:classes]
    head, fitted = _probe(train, val, of_classes)
    assert fitted.best_epoch < len(fitted.history)  # so that it is not simply the last
    strength = float(str(_chosen(fitted)["setting"]).removeprefix("C="))
    expected = _regression(train, strength, of_classes).predict_proba(_standardised(val, train)[0])
    np.testing.assert_allclose(_shares(head, val.inputs), expected, atol=2e-3)


def test_the_chosen_c_has_the_lowest_validation_loss_of_all() -> None:
    train, val = _features(40, 3, 0, noise=2), _features(200, 3, 1, noise=2)
    _, fitted = _probe(train, val)
    inputs, labels = _standardised(val, train)
    losses = [log_loss(labels, _regression(train, each).predict_proba(inputs)) for each in REGULARISATIONS]
    place = int(np.argmin(losses))
    assert 0 < place < len(REGULARISATIONS) - 1  # or the choice would show nothing
    assert fitted.best_epoch == place + 1
    assert _chosen(fitted)["setting"] == f"C={REGULARISATIONS[place]:g}"
    tried = len(fitted.history)
    np.testing.assert_allclose(fitted.history["val_loss"], losses[:tried], rtol=1e-3)


def test_no_more_is_tried_once_the_loss_has_risen_twice() -> None:
    train, val = _features(40, 3, 0, noise=4), _features(200, 3, 1, noise=4)
    losses = _probe(train, val)[1].history["val_loss"].to_numpy()
    assert len(losses) < len(REGULARISATIONS)
    assert (np.diff(losses)[-2:] > 0).all()
    assert not any((np.diff(losses)[place : place + 2] > 0).all() for place in range(len(losses) - 3))


@pytest.mark.parametrize("classes", [2, 3])
def test_the_history_has_the_columns_of_every_other_and_the_setting(classes: int) -> None:
    train, val = _features(60, classes, 0), _features(30, classes, 1)
    head, fitted = _probe(train, val)
    assert [*fitted.history.columns] == [*HISTORY_COLUMNS, "setting"]
    assert [*fitted.history["epoch"]] == [*range(1, len(fitted.history) + 1)]
    assert fitted.history["learning_rate"].isna().all()
    assert (fitted.history["seconds"] > 0).all()
    for part, prefix in ((train, ""), (val, "val_")):
        shares = _shares(head, part.inputs)
        assert _chosen(fitted)[f"{prefix}accuracy"] == pytest.approx((shares.argmax(axis=1) == part.labels).mean())
        loss = -np.log(shares[np.arange(len(shares)), part.labels]).mean()
        assert _chosen(fitted)[f"{prefix}loss"] == pytest.approx(loss, rel=1e-3)


def test_class_weights_move_the_probe_s_decision_towards_the_heavier_class() -> None:
    train, val = _features(60, 2, 0, noise=4), _features(60, 2, 1, noise=4)
    shares = []
    for weights in ([1.8, 0.2], [0.2, 1.8]):
        head, _ = _probe(train, val, np.array(weights, np.float32))
        shares.append(float(_shares(head, val.inputs).argmax(axis=1).mean()))
    assert shares[0] < 0.3
    assert shares[1] > 0.7


def test_a_feature_that_is_always_the_same_does_no_harm() -> None:
    train, val = _features(60, 2, 0), _features(30, 2, 1)
    for part in (train, val):
        part.inputs[:, 2] = 7
    head, fitted = _probe(train, val)
    assert np.isfinite(_shares(head, val.inputs)).all()
    assert fitted.history["val_loss"].notna().all()


def test_a_probe_is_the_same_every_time() -> None:
    train, val = _features(60, 3, 0), _features(30, 3, 1)
    first, second = _probe(train, val)[0], _probe(train, val)[0]
    assert all(torch.equal(one, other) for one, other in zip(first.parameters(), second.parameters(), strict=True))


# Four training images in two directions (the class by its label); three to validate on.
TINY = Features(np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], np.float32), np.array([0, 0, 1, 1]))
TINY_VAL = Features(np.array([[2, 0.1], [0.1, 3], [0.9, 1]], np.float32), np.array([0, 1, 1]))


def _votes(direction: NDArray[np.float32], train: Features, count: int) -> NDArray[np.float64]:
    """By hand: the shares of exp(cosine / 0.07) of the nearest images."""
    unit = train.inputs / np.linalg.norm(train.inputs, axis=1, keepdims=True)
    cosines = unit.astype(float) @ (direction / np.linalg.norm(direction))
    nearest = np.argsort(-cosines)[:count]
    votes = np.zeros(2)
    np.add.at(votes, train.labels[nearest], np.exp(cosines[nearest] / 0.07))
    shares: NDArray[np.float64] = votes / votes.sum()
    return shares


def test_neighbours_vote_as_by_hand_and_their_number_is_chosen_on_validation() -> None:
    head = NearestNeighbours(2, 2)
    fitted = fit_neighbours(head, TINY, TINY_VAL)
    assert [*fitted.history["setting"]] == ["1 neighbours", "3 neighbours"]
    for count, loss, accuracy in fitted.history[["setting", "val_loss", "val_accuracy"]].itertuples(index=False):
        shares = np.array([_votes(each, TINY, int(count.split()[0])) for each in TINY_VAL.inputs])
        assert accuracy == (shares.argmax(axis=1) == TINY_VAL.labels).mean()
        assert loss == pytest.approx(-np.log(shares[range(3), TINY_VAL.labels]).mean(), abs=1e-4)
    assert fitted.best_epoch == fitted.history["val_loss"].argmin() + 1
    count = (1, 3)[fitted.best_epoch - 1]
    assert int(head.count) == count
    expected = [_votes(each, TINY, count) for each in TINY_VAL.inputs]
    np.testing.assert_allclose(_shares(head, TINY_VAL.inputs), expected, atol=1e-4)


def test_more_neighbours_are_taken_where_single_ones_mislead() -> None:
    train, val = _features(150, 2, 0, noise=4), _features(100, 2, 1, noise=4)
    flat = [Features((part.inputs - 3) / 10.0 ** np.arange(WIDTH), part.labels) for part in (train, val)]
    flat = [Features(part.inputs.astype(np.float32), part.labels) for part in flat]
    head = NearestNeighbours(WIDTH, 2)
    fitted = fit_neighbours(head, flat[0], flat[1])
    assert int(head.count) == NEIGHBOURS[fitted.best_epoch - 1] > 5
    assert [*fitted.history.columns] == [*HISTORY_COLUMNS, "setting"]
    assert len(fitted.history) == len(NEIGHBOURS)


def test_no_training_image_votes_for_itself() -> None:
    random = np.random.default_rng(0)
    inputs = random.normal(0, 1, (400, 5)).astype(np.float32)
    labels = random.integers(0, 2, 400)  # which nothing tells
    fitted = fit_neighbours(NearestNeighbours(5, 2), Features(inputs, labels), Features(inputs, labels))
    accuracies = fitted.history.set_index("setting").loc["1 neighbours"]
    assert accuracies["val_accuracy"] == 1  # here each finds itself
    assert 0.35 < accuracies["accuracy"] < 0.65


def test_of_many_training_images_some_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    train, val = _features(300, 2, 0), _features(20, 2, 1)
    whole = fit_neighbours(NearestNeighbours(WIDTH, 2), train, val).history
    monkeypatch.setattr(module, "MOST_SELF_JUDGED", 100)
    part = fit_neighbours(NearestNeighbours(WIDTH, 2), train, val).history
    assert (part["accuracy"] * 100 % 1 < 1e-9).all()
    assert part["accuracy"].sub(whole["accuracy"]).abs().max() < 0.15
    pd.testing.assert_series_equal(part["val_loss"], whole["val_loss"])


@pytest.mark.parametrize("head", ["probe", "knn"])
def test_a_fitted_head_is_saved_and_loaded_with_its_classifier(head: str, tmp_path: Path) -> None:
    model = TransferRecipe.model_validate(
        {"backbone": "test_resnet", "weights": "random", "input_size": 32, "head": head}
    )
    classifier = build_classifier(model, ("a", "b"), CleanRecipe(size=32), pretrained=False)
    images = torch.rand(24, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features = Features(classifier.body(images).numpy(), np.arange(24) % 2)
    if isinstance(classifier.head, NearestNeighbours):
        fit_neighbours(classifier.head, features, features)
    else:
        assert isinstance(classifier.head, nn.Sequential)
        fit_probe(classifier.head, features, features)
    save_classifier(classifier, tmp_path)
    with torch.inference_mode():
        assert torch.equal(load_classifier(tmp_path)(images), classifier(images))
