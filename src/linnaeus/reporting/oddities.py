"""What is odd about the images, as the page shows it: single images by check, and copies side by side."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from linnaeus.data.issues import HARMLESS, SAYS
from linnaeus.records import PART_NAMES
from linnaeus.reporting.facts import ReportFacts
from linnaeus.reporting.pictures import Thumbnail, small

# The most thumbnails of each kind, which keep the page small however many images there are.
MOST_FOUND = 12
MOST_HARMLESS = 4
MOST_GROUPS = 12
MOST_COPIES = 3
MOST_LEAKS = 6

COPIES = ("label_conflict", "exact_duplicate", "near_duplicate")  # shown side by side, not one by one
JUDGED = ("label_issue", "outlier")  # by a network's features
TITLES = {"label_issue": "Suspect labels", "outlier": "Outliers", "sixteen_bit": "16 bits a channel", "cmyk": "CMYK"}
FURTHER = {
    "label_issue": "These are suspects, not errors: a network that learnt from the other images names another class. "
    "In a well-kept folder most of them are right. The lower the score, the more doubtful the label.",
    "outlier": "Many are only rare views. The lower the score, the odder the image.",
}
KINDS = {
    "same bytes": "the same bytes",
    "same pixels": "the same pixels, stored otherwise",
    "near": "nearly the same",
    "mirrored": "mirrored",
    "cropped": "cropped or shifted",
    "same group": "of one group",
}
CROSSING = "In different parts"
CONFLICTING = "Labels disagree"


@dataclass(frozen=True)
class Gallery:
    """What one check found: what that is, in how many images, and the worst of them."""

    title: str
    text: str
    images: int
    shown: tuple[Thumbnail, ...]
    is_harmless: bool


@dataclass(frozen=True)
class Beside:
    """Images side by side: what is wrong with them together (may be empty), what ties them, and how many are not
    shown."""

    fault: str
    tie: str
    shown: tuple[Thumbnail, ...]
    more: int = 0


def galleries(facts: ReportFacts) -> list[Gallery]:
    """What each check found in single images, the gravest check first, and the worst image first."""
    found = facts.findings[facts.findings["check"].isin([*SAYS]) & ~facts.findings["check"].isin(COPIES)]
    return [_gallery(facts, str(name), rows) for name, rows in found.groupby("check", sort=False)]


def without_finding(facts: ReportFacts) -> list[str]:
    """The checks that were made and found nothing, in a reader's words."""
    made = [name for name in SAYS if name not in JUDGED or facts.judges_labels]
    return [title_of(name) for name in made if name not in {*facts.findings["check"]}]


def title_of(check: str) -> str:
    """A check's name for a reader."""
    return TITLES.get(check, check.replace("_", " ").capitalize())


def _gallery(facts: ReportFacts, name: str, rows: pd.DataFrame) -> Gallery:
    is_harmless = name in HARMLESS
    shown = rows.head(MOST_HARMLESS if is_harmless else MOST_FOUND).to_dict("records")
    thumbnails = tuple(_found(facts, name, row) for row in shown)
    sentences = [f"{'It is' if len(rows) == 1 else 'Each is'} {SAYS[name]}.", FURTHER.get(name, "")]
    if len(shown) < len(rows):
        sentences.append(f"Shown are the worst {len(shown)}; issues.csv has all {len(rows):,}.")
    return Gallery(title_of(name), " ".join(filter(None, sentences)), len(rows), thumbnails, is_harmless)


def _found(facts: ReportFacts, name: str, row: dict[Any, Any]) -> Thumbnail:
    what = row["detail"] if name == "label_issue" else SAYS[name]
    decided = {"keep": "", "drop": "you dropped it", "relabel": f"you relabelled it {row['relabel_to']}"}
    score = f"score {row['score']:.2f}" if name in JUDGED else ""
    lines = (f"labelled {row['category']}", row["detail"], score, decided[row["decision"]])
    picture = small(facts, "raw", row["relpath"], f"An image labelled {row['category']}: {what}")
    return Thumbnail(picture, tuple(line for line in lines if line), row["relpath"])


def copies_beside(facts: ReportFacts) -> list[Beside]:
    """Groups of copies, those with several classes first, then those in several parts, then the largest."""
    groups = facts.copy_groups.sort_values(["classes", "parts", "images"], ascending=False, kind="stable")
    shown = groups.head(MOST_GROUPS).reset_index().to_dict("records")
    return [_copies(facts, group, facts.copies[facts.copies["group"] == group["group"]]) for group in shown]


def _copies(facts: ReportFacts, group: dict[Any, Any], members: pd.DataFrame) -> Beside:
    """The copies of a group, one of each class before a second of any."""
    again = members.groupby("category").cumcount()
    shown = members.assign(again=again).sort_values(["again", "relpath"]).head(MOST_COPIES)
    faults = ((CONFLICTING, group["classes"] > 1), (CROSSING, group["parts"] > 1))
    return Beside(
        fault=". ".join(fault for fault, is_so in faults if is_so),
        tie=_tie(group["kinds"], group["similarity"]),
        shown=tuple(_copy(facts, row) for row in shown.to_dict("records")),
        more=group["images"] - len(shown),
    )


def _copy(facts: ReportFacts, row: dict[Any, Any]) -> Thumbnail:
    part = "not used" if pd.isna(row["split"]) else f"in {PART_NAMES[row['split']]}"
    picture = small(facts, "raw", row["relpath"], f"One of several copies, labelled {row['category']}, {part}")
    return Thumbnail(picture, (row["category"], part), row["relpath"])


def leaks_beside(facts: ReportFacts) -> list[Beside]:
    """Pairs of images that lie in different parts."""
    return [_leak(facts, row) for row in facts.division.leaks.head(MOST_LEAKS).to_dict("records")]


def _leak(facts: ReportFacts, row: dict[Any, Any]) -> Beside:
    thumbnails = []
    for side in ("first", "second"):
        part = PART_NAMES[row[f"{side}_split"]]
        alt = f"One of two images that belong together, here in {part}"
        thumbnails.append(Thumbnail(small(facts, "clean", row[side], alt), (f"in {part}",), row[side]))
    return Beside("", _tie([row["kind"]], row["similarity"]), tuple(thumbnails))


def _tie(kinds: list[str], similarity: float) -> str:
    """What ties images together; the similarity, rounded down, where their pixels differ."""
    words = ", ".join(KINDS.get(kind, kind) for kind in kinds)
    least = f": similarity {int(100 * similarity) / 100:.2f}" if similarity < 1 else ""  # NaN is below nothing
    return words[:1].upper() + words[1:] + least
