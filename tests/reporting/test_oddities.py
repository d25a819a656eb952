"""What is odd is shown: the worst first, never too much of it, and with the user's own word beside it."""

from dataclasses import replace
from typing import Any

import pytest

from linnaeus.data.checks import CHECKS
from linnaeus.data.issues import SAYS
from linnaeus.reporting.facts import ReportFacts
from linnaeus.reporting.oddities import copies_beside, galleries, leaks_beside, without_finding
from report_facts import decisions, facts, issues

SUSPECT = {"check": "label_issue", "detail": "looks like dog", "suggested": "relabel", "suggested_label": "dog"}


def found(*findings: dict[str, Any], each: int = 10) -> ReportFacts:
    told = facts(each=each)
    return replace(told, issues=issues(told.catalogue.images, *findings))


def test_a_suspect_has_its_label_what_it_looks_like_and_its_score() -> None:
    (gallery,) = galleries(found(SUSPECT | {"relpath": "cat/3.jpg", "score": 0.0571}))
    assert gallery.title == "Suspect labels"
    assert "suspects, not errors" in gallery.text
    assert gallery.shown[0].lines == ("labelled cat", "looks like dog", "score 0.06")
    assert gallery.shown[0].relpath == "cat/3.jpg"


@pytest.mark.parametrize(("check", "most"), [("blurry", 12), ("cmyk", 4)])
def test_only_the_first_are_shown_fewer_of_harmless_ones_and_all_are_counted(check: str, most: int) -> None:
    (gallery,) = galleries(found(*({"check": check, "relpath": f"cat/{n}.jpg"} for n in range(20)), each=20))
    assert gallery.images == 20
    assert [item.relpath for item in gallery.shown] == [f"cat/{n}.jpg" for n in range(most)]
    assert f"Shown are the worst {most}; issues.csv has all 20" in gallery.text


def test_galleries_keep_the_order_of_the_findings_and_leave_out_copies_and_what_cannot_be_read() -> None:
    checks = ["label_conflict", "label_issue", "near_duplicate", "outlier", "dark", "truncated_image"]
    told = found(*({"check": check, "relpath": "cat/0.jpg"} for check in checks))
    assert [gallery.title for gallery in galleries(told)] == ["Suspect labels", "Outliers", "Dark"]


def test_the_thumbnails_of_all_checks_together_are_bounded() -> None:
    names = [*SAYS]
    told = found(*({"check": name, "relpath": f"cat/{n}.jpg"} for name in names for n in range(50)), each=50)
    assert sum(len(gallery.shown) for gallery in galleries(told)) <= 12 * len(names)


def test_what_the_user_decided_stands_beside_a_finding() -> None:
    told = found(SUSPECT | {"relpath": "cat/0.jpg"}, SUSPECT | {"relpath": "cat/1.jpg"})
    told = replace(told, decisions=decisions(("cat/0.jpg", "relabel", "dog"), ("cat/1.jpg", "drop", "")))
    assert [item.lines[-1] for item in galleries(told)[0].shown] == ["you relabelled it dog", "you dropped it"]


def test_checks_that_found_nothing_are_named_but_not_those_that_were_not_made() -> None:
    told = found({"check": "dark", "relpath": "cat/0.jpg"})
    assert len(without_finding(told)) == len(SAYS) - 1
    assert told.issues is not None
    unjudged = replace(told.issues, checked=told.issues.checked.drop(columns="is_label_issue"))
    assert len(without_finding(replace(told, issues=unjudged))) == len(SAYS) - 3
    assert {"Dark", "Suspect labels", "Outliers"}.isdisjoint(without_finding(replace(told, issues=unjudged)))


def test_copies_have_their_kind_and_similarity_rounded_down() -> None:
    near, exact = ("cat/0.jpg", "cat/1.jpg", "near"), ("cat/2.jpg", "cat/3.jpg", "same bytes")
    assert [group.tie for group in copies_beside(facts(pairs=[near, exact]))] == [
        "Nearly the same: similarity 0.99",
        "The same bytes",
    ]


def test_images_tied_by_several_pairs_are_one_group_whose_rest_is_counted() -> None:
    chain = [(f"cat/{n}.jpg", f"cat/{n + 1}.jpg", "mirrored" if n else "near") for n in range(4)]
    (group,) = copies_beside(facts(pairs=chain))
    assert group.tie == "Nearly the same, mirrored: similarity 0.99"
    assert [item.relpath for item in group.shown] == ["cat/0.jpg", "cat/1.jpg", "cat/2.jpg"]
    assert group.more == 2


def test_copies_with_different_labels_come_first_and_show_both_labels() -> None:
    harmless = ("cat/0.jpg", "cat/1.jpg", "near")
    chain = [(f"cat/{n}.jpg", f"cat/{n + 1}.jpg", "near") for n in range(2, 5)]
    first, second = copies_beside(facts(pairs=[harmless, *chain, ("cat/5.jpg", "dog/0.jpg", "near")]))
    assert (first.fault, second.fault) == ("Labels disagree", "")
    assert {item.lines[0] for item in first.shown} == {"cat", "dog"}


def test_a_conflict_that_the_user_settled_is_none_any_more() -> None:
    told = facts(pairs=[("cat/0.jpg", "dog/0.jpg", "near")])
    relabelled = told.in_use.copy()
    relabelled.loc["cat/0.jpg", "category"] = "dog"
    assert copies_beside(replace(told, in_use=relabelled))[0].fault == ""
    (dropped,) = copies_beside(replace(told, in_use=told.in_use.drop("cat/0.jpg")))
    assert dropped.fault == ""
    assert dropped.shown[0].lines == ("cat", "not used")


def test_no_more_than_twelve_groups_are_shown() -> None:
    told = facts(each=60, pairs=[(f"cat/{n}.jpg", f"cat/{n + 1}.jpg", "near") for n in range(0, 60, 2)])
    assert len(copies_beside(told)) == 12
    assert len(told.copy_groups) == 30


def test_leaks_show_both_images_with_their_parts() -> None:
    (leak,) = leaks_beside(facts(pairs=[("cat/0.jpg", "cat/9.jpg", "cropped"), ("cat/1.jpg", "cat/2.jpg", "near")]))
    assert [item.lines for item in leak.shown] == [("in training",), ("in test",)]
    assert leak.tie == "Cropped or shifted: similarity 0.99"


def test_every_check_has_a_title_of_its_own() -> None:
    told = found(*({"check": check.name, "relpath": "cat/0.jpg"} for check in CHECKS))
    titles = [gallery.title for gallery in galleries(told)]
    assert len(set(titles)) == len(CHECKS)
    assert not any("_" in title for title in titles)
