"""Everything the report tells, as frozen records that the caller fills."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from linnaeus.data.catalogue import Catalogue
from linnaeus.data.split import Splits
from linnaeus.records import StageCost
from linnaeus.settings import CleanRecipe


@dataclass(frozen=True)
class ModelFacts:
    """One model.

    `result`: its row of the leaderboard. `history`: a row an epoch, its parent's first (see history_figure),
    empty for a model that was never trained. `class_report` and `confusion`: of the test part.
    `history_png` and `confusion_png`: the pictures of both that the run folder has.
    """

    model_id: str
    description: str
    result: dict[str, float]
    history: pd.DataFrame
    class_report: pd.DataFrame
    confusion: pd.DataFrame
    history_png: bytes
    confusion_png: bytes


@dataclass(frozen=True)
class ReportFacts:
    """One project.

    `catalogue`: of the raw folder. `duplicates`: the catalogue's duplicates (relpath, category, group) with
    `split`, the part that the clean copy of each lies in, missing where it has none. `clean_excluded`: what could
    not be cleaned (relpath, reason, detail). `models`: in the leaderboard's order; the first is the chosen one.
    `predictions`: the chosen model's on the test part: relpath (of the clean copy), category, predicted (class
    names), probability (of the predicted class). `read_thumbnail`: a small JPEG's bytes, from "raw" or "clean"
    and a relpath in there. `usage`: how to use the chosen model, code by heading. `commands`: what reproduces the
    project. `settings`: what else a reader needs for that, text by name.
    """

    title: str
    image_folder: str
    created: str
    version: str
    catalogue: Catalogue
    duplicates: pd.DataFrame
    clean: CleanRecipe
    clean_excluded: pd.DataFrame
    splits: Splits
    leaderboard: pd.DataFrame
    models: tuple[ModelFacts, ...]
    predictions: pd.DataFrame
    read_thumbnail: Callable[[str, str], bytes]
    costs: tuple[StageCost, ...]
    usage: dict[str, str]
    commands: tuple[str, ...]
    settings: dict[str, str]

    @property
    def chosen(self) -> ModelFacts:
        """The model with the best validation accuracy."""
        return self.models[0]

    @property
    def excluded(self) -> pd.DataFrame:
        """Everything of the folder that is not used: relpath, reason, detail."""
        return pd.concat([self.catalogue.excluded, self.clean_excluded], ignore_index=True)

    @property
    def mistakes(self) -> pd.DataFrame:
        """The chosen model's wrong predictions on the test part, the most confident first."""
        wrong = self.predictions[self.predictions["category"] != self.predictions["predicted"]]
        return wrong.sort_values(["probability", "relpath"], ascending=[False, True])

    @property
    def duplicate_groups(self) -> pd.DataFrame:
        """A row for each group of identical files: images, classes and parts, how many of each it spans."""
        groups = self.duplicates.groupby("group")
        return groups.agg(images=("relpath", "size"), classes=("category", "nunique"), parts=("split", "nunique"))

    @property
    def test_images(self) -> int:
        """The size of the test part."""
        return len(self.predictions)

    @property
    def rivals(self) -> pd.DataFrame:
        """The leaderboard's other models whose 95 % interval on the test part overlaps the chosen one's."""
        low, high = self.leaderboard[["accuracy_low", "accuracy_high"]].iloc[0]
        others = self.leaderboard.iloc[1:]
        return others.loc[others["accuracy_high"].ge(low) & others["accuracy_low"].le(high)]
