import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from linnaeus.evaluation.metrics import Labels, class_report, confusion_counts, scores

LABELS: Labels = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2, 2])
PREDICTED: Labels = np.array([0, 0, 1, 1, 2, 2, 2, 2, 0, 1])
CLASSES = ("ant", "bee", "cat")


def test_scores_are_scikit_learn_s_weighted_ones() -> None:
    found = scores(LABELS, PREDICTED)
    assert found.accuracy == sklearn_metrics.accuracy_score(LABELS, PREDICTED) == 0.6
    assert found.precision == sklearn_metrics.precision_score(LABELS, PREDICTED, average="weighted")
    assert found.recall == sklearn_metrics.recall_score(LABELS, PREDICTED, average="weighted")
    assert found.f1_score == sklearn_metrics.f1_score(LABELS, PREDICTED, average="weighted")


def test_a_class_that_is_never_predicted_has_precision_0_without_a_warning() -> None:
    assert scores(np.array([0, 1]), np.array([0, 0])).precision == 0.25


def test_a_perfect_prediction_scores_1() -> None:
    found = scores(LABELS, LABELS)
    assert (found.accuracy, found.precision, found.recall, found.f1_score) == (1, 1, 1, 1)


def test_the_report_has_a_row_a_class_and_then_the_averages() -> None:
    report = class_report(LABELS, PREDICTED, CLASSES)
    assert [*report.columns] == ["precision", "recall", "f1-score", "support"]
    assert {*CLASSES, "macro avg", "weighted avg"} <= {*report.index}
    assert [*report.index[:3]] == [*CLASSES]
    assert report.loc["cat", "recall"] == pytest.approx(3 / 5)
    assert report.loc["ant", "precision"] == pytest.approx(2 / 3)
    assert [*report.loc[[*CLASSES], "support"]] == [3, 2, 5]


def test_a_class_without_any_image_is_still_in_the_report() -> None:
    report = class_report(LABELS, PREDICTED, (*CLASSES, "dog"))
    assert [*report.loc["dog"]] == [0, 0, 0, 0]


@pytest.mark.parametrize("predicted", [LABELS, PREDICTED])
@pytest.mark.parametrize("classes", [CLASSES, (*CLASSES, "dog")])
def test_only_classes_and_two_averages_are_in_the_report(predicted: Labels, classes: tuple[str, ...]) -> None:
    assert [*class_report(LABELS, predicted, classes).index] == [*classes, "macro avg", "weighted avg"]


def test_confusion_counts_have_true_classes_in_rows() -> None:
    counts = confusion_counts(LABELS, PREDICTED, CLASSES)
    assert counts.to_numpy().tolist() == [[2, 1, 0], [0, 1, 1], [1, 1, 3]]
    assert counts.loc["bee", "cat"] == 1
    assert counts.loc["cat", "bee"] == 1
    assert counts.loc["ant", "bee"] == 1
    assert counts.loc["bee", "ant"] == 0


def test_confusion_counts_keep_classes_without_images() -> None:
    assert confusion_counts(LABELS, PREDICTED, (*CLASSES, "dog")).shape == (4, 4)
