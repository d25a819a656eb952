import numpy as np
import pandas as pd
import pytest

from linnaeus.evaluation.judge import judgement
from linnaeus.evaluation.telling import CONFIDENT, MOST_MISTAKES, UNCERTAIN, nearest, telling_images

CLASSES = ("cat", "dog", "fox")


def predictions(rows: list[tuple[int, list[float]]]) -> pd.DataFrame:
    """Of images 0.jpg, 1.jpg ..., each with its label and its probabilities."""
    labels = [label for label, _ in rows]
    table = pd.DataFrame({"relpath": [f"{n}.jpg" for n in range(len(rows))], "label": labels})
    table.insert(1, "category", [CLASSES[label] for label in labels])
    return judgement(table, np.array([shares for _, shares in rows]), CLASSES).predictions


def sheet(examples: pd.DataFrame, name: str) -> list[str]:
    return [*examples.loc[examples["sheet"] == name, "relpath"]]


def test_mistakes_come_the_most_confident_first_and_right_answers_are_none() -> None:
    found = telling_images(predictions([(0, [0.9, 0.1, 0]), (0, [0.2, 0.8, 0]), (1, [0.95, 0.05, 0])]))
    assert sheet(found, CONFIDENT) == ["2.jpg", "1.jpg"]


def test_the_least_certain_have_the_smallest_lead_of_the_first_class_over_the_second() -> None:
    found = telling_images(predictions([(0, [0.5, 0.3, 0.2]), (0, [0.45, 0.44, 0.11]), (0, [0.98, 0.01, 0.01])]))
    assert sheet(found, UNCERTAIN) == ["1.jpg", "0.jpg", "2.jpg"]


def test_a_pair_of_classes_that_is_confused_more_than_once_has_a_sheet_of_its_own() -> None:
    rows = [(0, [0.2, 0.8, 0]), (0, [0.1, 0.9, 0]), (1, [0, 0.1, 0.9]), (2, [0, 0, 1.0])]
    found = telling_images(predictions(rows))
    assert sheet(found, "cat taken for dog") == ["1.jpg", "0.jpg"]
    assert "dog taken for fox" not in {*found["sheet"]}


def test_places_lead_back_to_the_rows_of_the_predictions() -> None:
    table = predictions([(0, [0.2, 0.8, 0]), (1, [0, 0.1, 0.9])]).iloc[::-1].reset_index(drop=True)
    found = telling_images(table)
    assert [*table["relpath"].iloc[found["place"]]] == [*found["relpath"]]


def test_of_many_mistakes_a_bounded_number_is_shown() -> None:
    found = telling_images(predictions([(0, [0.2, 0.8, 0])] * 100))
    assert len(sheet(found, CONFIDENT)) == MOST_MISTAKES


def test_without_a_mistake_only_doubts_are_shown() -> None:
    found = telling_images(predictions([(0, [0.9, 0.1, 0])]))
    assert [*found["sheet"]] == [UNCERTAIN]


def test_the_nearest_references_are_those_with_the_highest_cosine_whatever_their_length() -> None:
    references = np.array([[10, 0], [0, 1], [1, 1], [-1, 0]], np.float32)
    places, cosines = nearest(np.array([[1, 0.1], [0, 5]], np.float32), references, count=2)
    assert places.tolist() == [[0, 2], [1, 2]]
    assert cosines[1] == pytest.approx([1, 0.5**0.5])


def test_fewer_references_than_asked_for_are_all_given() -> None:
    places, _ = nearest(np.ones((2, 3), np.float32), np.ones((1, 3), np.float32))
    assert places.tolist() == [[0], [0]]
