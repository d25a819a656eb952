from pathlib import Path

import numpy as np
import pytest

from linnaeus.errors import PredictionError
from linnaeus.evaluation.answering import (
    CALIBRATION_FILE,
    KNOWN_FILE,
    Answering,
    fit_answering,
    load_answering,
    save_answering,
)
from linnaeus.evaluation.inference import Outputs

CLASSES = 3


def outputs(images: int, seed: int, away: float = 0.0) -> tuple[Outputs, np.ndarray]:
    """Overconfident logits, and features around a corner a class, moved `away` from all of them."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, images)
    corners = np.eye(CLASSES, 8)[labels]
    features = corners + random.normal(0, 0.2, corners.shape) + away * np.eye(CLASSES + 1, 8)[CLASSES]
    logits = 6 * np.eye(CLASSES)[labels] + random.normal(0, 4, (images, CLASSES))
    return Outputs(logits.astype(np.float32), features.astype(np.float32)), labels


def fitted() -> Answering:
    (val, labels), (train, train_labels) = outputs(400, 0), outputs(300, 1)
    return fit_answering(val, labels, (train.features, train_labels))


def test_before_it_is_fitted_probabilities_are_those_of_the_logits_and_nothing_is_known(tmp_path: Path) -> None:
    answering, (found, _) = load_answering(tmp_path), outputs(5, 2)
    exponents = np.exp(found.logits.astype(float))
    np.testing.assert_allclose(answering.probabilities(found), exponents / exponents.sum(axis=1, keepdims=True))
    with pytest.raises(PredictionError, match="linnaeus evaluate"):
        answering.is_known(found, 0.95)


def test_overconfident_logits_are_cooled_and_keep_their_class() -> None:
    answering, (found, _) = fitted(), outputs(50, 3)
    assert answering.temperature > 1
    probabilities = answering.probabilities(found)
    assert (probabilities.argmax(axis=1) == found.logits.argmax(axis=1)).all()
    assert (probabilities.max(axis=1) < Answering().probabilities(found).max(axis=1)).all()


@pytest.mark.parametrize("score", ["distance", "energy", "maximum probability"])
def test_a_threshold_keeps_the_share_of_known_images_that_was_asked_for(score: str) -> None:
    answering, (found, _) = fitted(), outputs(2000, 4)
    for kept in (0.5, 0.95):
        assert answering.is_known(found, kept, score).mean() == pytest.approx(kept, abs=0.05)


def test_images_far_from_all_training_images_are_none_of_the_known_classes() -> None:
    answering, (found, _) = fitted(), outputs(200, 5, away=4.0)
    assert answering.is_known(found, 0.95).mean() < 0.05


def test_what_is_saved_answers_as_before(tmp_path: Path) -> None:
    answering, (found, _) = fitted(), outputs(100, 6)
    save_answering(answering, tmp_path)
    loaded = load_answering(tmp_path)
    np.testing.assert_array_equal(loaded.probabilities(found), answering.probabilities(found))
    for score in ("distance", "energy", "maximum probability"):
        np.testing.assert_array_equal(loaded.is_known(found, 0.9, score), answering.is_known(found, 0.9, score))


@pytest.mark.parametrize("name", [CALIBRATION_FILE, KNOWN_FILE])
def test_a_damaged_file_is_told_and_never_passed_over(name: str, tmp_path: Path) -> None:
    save_answering(fitted(), tmp_path)
    (tmp_path / name).write_bytes(b"{ not this")
    with pytest.raises(PredictionError, match="damaged"):
        load_answering(tmp_path)
