from pathlib import Path

import pandas as pd
import pytest

from linnaeus.decisions import apply_decisions, no_decisions, propose, read_decisions
from linnaeus.errors import RecipeError
from linnaeus.records import Exclusion

IMAGES = pd.DataFrame({"relpath": ["cat/a.jpg", "cat/b.jpg", "dog/c.jpg"], "category": ["cat", "cat", "dog"]})
HEADER = "relpath,decision,relabel_to,reason\n"


def _written(folder: Path, *lines: str, header: str = HEADER) -> Path:
    path = folder / "decisions.csv"
    path.write_text(header + "".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def _finding(check: str, relpath: str, **changes: str) -> dict[str, object]:
    empty = {"category": "cat", "detail": "why", "other": "", "suggested": "", "suggested_label": ""}
    return {"check": check, "relpath": relpath, "score": 0.1} | empty | changes


def test_without_a_file_every_image_is_kept(tmp_path: Path) -> None:
    decisions = read_decisions(tmp_path / "decisions.csv")
    kept, excluded = apply_decisions(IMAGES, decisions)
    pd.testing.assert_frame_equal(kept, IMAGES)
    assert (excluded, decisions.changing) == ([], [])
    assert decisions.counts() == {"keep": 0, "drop": 0, "relabel": 0}


def test_an_image_is_dropped_relabelled_or_kept_as_decided(tmp_path: Path) -> None:
    path = _written(tmp_path, "cat/a.jpg,drop,,a blank page", "cat/b.jpg, Relabel ,dog,", "dog/c.jpg,,,")
    decisions = read_decisions(path)
    kept, excluded = apply_decisions(IMAGES, decisions)
    assert kept.to_dict("records") == [
        {"relpath": "cat/b.jpg", "category": "dog"},
        {"relpath": "dog/c.jpg", "category": "dog"},
    ]
    assert excluded == [Exclusion("cat/a.jpg", "dropped by decision", "a blank page")]
    assert decisions.counts() == {"keep": 1, "drop": 1, "relabel": 1}
    assert decisions.changing == [["cat/a.jpg", "drop", ""], ["cat/b.jpg", "relabel", "dog"]]


def test_a_decision_about_an_image_that_is_gone_is_listed_and_stops_nothing(tmp_path: Path) -> None:
    decisions = read_decisions(_written(tmp_path, "cat/gone.jpg,drop,,", "cat/gone2.jpg,keep,,"))
    kept, excluded = apply_decisions(IMAGES, decisions)
    assert len(kept) == 3
    assert excluded == [Exclusion("cat/gone.jpg", "decision about an image that is not there", "drop")]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["cat/a.jpg,delete,,"], r"line 2 \(cat/a.jpg\): 'delete' is no decision; write keep, drop or relabel"),
        (["cat/a.jpg,drop,,", "cat/a.jpg,keep,,"], "more than one line about cat/a.jpg"),
    ],
)
def test_a_wrong_line_is_refused_by_its_number(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        read_decisions(_written(tmp_path, *lines))


def test_a_file_without_its_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="lacks the column decision; it has relpath, verdict"):
        read_decisions(_written(tmp_path, "cat/a.jpg,drop", header="relpath,verdict\n"))


@pytest.mark.parametrize("label", ["dgo", ""])
def test_relabelling_to_a_class_that_does_not_exist_is_refused(tmp_path: Path, label: str) -> None:
    decisions = read_decisions(_written(tmp_path, f"cat/a.jpg,relabel,{label},"))
    with pytest.raises(RecipeError, match="which is no class; there are cat, dog"):
        apply_decisions(IMAGES, decisions)


def test_a_proposal_keeps_everything_and_says_what_it_suggests(tmp_path: Path) -> None:
    findings = pd.DataFrame(
        [
            _finding("label_conflict", "cat/a.jpg", detail="near as dog/c.jpg"),
            _finding("label_issue", "cat/a.jpg", detail="looks like dog", suggested="relabel", suggested_label="dog"),
            _finding("exact_duplicate", "cat/b.jpg", suggested="drop"),
            _finding("dark", "dog/c.jpg"),
        ]
    )
    proposal = propose(findings)
    assert [*proposal["relpath"]] == ["cat/a.jpg", "cat/b.jpg"]
    assert [*proposal["decision"]] == ["keep", "keep"]
    assert [*proposal["suggested"]] == ["relabel", "drop"]
    assert proposal.loc[0, "suggested_label"] == "dog"
    assert proposal.loc[0, "reason"] == "label conflict: near as dog/c.jpg; label issue: looks like dog"
    proposal.to_csv(tmp_path / "decisions.csv", index=False)
    assert read_decisions(tmp_path / "decisions.csv").changing == []


def test_a_proposal_of_nothing_is_a_file_with_a_header_alone(tmp_path: Path) -> None:
    nothing = pd.DataFrame([_finding("dark", "dog/c.jpg")])
    propose(nothing).to_csv(tmp_path / "decisions.csv", index=False)
    assert read_decisions(tmp_path / "decisions.csv").table.empty
    assert no_decisions().changing == []
