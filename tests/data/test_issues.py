from typing import Any

import pandas as pd
import pytest
from test_checks import ORDINARY

from linnaeus.data.catalogue import exclusion_table
from linnaeus.data.issues import FINDING_COLUMNS, HARMLESS, SAYS, Issues, find_issues
from linnaeus.records import Exclusion
from linnaeus.settings import CheckRecipe

PAIR_COLUMNS = ["first", "second", "kind", "distance", "similarity"]


def _images(**odd: dict[str, Any]) -> pd.DataFrame:
    rows = [ORDINARY | {"category": name[0], "relpath": name} | odd.get(name, {}) for name in ("a1", "a2", "a3", "b1")]
    return pd.DataFrame(rows).replace({"category": {"a": "ant", "b": "bee"}})


def _issues(
    *pairs: tuple[str, str, str, float],
    images: pd.DataFrame | None = None,
    excluded: list[Exclusion] | None = None,
    judged: pd.DataFrame | None = None,
) -> Issues:
    table = pd.DataFrame([(a, b, kind, 0, s) for a, b, kind, s in pairs], columns=PAIR_COLUMNS)
    images = _images() if images is None else images
    return find_issues(images, exclusion_table(excluded or []), table, judged, CheckRecipe())


def _rows(issues: Issues, *columns: str) -> list[tuple[Any, ...]]:
    return [*issues.findings[[*columns]].itertuples(index=False, name=None)]


def test_nothing_odd_is_a_table_with_its_columns_and_no_rows() -> None:
    issues = _issues()
    assert [*issues.findings.columns] == FINDING_COLUMNS
    assert issues.findings.empty
    assert len(issues.checked) == 4
    assert not issues.checked.filter(like="is_").any(axis=None)


def test_of_two_copies_the_second_is_a_duplicate_that_may_be_dropped() -> None:
    issues = _issues(("a1", "a3", "same bytes", 1.0))
    assert _rows(issues, "check", "relpath", "other", "suggested") == [("exact_duplicate", "a3", "a1", "drop")]
    checked = issues.checked.set_index("relpath")
    assert [*checked["is_exact_duplicate"]] == [False, False, True, False]


def test_near_duplicates_are_told_and_nothing_is_suggested() -> None:
    issues = _issues(("a1", "a2", "cropped", 0.95), ("a2", "a3", "near", 0.99))
    assert _rows(issues, "check", "relpath", "detail", "suggested") == [
        ("near_duplicate", "a3", "near as a2", ""),
        ("near_duplicate", "a2", "cropped as a1", ""),
    ]


@pytest.mark.parametrize("kind", ["same bytes", "near"])
def test_a_pair_in_two_classes_is_a_conflict_of_both_and_no_duplicate(kind: str) -> None:
    issues = _issues(("a1", "b1", kind, 1.0))
    assert _rows(issues, "check", "relpath", "detail") == [
        ("label_conflict", "a1", f"{kind} as b1, which is labelled bee"),
        ("label_conflict", "b1", f"{kind} as a1, which is labelled ant"),
    ]


def test_doubtful_labels_and_outliers_come_from_what_the_features_say() -> None:
    judged = pd.DataFrame(
        {
            "relpath": ["a1", "a2", "b1"],
            "label_issue_score": [0.1, 0.9, 0.2],
            "is_label_issue": [True, False, True],
            "suggested_label": ["bee", "ant", "ant"],
            "outlier_score": [0.9, 0.3, float("nan")],
            "is_outlier": [False, True, False],
        }
    )
    issues = _issues(judged=judged)
    assert _rows(issues, "check", "relpath", "score", "suggested", "suggested_label") == [
        ("label_issue", "a1", 0.1, "relabel", "bee"),
        ("label_issue", "b1", 0.2, "relabel", "ant"),
        ("outlier", "a2", 0.3, "", ""),
    ]
    assert [*issues.checked["relpath"]] == ["a1", "a2", "a3", "b1"]


def test_files_that_could_not_be_read_are_findings_under_their_reason() -> None:
    issues = _issues(excluded=[Exclusion("x.jpg", "truncated image", "cut short"), Exclusion("y", "empty file")])
    assert _rows(issues, "check", "relpath", "score", "detail") == [
        ("empty_file", "y", 0.0, ""),
        ("truncated_image", "x.jpg", 0.0, "cut short"),
    ]


def test_the_gravest_check_comes_first_and_the_worst_image_first_in_it() -> None:
    images = _images(a1={"luma_p95": 0.2}, a2={"luma_p95": 0.1}, a3={"frames": 2})
    issues = _issues(("a1", "b1", "near", 0.9), images=images)
    assert _rows(issues, "check", "relpath") == [
        ("label_conflict", "a1"),
        ("label_conflict", "b1"),
        ("dark", "a2"),
        ("dark", "a1"),
        ("animated", "a3"),
    ]
    assert issues.by_check().to_dict() == {"label_conflict": 2, "dark": 2, "animated": 1}
    assert list(issues.by_check().index) == ["label_conflict", "dark", "animated"]


def test_an_image_without_its_row_in_the_pairs_is_ignored() -> None:
    assert _issues(("a1", "gone", "same bytes", 1.0)).findings.empty


def test_every_check_is_put_in_words_for_a_reader() -> None:
    names = [column.removeprefix("is_") for column in _issues().checked.filter(like="is_").columns]
    assert set(names) <= set(SAYS)
    assert set(HARMLESS) <= set(SAYS)
