"""The user's word on single images: keep, drop or relabel, in `decisions.csv`.

The file is proposed once and then belongs to the user. In the proposal every decision is "keep", with what is suggested
beside it, so that nothing changes before its reader has decided.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from linnaeus.errors import RecipeError
from linnaeus.records import Exclusion

PROPOSAL_COLUMNS = ["relpath", "category", "decision", "relabel_to", "suggested", "suggested_label", "reason"]
COLUMNS = ["relpath", "decision", "relabel_to", "reason"]
DECISIONS = ("keep", "drop", "relabel")
DROPPED = "dropped by decision"
ABSENT = "decision about an image that is not there"


@dataclass(frozen=True)
class Decisions:
    """`table`: relpath, decision, relabel_to, reason; an image without a row is kept."""

    table: pd.DataFrame

    @property
    def changing(self) -> list[list[str]]:
        """What changes the images that are used: [relpath, decision, relabel_to], sorted."""
        rows = self.table[self.table["decision"].ne("keep")]
        return sorted(rows[["relpath", "decision", "relabel_to"]].to_numpy().tolist())

    def counts(self) -> dict[str, int]:
        """How many images are kept, dropped and relabelled by decision."""
        return {name: int(self.table["decision"].eq(name).sum()) for name in DECISIONS}


def no_decisions() -> Decisions:
    """Every image is kept."""
    return Decisions(pd.DataFrame(columns=COLUMNS, dtype=str))


def propose(findings: pd.DataFrame) -> pd.DataFrame:
    """A row for each image that something is suggested for, or whose label conflicts with another's; all are kept."""
    rows = findings[findings["suggested"].ne("") | findings["check"].eq("label_conflict")]
    reasons = rows["check"].str.replace("_", " ") + ": " + rows["detail"]
    merged = rows.assign(reason=reasons).groupby("relpath", sort=False)
    proposal = merged.agg(
        category=("category", "first"),
        suggested=("suggested", _first_said),
        suggested_label=("suggested_label", _first_said),
        reason=("reason", "; ".join),
    )
    return proposal.reset_index().assign(decision="keep", relabel_to="")[PROPOSAL_COLUMNS]


def _first_said(words: "pd.Series[str]") -> str:
    return next((word for word in words if word), "")


def read_decisions(path: Path) -> Decisions:
    """The decisions in a file, none where it is absent.

    Raises RecipeError, with the line, for a word that is no decision, or two decisions about one image.
    """
    if not path.is_file():
        return no_decisions()
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise RecipeError(f"{path} is no readable table: {str(error).strip()}") from None
    if not isinstance(table.index, pd.RangeIndex):  # pandas has shifted the columns
        raise RecipeError(f"{path} has rows with more cells than its first line")
    missing = [name for name in ("relpath", "decision") if name not in table]
    if missing:
        raise RecipeError(f"{path} lacks the column {' and '.join(missing)}; it has {', '.join(table.columns)}")
    table = table.reindex(columns=COLUMNS, fill_value="")
    table["decision"] = table["decision"].str.strip().str.lower().replace("", "keep")
    table["relabel_to"] = table["relabel_to"].str.strip()
    for place, relpath, word in zip(range(2, len(table) + 2), table["relpath"], table["decision"], strict=True):
        if word not in DECISIONS:
            raise RecipeError(f"{path}, line {place} ({relpath}): {word!r} is no decision; write keep, drop or relabel")
    twice = table[table["relpath"].duplicated()]
    if len(twice):
        raise RecipeError(f"{path} has more than one line about {twice['relpath'].iloc[0]}; leave one")
    return Decisions(table)


def apply_decisions(images: pd.DataFrame, decisions: Decisions) -> tuple[pd.DataFrame, list[Exclusion]]:
    """A catalogue's rows as decided, relabelled ones with their new category; and what was dropped, or is not there.

    Raises RecipeError where an image is relabelled to a class that does not exist.
    """
    table = decisions.table
    is_known = table["relpath"].isin(images["relpath"])
    absent = table[~is_known & table["decision"].ne("keep")]
    dropped = table[is_known & table["decision"].eq("drop")]
    relabelled = table[is_known & table["decision"].eq("relabel")]
    classes = sorted(set(images["category"]))
    for relpath, label in zip(relabelled["relpath"], relabelled["relabel_to"], strict=True):
        if label not in classes:
            raise RecipeError(
                f"the decision about {relpath} relabels it to {label!r}, which is no class; "
                f"there are {', '.join(classes)}"
            )
    kept = images[~images["relpath"].isin(dropped["relpath"])]
    labels = dict(zip(relabelled["relpath"], relabelled["relabel_to"], strict=True))
    category = [labels.get(relpath, label) for relpath, label in zip(kept["relpath"], kept["category"], strict=True)]
    exclusions = [
        *(Exclusion(row["relpath"], DROPPED, row["reason"]) for row in dropped.to_dict("records")),
        *(Exclusion(row["relpath"], ABSENT, row["decision"]) for row in absent.to_dict("records")),
    ]
    return kept.assign(category=category), exclusions
