from math import exp, log, pi, sqrt

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.stats import foldnorm

from linnaeus.evaluation.calibration import (
    COLDEST,
    HOTTEST,
    expected_calibration_error,
    fit_temperature,
    reliability,
    softmax,
)
from linnaeus.evaluation.intervals import wilson_interval

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def _drawn(logits: Floats, temperature: float, seed: int) -> Integers:
    """Labels that softmax(logits / temperature) is right about."""
    shares = softmax(logits, temperature).cumsum(axis=1)
    labels: Integers = (np.random.default_rng(seed).random((len(logits), 1)) > shares).sum(axis=1)
    return labels.clip(0, logits.shape[1] - 1)


def _logits(images: int, classes: int = 4, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(0, 3, (images, classes))


def _loss(logits: Floats, labels: Integers, temperature: float) -> float:
    losses = []
    for row, label in zip(logits, labels, strict=True):
        losses.append(log(sum(exp((each - row[label]) / temperature) for each in row)))
    return sum(losses) / len(losses)


def _two_class(confidence: list[float]) -> Floats:
    return np.array([[each, 1 - each] for each in confidence])


def test_softmax_is_exponentials_over_their_sum() -> None:
    expected = np.array([[exp(0.5), exp(1.0), exp(-1.5)]]) / (exp(0.5) + exp(1.0) + exp(-1.5))
    np.testing.assert_allclose(softmax(np.array([[1.0, 2.0, -3.0]]), 2.0), expected, rtol=1e-14)


def test_softmax_of_huge_logits_is_finite_and_sums_to_1() -> None:
    found = softmax(np.array([[1e5, 0, -1e5], [-1e5, -1e5, -1e5]], np.float32), 0.1)
    assert str(found.dtype) == "float64"
    np.testing.assert_allclose(found, np.array([[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]]), atol=1e-15)


@pytest.mark.parametrize("planted", [0.4, 1.0, 2.5])
def test_a_planted_temperature_is_found(planted: float) -> None:
    logits = _logits(8000)
    assert fit_temperature(logits, _drawn(logits, planted, seed=1)) == pytest.approx(planted, rel=0.05)


def test_no_temperature_nearby_has_a_lower_loss() -> None:
    logits = _logits(200)
    labels = _drawn(logits, 1.7, seed=2)
    found = fit_temperature(logits, labels)
    lowest = _loss(logits, labels, found)
    assert all(lowest < _loss(logits, labels, found * factor) for factor in (0.5, 0.9, 0.999, 1.001, 1.1, 2))


def test_two_classes_have_the_temperature_of_the_closed_form() -> None:
    labels = np.array([0, 0, 0, 1])  # three in four right, at a margin of 5: sigmoid(5 / T) = 3 / 4
    assert fit_temperature(np.tile([5.0, 0.0], (4, 1)), labels) == pytest.approx(5 / log(3), abs=1e-9)


@pytest.mark.parametrize("temperature", [COLDEST, 0.3, 1.0, 7.0, HOTTEST])
def test_a_temperature_never_changes_the_predicted_class(temperature: float) -> None:
    logits = np.concatenate([_logits(500), _logits(500) * 100]).astype(np.float32)
    assert (softmax(logits, temperature).argmax(axis=1) == logits.argmax(axis=1)).all()


def test_where_validation_cannot_tell_the_temperature_is_1() -> None:
    logits = _logits(20)
    assert fit_temperature(logits[:0], np.zeros(0, np.int64)) == 1.0
    assert fit_temperature(logits, logits.argmax(axis=1)) == 1.0
    assert fit_temperature(np.zeros((20, 3)), np.zeros(20, np.int64)) == 1.0


def test_the_temperature_stays_within_its_bounds() -> None:
    logits = _logits(20)
    assert fit_temperature(logits, logits.argmin(axis=1)) == HOTTEST
    nearly_tied = np.tile([1e-6, 0.0], (20, 1))
    assert fit_temperature(nearly_tied, np.array([0] * 19 + [1])) == COLDEST


def test_the_table_is_that_of_a_loop_over_the_sorted_images() -> None:
    probabilities = softmax(_logits(157))
    labels = _drawn(_logits(157), 1.5, seed=3)
    order = sorted(range(157), key=lambda image: probabilities[image].max())
    rows: list[tuple[float, ...]] = []
    for number in range(15):
        chosen = [image for rank, image in enumerate(order) if int((rank + 0.5) * 15 / 157) == number]
        right = [int(probabilities[image].argmax()) == labels[image] for image in chosen]
        confidence = [float(probabilities[image].max()) for image in chosen]
        interval = wilson_interval(sum(right), len(chosen))
        rows.append((len(chosen), sum(confidence) / len(chosen), sum(right) / len(chosen), *interval))
    found = reliability(labels, probabilities)
    assert [*found.columns] == ["images", "confidence", "accuracy", "low", "high"]
    np.testing.assert_allclose(found.to_numpy(np.float64), np.array(rows), atol=1e-12)
    assert set(found["images"]) == {10, 11}


@pytest.mark.parametrize(("images", "bins"), [(1, 1), (9, 1), (19, 1), (20, 2), (149, 14), (150, 15), (1000, 15)])
def test_there_are_fewer_bins_where_there_are_few_images(images: int, bins: int) -> None:
    found = reliability(np.zeros(images, np.int64), softmax(_logits(images)))
    assert len(found) == bins
    assert found["images"].sum() == images


def test_equal_confidences_share_a_bin_whatever_the_order() -> None:
    confidence = [0.99] * 30 + [0.6, 0.7, 0.8] * 5 + [0.9] * 5
    labels = np.arange(50) % 3 % 2
    found = reliability(labels, _two_class(confidence))
    assert found["images"].sum() == 50
    assert found["confidence"].is_monotonic_increasing
    assert found["images"].iloc[-1] == 30
    shuffled = np.random.default_rng(0).permutation(50)
    pd.testing.assert_frame_equal(found, reliability(labels[shuffled], _two_class(confidence)[shuffled]))


def test_the_same_confidence_everywhere_is_one_bin() -> None:
    found = reliability(np.array([0] * 30 + [1] * 10), _two_class([0.9] * 40))
    assert found["images"].tolist() == [40]
    assert found["accuracy"].tolist() == [0.75]


def test_the_errors_are_the_closed_forms_of_two_bins() -> None:
    # Ten at 0.6 of which five are right, ten at 0.9 of which all are.
    labels = np.array([0] * 5 + [1] * 5 + [0] * 10)
    found = expected_calibration_error(reliability(labels, _two_class([0.6] * 10 + [0.9] * 10)))
    assert found.ece == pytest.approx(0.5 * 0.1 + 0.5 * 0.1, abs=1e-9)
    scatter = sqrt(0.5 * 0.5 / 10)
    ratio = 0.1 / scatter
    # E|x| by integrating |x| of the normal distribution numerically.
    steps = np.linspace(-10, 10, 2_000_001)
    density = np.exp(-(steps**2) / 2) / sqrt(2 * pi)
    once_more = scatter * float(np.sum(np.abs(steps + ratio) * density)) * (steps[1] - steps[0])
    assert found.ece_debiased == pytest.approx(2 * 0.1 - (0.5 * once_more + 0.5 * 0.1), abs=1e-9)


def test_the_errors_are_those_of_a_loop_with_scipy_s_folded_normal() -> None:
    logits = _logits(400)
    table = reliability(_drawn(logits, 3.0, seed=4), softmax(logits))
    ece = scattered = 0.0
    for row in table.itertuples():
        weight = float(row.images) / 400  # type: ignore[arg-type]
        distance = abs(float(row.confidence) - float(row.accuracy))  # type: ignore[arg-type]
        scatter = sqrt(float(row.accuracy) * (1 - float(row.accuracy)) / float(row.images))  # type: ignore[arg-type]
        ece += weight * distance
        scattered += weight * (foldnorm.mean(distance / scatter, scale=scatter) if scatter else distance)
    found = expected_calibration_error(table)
    assert found.ece == pytest.approx(ece, abs=1e-9)
    assert found.ece_debiased == pytest.approx(2 * ece - scattered, abs=1e-9)
    assert 0 < found.ece_debiased < found.ece


def test_of_perfect_calibration_the_debiased_error_leaves_about_three_fifths() -> None:
    logits = _logits(1000) / 2
    found = [expected_calibration_error(reliability(_drawn(logits, 1.0, seed), softmax(logits))) for seed in range(25)]
    plain, debiased = np.mean([[each.ece, each.ece_debiased] for each in found], axis=0)
    assert 0.02 < plain < 0.06
    assert debiased < 0.65 * plain


def test_of_gross_overconfidence_the_debiased_error_stays_near_the_true_one() -> None:
    confidence = _two_class([0.95] * 2000 + [0.9] * 2000)
    labels = np.random.default_rng(0).random(4000) > 0.7  # right in seven of ten
    found = expected_calibration_error(reliability(labels.astype(np.int64), confidence))
    assert found.ece_debiased == pytest.approx(0.225, abs=0.02)


def test_the_debiased_error_is_never_negative() -> None:
    labels = np.array([0] * 8 + [1] * 2)  # exactly as confident as right, and so 2 * 0 minus the scatter
    found = expected_calibration_error(reliability(labels, _two_class([0.8] * 10)))
    assert found.ece == pytest.approx(0, abs=1e-12)
    assert found.ece_debiased == 0


def test_a_temperature_that_fits_lowers_the_error_on_other_images() -> None:
    logits = _logits(4000)
    labels = _drawn(logits, 3.0, seed=5)
    temperature = fit_temperature(logits[:2000], labels[:2000])
    errors = [
        expected_calibration_error(reliability(labels[2000:], softmax(logits[2000:], each))).ece
        for each in (1.0, temperature)
    ]
    assert errors[1] < errors[0] / 3
