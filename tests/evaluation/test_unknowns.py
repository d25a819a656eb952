from dataclasses import asdict
from math import exp, log
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from linnaeus.evaluation import unknowns as module
from linnaeus.evaluation.calibration import softmax
from linnaeus.evaluation.unknowns import (
    ClassDistance,
    auroc_and_fpr,
    energy,
    fit_class_distance,
    maximum_probability,
    threshold,
)

Floats = NDArray[np.float64]
WIDTH, CLASSES = 12, 4


def _clouds(images: int, seed: int) -> tuple[Floats, NDArray[np.int64]]:
    """A cloud a class, in directions of its own."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, images)
    return np.eye(CLASSES, WIDTH)[labels] * 6 + random.normal(0, 1, (images, WIDTH)), labels


def _fifth_cosine(image: Floats, references: Floats) -> float:
    return sorted(float(image @ other / np.linalg.norm(image) / np.linalg.norm(other)) for other in references)[-5]


def test_the_maximum_probability_is_that_of_the_likeliest_class() -> None:
    assert maximum_probability(np.array([[0.2, 0.8], [0.6, 0.4]])).tolist() == [0.8, 0.6]


def test_the_energy_is_the_logarithm_of_the_summed_exponentials_of_centred_logits() -> None:
    logits = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0], [-1.0, 0.0, 1.0]])
    of_first = log(exp(-1) + exp(0) + exp(1))
    assert energy(logits).tolist() == pytest.approx([of_first, log(3), of_first], abs=1e-12)


def test_the_energy_is_the_mean_of_minus_the_logarithms_of_the_probabilities() -> None:
    logits = np.random.default_rng(2).normal(0, 4, (50, 5))
    np.testing.assert_allclose(energy(logits), -np.log(softmax(logits)).mean(axis=1), atol=1e-12)


def test_both_of_two_classes_are_as_known_though_one_always_has_a_logit_of_0() -> None:
    assert energy(np.array([[0.0, 8.0]]))[0] == pytest.approx(energy(np.array([[0.0, -8.0]]))[0], abs=1e-12)


def test_the_energy_of_huge_logits_is_finite() -> None:
    assert energy(np.array([[1e4, 0.0], [-1e4, -1e4]], np.float32)).tolist() == pytest.approx([5e3, log(2)])


def test_the_distance_is_the_cosine_to_the_fifth_most_alike_training_image() -> None:
    features, labels = _clouds(40, 0)
    others = np.random.default_rng(1).normal(0, 3, (30, WIDTH))
    expected = [_fifth_cosine(image, features) for image in others]
    np.testing.assert_allclose(fit_class_distance(features, labels).score(others), expected, atol=1e-3)  # float16


def test_its_cosines_are_those_of_the_best_approximation_of_lower_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AXES", 4)
    features, labels = _clouds(60, 2)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    left, sizes, right = np.linalg.svd(unit, full_matrices=False)
    cosines = unit @ ((left[:, :4] * sizes[:4]) @ right[:4]).T
    expected = np.sort(cosines, axis=1)[:, -5]
    np.testing.assert_allclose(fit_class_distance(features, labels).score(features), expected, atol=2e-3)


def test_the_distance_tells_a_class_that_was_left_out() -> None:
    features, labels = _clouds(600, 3)
    is_known = labels < CLASSES - 1
    distance = fit_class_distance(features[is_known][::2], labels[is_known][::2])
    found = auroc_and_fpr(distance.score(features[is_known][1::2]), distance.score(features[~is_known]))
    assert found.auroc > 0.95


def test_what_lies_outside_all_training_images_is_unlike_them() -> None:
    features, labels = _clouds(100, 4)
    features[:, CLASSES:] = 0
    outside = np.zeros((1, WIDTH))
    outside[0, -1] = 1
    distance = fit_class_distance(features, labels)
    assert distance.score(outside)[0] == pytest.approx(0, abs=1e-3)
    assert distance.score(features).min() > 0.5


def test_the_distance_does_not_depend_on_the_length_of_features_nor_on_the_other_images() -> None:
    features, labels = _clouds(100, 5)
    distance = fit_class_distance(features, labels)
    scores = distance.score(features)
    np.testing.assert_allclose(distance.score(features[40:60] * 50), scores[40:60], atol=1e-6)


def test_blocks_do_not_change_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = _clouds(100, 6)
    distance = fit_class_distance(features, labels)
    scores = distance.score(features)
    monkeypatch.setattr(module, "BLOCK", 7)
    np.testing.assert_allclose(distance.score(features), scores, atol=1e-6)


def test_its_arrays_are_few_and_a_saved_one_scores_the_same(tmp_path: Path) -> None:
    features, labels = np.random.default_rng(7).normal(0, 1, (300, 200)).astype(np.float32), np.arange(300) % 3
    distance = fit_class_distance(features, labels)
    np.savez(tmp_path / "distance.npz", **asdict(distance))
    with np.load(tmp_path / "distance.npz") as arrays:
        again = ClassDistance(**arrays)
    assert sum(each.nbytes for each in asdict(distance).values()) == 200 * 128 * 4 + 300 * 128 * 2
    assert again.score(features).tolist() == distance.score(features).tolist()


def test_of_many_images_as_many_of_each_class_become_references_as_far_as_it_has_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST_REFERENCES", 24)
    labels = np.repeat([0, 1, 2], [100, 50, 4])
    distance = fit_class_distance(np.eye(3, WIDTH)[labels], labels)
    nearest = np.abs(distance.references @ distance.axes[:3].T).argmax(axis=1)
    assert np.bincount(nearest).tolist() == [10, 10, 4]


def test_the_distance_is_the_same_every_time() -> None:
    features, labels = np.random.default_rng(8).normal(0, 1, (300, 200)).astype(np.float32), np.arange(300) % 3
    first, second = fit_class_distance(features, labels), fit_class_distance(features, labels)
    assert np.array_equal(first.references, second.references)


def test_fewer_images_than_neighbours_and_features_of_zero_have_finite_scores() -> None:
    features, labels = np.array([[1, 0, 0], [0, 0, 0]], np.float32), np.arange(2)
    assert fit_class_distance(features, labels).score(features) == pytest.approx([0, 0], abs=1e-6)


@pytest.mark.parametrize(("kept", "lowest"), [(0.95, 1), (0.96, 0), (1.0, 0), (0.5, 10), (0.01, 19)])
def test_the_threshold_is_the_score_that_just_enough_images_reach(kept: float, lowest: int) -> None:
    scores = np.random.default_rng(0).permutation(20).astype(np.float64)
    found = threshold(scores, kept)
    assert found == lowest
    assert np.mean(scores >= found) >= kept
    assert np.mean(scores >= found + 1) < kept  # no larger score would do


def test_a_share_that_floating_point_makes_larger_asks_for_no_further_image() -> None:
    assert 0.07 * 100 > 7
    assert threshold(np.arange(100.0), 0.07) == 93


def test_ties_at_the_threshold_are_known() -> None:
    scores = np.array([0.5] * 5 + [0.9] * 5)
    assert threshold(scores, 0.6) == 0.5
    assert threshold(scores, 0.5) == 0.9


def test_other_images_reach_the_threshold_as_often_as_promised() -> None:
    random = np.random.default_rng(0)
    shares = np.array([1 - threshold(random.random(200)) for _ in range(2000)])
    assert shares.mean() == pytest.approx(190 / 201, abs=0.002)
    assert shares.std() == pytest.approx(0.016, abs=0.002)


def test_separation_is_that_of_the_roc_curve() -> None:
    random = np.random.default_rng(1)
    known, unknown = random.normal(1, 1, 400), random.normal(0, 1, 300)
    found = auroc_and_fpr(known, unknown)
    is_known, scores = np.array([1] * 400 + [0] * 300), np.concatenate([known, unknown])
    false, true, _ = roc_curve(is_known, scores, drop_intermediate=False)
    assert found.auroc == pytest.approx(np.trapezoid(true, false), abs=1e-12)
    assert found.false_positive_rate == pytest.approx(false[np.flatnonzero(true >= 0.95)[0]], abs=1e-12)


def test_separation_by_hand_counts_ties_as_known_and_half_in_the_area() -> None:
    found = auroc_and_fpr(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.0, 2.0]), kept=0.75)
    assert found.auroc == (4 + 2.5) / 8
    assert found.false_positive_rate == 0.5


def test_a_score_that_says_nothing_has_an_area_of_one_half() -> None:
    found = auroc_and_fpr(np.ones(10), np.ones(7))
    assert (found.auroc, found.false_positive_rate) == (0.5, 1.0)
