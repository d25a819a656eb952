"""Why the chosen model says what it says, as the page shows it: sheets of telling images."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from linnaeus.evaluation.telling import CONFIDENT, UNCERTAIN
from linnaeus.reporting.facts import ReportFacts
from linnaeus.reporting.pictures import Picture, Thumbnail, small, stored
from linnaeus.reporting.words import counted, percent

HEADINGS = {CONFIDENT: "The most confident mistakes", UNCERTAIN: "The least certain"}
METHOD_NAMES = {"grad-cam": "Grad-CAM", "integrated-gradients": "integrated gradients"}


@dataclass(frozen=True)
class Example:
    """An image, what in it spoke for the class it got, what is written below, and its like in training."""

    shown: Thumbnail
    reason: Picture
    nearest: tuple[Thumbnail, ...]


@dataclass(frozen=True)
class Sheet:
    """Examples of one thing. is_more: they are also among the mistakes, where there are not too many of these."""

    heading: str
    text: str
    examples: tuple[Example, ...]
    is_more: bool


def sheets(facts: ReportFacts) -> list[Sheet]:
    """The sheets in the order of the run's table."""
    table = facts.trust.examples
    return [
        Sheet(
            HEADINGS.get(str(name), str(name)),
            _text(facts, str(name), rows),
            tuple(_example(facts, row) for row in rows.to_dict("records")),
            is_more=name not in HEADINGS,
        )
        for name, rows in table.groupby("sheet", sort=False)
    ]


def method_name(facts: ReportFacts) -> str:
    """By what the pictures were made."""
    return METHOD_NAMES[facts.trust.examples["method"].iloc[0]]


def _text(facts: ReportFacts, name: str, rows: pd.DataFrame) -> str:
    if name == CONFIDENT and len(rows) == len(facts.mistakes):
        return f"All {counted(len(rows), 'mistake')}, the surest first. Some may be right, and the label wrong."
    if name == CONFIDENT:
        return f"Of {counted(len(facts.mistakes), 'mistake')}, the surest. Some may be right, and the label wrong."
    if name == UNCERTAIN:
        least, most = (100 * lead for lead in (rows["lead"].min(), rows["lead"].max()))
        return f"Here the most probable class leads the second by least: by {least:.0f} to {most:.0f} points."
    return "The surest of these."


def _example(facts: ReportFacts, row: dict[Any, Any]) -> Example:
    category, predicted = row["category"], row["predicted_category"]
    said = f"{predicted}, {percent(row['probability'])}"
    lines = (category, f"rightly said {said}") if category == predicted else (category, f"taken for {said}")
    alt = f"An image of {category} that got {predicted}"
    nearest = tuple(_nearest(facts, row, number) for number in (1, 2, 3) if row.get(f"nearest_{number}"))
    reason = stored(facts.trust.read_picture, row["picture"], f"What in it spoke for {predicted}")
    return Example(Thumbnail(small(facts, "clean", row["relpath"], alt), lines, row["relpath"]), reason, nearest)


def _nearest(facts: ReportFacts, row: dict[Any, Any], number: int) -> Thumbnail:
    category = row[f"nearest_{number}_category"]
    picture = small(facts, "clean", row[f"nearest_{number}"], f"A training image of {category} that is much like it")
    return Thumbnail(picture, (category,), row[f"nearest_{number}"])
