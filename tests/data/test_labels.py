from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
from cleanlab.count import num_label_issues
from numpy.typing import NDArray

from linnaeus.data.labels import label_issues, out_of_fold_probabilities, outlier_scores
from linnaeus.progress import Advance

WIDTH = 8


def _blobs(*sizes: int, spread: float = 0.3, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features and labels of classes around centres that are a distance of 1.4 or more apart."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    features = np.eye(len(sizes), WIDTH)[labels] + spread * random.standard_normal((len(labels), WIDTH))
    return features.astype(np.float32), labels


def _judged(
    features: NDArray[np.float32], labels: NDArray[np.int64], groups: NDArray[np.int64] | None = None
) -> pd.DataFrame:
    return label_issues(out_of_fold_probabilities(features, labels, groups), labels)


def test_planted_wrong_labels_are_flagged_with_their_true_class_suggested() -> None:
    features, labels = _blobs(40, 40, 40, spread=0.15)
    planted = np.array([3, 17, 45, 60, 81, 110])
    given = labels.copy()
    given[planted] = (given[planted] + 1) % 3
    table = _judged(features, given)
    assert {*np.flatnonzero(table["is_label_issue"])} == {*planted}
    assert [*table["suggested"]] == [*labels]
    assert {*table.loc[planted, "rank"]} == {1, 2, 3, 4, 5, 6}


def test_two_classes_are_enough() -> None:
    features, labels = _blobs(40, 40, spread=0.15)
    planted = np.array([4, 9, 30, 50, 61, 79])
    given = labels.copy()
    given[planted] = 1 - given[planted]
    table = _judged(features, given)
    assert {*table.loc[planted, "rank"]} == {1, 2, 3, 4, 5, 6}
    flagged = {*np.flatnonzero(table["is_label_issue"])}
    assert flagged
    assert flagged <= {*planted}


def test_where_every_label_is_right_none_is_flagged() -> None:
    features, labels = _blobs(30, 30, 30, spread=0.15)
    table = _judged(features, labels)
    assert not table["is_label_issue"].any()
    assert (table["label_score"] > 0.5).all()


def test_each_image_s_probabilities_are_one_in_sum() -> None:
    features, labels = _blobs(20, 20, 20)
    probabilities = out_of_fold_probabilities(features, labels)
    assert probabilities.shape == (60, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def test_labels_without_meaning_are_not_learnt_by_heart() -> None:
    features, labels = _blobs(40, 40, 40)
    meaningless = np.random.default_rng(1).permutation(labels)
    guesses = out_of_fold_probabilities(features, meaningless).argmax(axis=1)
    assert (guesses == meaningless).mean() < 0.5  # a probe that had seen the image would repeat its label


def test_copies_that_share_a_wrong_label_are_found_once_they_are_one_group() -> None:
    features, labels = _blobs(40, 40, 40, spread=0.15)
    copies = np.repeat(features[[0]], 25, axis=0)
    features = np.concatenate([features, copies])
    given = np.concatenate([labels, np.full(25, 2)])  # copies of an image of class 0
    groups = np.concatenate([np.arange(120), np.zeros(25, dtype=np.int64)])
    assert (out_of_fold_probabilities(features, given)[120:, 2] > 0.5).all()
    assert (out_of_fold_probabilities(features, given, groups)[120:, 0] > 0.5).all()


def test_groups_may_be_numbered_in_any_way() -> None:
    features, labels = _blobs(20, 20, 20)
    groups = np.arange(60) // 2
    first = out_of_fold_probabilities(features, labels, groups)
    np.testing.assert_array_equal(first, out_of_fold_probabilities(features, labels, groups * 7 + 100))


def test_a_class_of_fewer_images_than_folds_is_judged_with_fewer_folds() -> None:
    features, labels = _blobs(30, 30, 3, spread=0.1)
    totals: list[int] = []

    @contextmanager
    def noted(description: str, total: int) -> Iterator[Advance]:
        totals.append(total)
        yield lambda steps: None

    assert not np.isnan(out_of_fold_probabilities(features, labels, folds=5, progress=noted)).any()
    assert totals == [3]


@pytest.mark.parametrize("tiny", [1, 2])
def test_a_class_of_one_or_two_images_is_not_judged_and_not_suggested(tiny: int) -> None:
    features, labels = _blobs(20, tiny, 20, spread=0.15)
    probabilities = out_of_fold_probabilities(features, labels)
    is_tiny = labels == 1
    assert np.isnan(probabilities[is_tiny]).all()
    assert (probabilities[~is_tiny, 1] == 0).all()
    table = label_issues(probabilities, labels)
    assert table.loc[is_tiny, "label_score"].isna().all()
    assert not table.loc[is_tiny, "is_label_issue"].any()
    assert [*table["suggested"]] == [*labels]
    assert {*table.loc[is_tiny, "rank"]} == {*range(41, 41 + tiny)}


def test_a_class_that_is_one_image_many_times_is_not_judged() -> None:
    features, labels = _blobs(20, 20, 20)
    groups = np.where(labels == 1, 20, np.arange(60))
    assert np.isnan(out_of_fold_probabilities(features, labels, groups)).all(axis=1).tolist() == [*(labels == 1)]


@pytest.mark.parametrize("sizes", [(20,), (20, 2), (1, 1)])
def test_without_two_classes_to_compare_nothing_is_judged(sizes: tuple[int, ...]) -> None:
    features, labels = _blobs(*sizes)
    table = _judged(features, labels)
    assert table["label_score"].isna().all()
    assert not table["is_label_issue"].any()
    assert [*table["suggested"]] == [*labels]


def test_the_seed_alone_decides() -> None:
    features, labels = _blobs(20, 20, 20)
    first = out_of_fold_probabilities(features, labels, seed=3)
    np.testing.assert_array_equal(first, out_of_fold_probabilities(features, labels, seed=3))
    assert not np.array_equal(first, out_of_fold_probabilities(features, labels, seed=4))


def test_the_label_score_is_the_margin_of_the_given_class() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.2, 0.8, 0.0]])
    table = label_issues(probabilities, np.array([0, 1, 2, 1]))
    np.testing.assert_allclose(table["label_score"], [0.75, 0.25, 0.65, 0.8])
    assert [*table["rank"]] == [3, 1, 2, 4]
    assert [*table["suggested"]] == [0, 0, 2, 1]


def test_the_most_doubtful_are_flagged_and_no_more_than_confident_learning_counts() -> None:
    features, labels = _blobs(60, 60, spread=0.6)
    probabilities = out_of_fold_probabilities(features, labels)
    table = label_issues(probabilities, labels)
    count = num_label_issues(labels, probabilities, estimation_method="off_diagonal_calibrated")
    assert (table["label_score"] < 0.25).sum() < count < (table["suggested"] != labels).sum()
    assert {*table.loc[table["is_label_issue"], "rank"]} == {*range(1, count + 1)}


def test_a_label_is_flagged_where_another_class_is_clearly_likelier_even_if_the_estimate_says_none() -> None:
    probabilities = np.array([[0.95, 0.05]] * 5 + [[0.05, 0.95]] * 5 + [[0.8, 0.2], [0.6, 0.4]])
    table = label_issues(probabilities, np.array([0] * 5 + [1] * 7))
    assert [*np.flatnonzero(table["is_label_issue"])] == [10]


def test_an_image_unlike_its_class_is_an_outlier() -> None:
    features, labels = _blobs(60, 60, spread=0.1)
    features[7] = -2 * np.eye(WIDTH)[5]
    features[70] = features[20]  # an image of the other class
    scores = outlier_scores(features, labels)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert {*np.argsort(scores)[:2]} == {7, 70}
    assert (scores[[7, 70]] < 0.5).all()
    assert np.median(scores) > 0.9


def test_the_outlier_score_is_the_distance_to_twenty_others_of_the_class_in_robust_deviations() -> None:
    features, _ = _blobs(60)
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    scaled /= np.linalg.norm(scaled, axis=1, keepdims=True)
    distance = np.sort(1 - scaled @ scaled.T, axis=1)[:, 1:21].mean(axis=1)  # the nearest is the image itself
    excess = distance - np.median(distance)
    deviations = np.maximum(excess, 0) / (1.4826 * np.median(np.abs(excess)))
    scores = outlier_scores(features, np.zeros(60, dtype=np.int64), threshold=3.0)
    np.testing.assert_allclose(scores, 0.5 ** (deviations / 3), rtol=1e-3)


def test_the_threshold_is_where_the_score_is_a_half() -> None:
    features, labels = _blobs(60, 60)
    strict, mild = outlier_scores(features, labels, threshold=1.0), outlier_scores(features, labels, threshold=3.0)
    np.testing.assert_allclose(strict, mild**3)
    assert (strict < 0.5).sum() > (mild < 0.5).sum()


def test_copies_of_an_outlier_do_not_hide_it() -> None:
    features, labels = _blobs(60, 60, spread=0.1)
    features[:21] = -2 * np.eye(WIDTH)[5]
    groups = np.where(np.arange(120) < 21, 0, np.arange(120))
    assert (outlier_scores(features, labels, groups)[:21] < 0.5).all()
    assert (outlier_scores(features, labels)[:21] > 0.5).all()


def test_classes_too_small_for_a_median_are_not_judged_for_outliers() -> None:
    features, labels = _blobs(30, 9)
    assert np.isnan(outlier_scores(features, labels)).tolist() == [*(labels == 1)]
    assert np.isnan(outlier_scores(features[30:], labels[30:])).all()


def test_images_that_are_all_the_same_are_no_outliers() -> None:
    features, labels = np.ones((20, WIDTH), dtype=np.float32), np.zeros(20, dtype=np.int64)
    assert (outlier_scores(features, labels) == 1).all()
