"""Everything odd about a set of images, in one table for a reader and one for programs.

`findings` is a row an oddity, the gravest kind and the worst image first; `checked` is a row an image.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from linnaeus.data.checks import CHECKS, check_images, scored
from linnaeus.data.duplicates import conflicting_pairs
from linnaeus.settings import CheckRecipe

EXACT = ("same bytes", "same pixels")
FINDING_COLUMNS = ["check", "relpath", "category", "score", "detail", "other", "suggested", "suggested_label"]
# What is found by comparing images, before what is found in one image alone.
COMPARED = ("label_conflict", "label_issue", "exact_duplicate", "near_duplicate", "outlier")
SAYS = {
    "label_conflict": "the same picture as one of another class, so that one of the two labels is wrong",
    "label_issue": "perhaps of another class than its label says",
    "exact_duplicate": "the very same picture as another",
    "near_duplicate": "nearly the same picture as another",
    "outlier": "unlike anything else in its class",
    **{check.name: check.says for check in CHECKS},
}
HARMLESS = tuple(check.name for check in CHECKS if not check.is_harm)


@dataclass(frozen=True)
class Issues:
    """What is odd about a set of images.

    `findings`: check, relpath, category, score (0 is worst), detail, other (the image it is compared with), suggested
    ("drop", "relabel" or empty), suggested_label. Files that could not be read are among them, under their reason.
    `checked`: relpath and category, then `<check>_score` and `is_<check>` for every check, of every readable image.
    """

    findings: pd.DataFrame
    checked: pd.DataFrame

    def by_check(self) -> pd.Series:
        """How many findings each check has, in the order of the findings."""
        return self.findings.groupby("check", sort=False).size().rename("count")


def find_issues(
    images: pd.DataFrame,
    excluded: pd.DataFrame,
    pairs: pd.DataFrame,
    judged: pd.DataFrame | None,
    recipe: CheckRecipe,
) -> Issues:
    """The issues of a catalogue's images.

    excluded: what the catalogue left out. pairs: of duplicates (`data/duplicates.py`). judged: what the features say
    (relpath, label_issue_score, is_label_issue, suggested_label, outlier_score, is_outlier), None where none were.
    """
    checked = check_images(images, recipe)
    partners = _partners(images, pairs)
    for name, others in partners.items():
        is_odd = checked["relpath"].isin(others.index)
        similarity = checked["relpath"].map(others["similarity"]).fillna(0).to_numpy(dtype=float)
        scores = np.where(is_odd, (1 - similarity) / 2, 1.0)
        checked = checked.assign(**scored(name, np.minimum(scores, np.where(is_odd, 0.499, 1.0))))
    if judged is not None:
        checked = checked.merge(judged, on="relpath", how="left", validate="one_to_one")
    findings = [
        *(_compared(checked, name, others) for name, others in partners.items()),
        *([] if judged is None else [_wrong_labels(checked), _found(checked, "outlier")]),
        *(_found(checked, check.name, _detail(images, check.name)) for check in CHECKS),
        _unreadable(excluded),
    ]
    table = pd.concat(findings, ignore_index=True).reindex(columns=FINDING_COLUMNS)
    for name in FINDING_COLUMNS:  # columns of no findings at all have no type of their own
        table[name] = table[name].astype(float) if name == "score" else table[name].astype("str").fillna("")
    order = {name: place for place, name in enumerate((*COMPARED, *(check.name for check in CHECKS)))}
    ranked = table.assign(order=table["check"].map(order).fillna(len(order)))
    ranked = ranked.sort_values(["order", "check", "score", "relpath"], kind="stable").drop(columns="order")
    return Issues(ranked.reset_index(drop=True), checked)


def _partners(images: pd.DataFrame, pairs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """For each check that compares: the image that each one (the index) is most like, as `other` and `similarity`.

    Of two exact copies in one class only the second is a duplicate; a conflict is one for both.
    """
    known = pairs[pairs["first"].isin(images["relpath"]) & pairs["second"].isin(images["relpath"])]
    conflicts = conflicting_pairs(known, images)
    copies = known.drop(conflicts.index)
    is_exact = copies["kind"].isin(EXACT)
    return {
        "label_conflict": _closest(pd.concat([conflicts, _turned(conflicts)])),
        "exact_duplicate": _closest(_turned(copies[is_exact])),
        "near_duplicate": _closest(_turned(copies[~is_exact])),
    }


def _turned(pairs: pd.DataFrame) -> pd.DataFrame:
    return pairs.rename(columns={"first": "second", "second": "first"})


def _closest(pairs: pd.DataFrame) -> pd.DataFrame:
    best = pairs.sort_values(["similarity", "second"], ascending=[False, True], kind="stable").drop_duplicates("first")
    return best.set_index("first")[["second", "similarity", "kind"]].rename(columns={"second": "other"})


def _found(checked: pd.DataFrame, name: str, detail: pd.Series | None = None) -> pd.DataFrame:
    odd = checked[checked[f"is_{name}"].fillna(False).astype(bool)]
    found = odd[["relpath", "category"]].assign(check=name, score=odd[f"{name}_score"])
    return found if detail is None else found.assign(detail=found["relpath"].map(detail))


def _compared(checked: pd.DataFrame, name: str, others: pd.DataFrame) -> pd.DataFrame:
    found = _found(checked, name)
    other = found["relpath"].map(others["other"])
    kind = found["relpath"].map(others["kind"])
    detail = kind.astype(str) + " as " + other.astype(str)
    if name == "label_conflict":
        category = checked.set_index("relpath")["category"]
        detail = detail + ", which is labelled " + other.map(category).astype(str)
    return found.assign(other=other, detail=detail, suggested="drop" if name == "exact_duplicate" else "")


def _wrong_labels(checked: pd.DataFrame) -> pd.DataFrame:
    found = _found(checked, "label_issue")
    label = found["relpath"].map(checked.set_index("relpath")["suggested_label"])
    return found.assign(suggested="relabel", suggested_label=label, detail="looks like " + label.astype(str))


def _detail(images: pd.DataFrame, name: str) -> pd.Series | None:
    """The figure or fact on which a check rests, by relpath."""
    rows = images.set_index("relpath")
    sizes = rows["width"].astype(str) + " x " + rows["height"].astype(str) + " pixels"
    details = {
        "dark": "95 % of it below " + (100 * rows["luma_p95"]).round(1).astype(str) + " % of white",
        "bright": "95 % of it above " + (100 * rows["luma_p5"]).round(1).astype(str) + " % of white",
        "blurry": "sharpness " + rows["sharpness"].round(4).astype(str),
        "low_information": rows["entropy"].round(2).astype(str) + " bits",
        "extreme_aspect": sizes,
        "odd_size": sizes,
        "wrong_extension": rows["content_format"] + " called ." + rows["format"],
        "animated": rows["frames"].astype(str) + " frames",
        "sixteen_bit": rows["bit_depth"].astype(str) + " bits",
    }
    return details.get(name)


def _unreadable(excluded: pd.DataFrame) -> pd.DataFrame:
    return excluded[["relpath", "detail"]].assign(check=excluded["reason"].str.replace(" ", "_"), score=0.0)
