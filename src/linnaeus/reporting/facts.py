"""Everything the report tells, as frozen records that the caller fills."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from linnaeus.data.catalogue import Catalogue
from linnaeus.data.duplicates import group_numbers
from linnaeus.data.issues import Issues
from linnaeus.data.split import Splits
from linnaeus.decisions import Decisions
from linnaeus.errors import DecodeError
from linnaeus.evaluation.comparison import ranked_by
from linnaeus.evaluation.paired import Pair, Pairwise
from linnaeus.looks import Looks
from linnaeus.records import Part, StageCost
from linnaeus.settings import CleanRecipe, SplitRecipe

UNSEEN = ("dark", "bright", "low_information")  # the checks for images that show next to nothing


@dataclass(frozen=True)
class ModelFacts:
    """One model.

    `result`: its row of the leaderboard. `part`: test if that was opened for it, else validation. `history`: a row an
    epoch, its parent's first (see history_figure), empty for a model that was never trained. `class_report` and
    `confusion`: of the part. `history_png` and `confusion_png`: the pictures of both that the run folder has.
    """

    model_id: str
    description: str
    result: dict[str, float]
    part: Part
    history: pd.DataFrame
    class_report: pd.DataFrame
    confusion: pd.DataFrame
    history_png: bytes
    confusion_png: bytes


@dataclass(frozen=True)
class TrustFacts:
    """What there is to know of the chosen model beyond its accuracy, of its part.

    `measures`, `reliability`, `slices`, `unsliced`: the run's tables; `latency`: each way to run it; `curves_png`: its
    picture. `temperature`: what its logits are divided by. `examples`: telling images; `places`: where images lie in
    its feature space (both see runs.py). `read_picture`: the bytes of an example's picture by its name.
    """

    measures: pd.DataFrame
    reliability: pd.DataFrame
    slices: pd.DataFrame
    unsliced: pd.DataFrame
    latency: pd.DataFrame
    curves_png: bytes
    temperature: float
    examples: pd.DataFrame
    places: pd.DataFrame
    read_picture: Callable[[str], bytes]


@dataclass(frozen=True)
class ComparisonFacts:
    """The leaderboard; its models compared two by two on the images of a part; the looks at the test part; and the runs
    that each row of the leaderboard stands for."""

    leaderboard: pd.DataFrame
    pairs: Pairwise
    part: Part
    looks: Looks
    seeds: dict[str, list[str]]

    @property
    def is_by_folds(self) -> bool:
        """Whether folds rank, and not validation."""
        return ranked_by(self.leaderboard) == "acc_folds"

    def part_of(self, model_id: str) -> Part:
        """The part by which a model is told of: test if that was opened for all of its seeds, else validation."""
        row = self.leaderboard.set_index("model_id").loc[[model_id]]
        return "test" if row["accuracy"].notna().all() else "val"


@dataclass(frozen=True)
class Division:
    """How the images were divided: by which settings; of which table, if it was one of the user's own; whether that
    table or the folder came with parts; and the pairs of images that lie in different parts (`find_leaks`)."""

    recipe: SplitRecipe
    own_table: str | None
    has_given_parts: bool
    leaks: pd.DataFrame


@dataclass(frozen=True)
class SearchFacts:
    """A search for better settings of a recipe: its trials, the best trial's settings as text, and pictures; that of
    what mattered is None where there were too few trials to tell."""

    name: str
    trials: pd.DataFrame
    best: dict[str, str]
    trials_png: bytes
    importances: dict[str, float]
    importances_png: bytes | None


@dataclass(frozen=True)
class ReportFacts:
    """One project.

    `catalogue`: of the raw folder, with its pairs. `issues`: None where these images were not checked. `decisions`: the
    user's. `in_use`: category and split of each image in a part, by the relpath of its original. `clean_excluded`: what
    could not be cleaned (relpath, reason, detail). `models`: in the leaderboard's order; the first is the chosen one.
    `predictions`: the chosen model's on its part: relpath (of the clean copy), category, predicted (class names),
    probability (of the predicted class). `read_thumbnail`: a small JPEG's bytes, from "raw" or "clean" and a relpath in
    there. `usage`: how to use the chosen model, code by heading. `commands`: what reproduces the project. `settings`:
    what else a reader needs for that, text by name.
    """

    title: str
    image_folder: str
    created: str
    version: str
    catalogue: Catalogue
    issues: Issues | None
    decisions: Decisions
    clean: CleanRecipe
    clean_excluded: pd.DataFrame
    splits: Splits
    division: Division
    in_use: pd.DataFrame
    comparison: ComparisonFacts
    trust: TrustFacts
    models: tuple[ModelFacts, ...]
    searches: tuple[SearchFacts, ...]
    predictions: pd.DataFrame
    read_thumbnail: Callable[[str, str], bytes]
    costs: tuple[StageCost, ...]
    base_model: str | None
    usage: dict[str, str]
    commands: tuple[str, ...]
    settings: dict[str, str]

    @property
    def chosen(self) -> ModelFacts:
        """The model with the best validation accuracy."""
        return self.models[0]

    @property
    def leaderboard(self) -> pd.DataFrame:
        """The models, ranked."""
        return self.comparison.leaderboard

    def read_small(self, folder: str, relpath: str) -> bytes | None:
        """A thumbnail of an image of the "raw" or the "clean" folder, None where it cannot be read any more."""
        try:
            return self.read_thumbnail(folder, relpath)
        except (DecodeError, OSError):
            return None

    @property
    def is_open(self) -> bool:
        """Whether the chosen model was tried on the test part."""
        return self.chosen.part == "test"

    @property
    def accuracy(self) -> tuple[float, float, float]:
        """That of the run which stands for the chosen model, on its part, with the 95 % interval."""
        measures = self.trust.measures
        row = measures[measures["measure"].eq("top_1")].iloc[0]
        return float(row["value"]), float(row["low"]), float(row["high"])

    @property
    def excluded(self) -> pd.DataFrame:
        """Everything of the folder that is not used: relpath, reason, detail."""
        left_out = [self.catalogue.excluded, self.clean_excluded, self.splits.left_out]
        return pd.concat(left_out, ignore_index=True)

    @property
    def mistakes(self) -> pd.DataFrame:
        """The chosen model's wrong predictions on its part, the most confident first."""
        wrong = self.predictions[self.predictions["category"] != self.predictions["predicted"]]
        return wrong.sort_values(["probability", "relpath"], ascending=[False, True])

    @cached_property
    def copies(self) -> pd.DataFrame:
        """The images that are copies of others, also nearly: relpath, category, split (null where not used), group."""
        pairs = self.catalogue.pairs
        images = self.catalogue.images[["relpath", "category"]]
        tied = images[images["relpath"].isin([*pairs["first"], *pairs["second"]])].reset_index(drop=True)
        used = self.in_use.reindex(tied["relpath"]).reset_index(drop=True)
        category = used["category"].fillna(tied["category"])
        return tied.assign(category=category, split=used["split"], group=group_numbers(pairs, tied["relpath"]))

    @cached_property
    def copy_groups(self) -> pd.DataFrame:
        """A row for each group of copies: images; of those that are used, classes and parts, how many it spans; the
        kinds of its pairs, and their least similarity."""
        is_used = self.copies["split"].notna()
        used = self.copies.assign(category=self.copies["category"].where(is_used))
        groups = used.groupby("group").agg(
            images=("relpath", "size"), classes=("category", "nunique"), parts=("split", "nunique")
        )
        group_of = self.copies.set_index("relpath")["group"]
        pairs = self.catalogue.pairs.assign(group=self.catalogue.pairs["first"].map(group_of))
        ties = pairs.groupby("group").agg(
            kinds=("kind", lambda kinds: [*kinds.unique()]), similarity=("similarity", "min")
        )
        return groups.join(ties)

    @cached_property
    def findings(self) -> pd.DataFrame:
        """What the checks found, with the user's decision and relabel_to; none where nothing was checked."""
        if self.issues is None:
            return pd.DataFrame(columns=["check", "relpath", "suggested", "suggested_label", "decision", "relabel_to"])
        decided = self.decisions.table.set_index("relpath")[["decision", "relabel_to"]]
        found = self.issues.findings.join(decided, on="relpath")
        return found.fillna({"decision": "keep", "relabel_to": ""})

    @property
    def judges_labels(self) -> bool:
        """Whether labels were held against what a network sees."""
        return self.issues is not None and "is_label_issue" in self.issues.checked

    @property
    def suspects(self) -> int:
        """The number of labels that look wrong, and are still as they were."""
        found = self.findings[self.findings["check"].eq("label_issue") & self.findings["decision"].ne("drop")]
        return int(found["relabel_to"].ne(found["suggested_label"]).sum())

    @property
    def unseen(self) -> int:
        """The number of images that show next to nothing, and are not dropped."""
        found = self.findings[self.findings["check"].isin(UNSEEN) & self.findings["decision"].ne("drop")]
        return int(found["relpath"].nunique())

    @property
    def undecided(self) -> int:
        """The number of images for which something is suggested, and which are kept as they are."""
        found = self.findings[self.findings["suggested"].ne("") & self.findings["decision"].eq("keep")]
        return int(found["relpath"].nunique())

    @property
    def judged_images(self) -> int:
        """The size of the chosen model's part."""
        return len(self.predictions)

    @property
    def rivals(self) -> list[Pair]:
        """The chosen model beside each that the images cannot tell it from."""
        return [
            pair for pair in self.comparison.pairs.pairs if not pair.is_told and self.chosen.model_id in _names(pair)
        ]


def _names(pair: Pair) -> set[str]:
    return {pair.first, pair.second}
