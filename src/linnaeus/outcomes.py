"""What the verbs return: tables, figures and paths."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from linnaeus.data.catalogue import Catalogue
from linnaeus.data.issues import Issues
from linnaeus.data.split import Splits
from linnaeus.deck import DeckRow
from linnaeus.evaluation.paired import Pair, Pairwise, sentence
from linnaeus.looks import Looks
from linnaeus.project import Project
from linnaeus.records import Part, StageCost
from linnaeus.reporting.facts import ComparisonFacts
from linnaeus.reporting.figures import confusion_figure, tradeoff_figure
from linnaeus.runs import Run


@dataclass(frozen=True)
class Evaluation:
    """How good one run is, on the test part where that was opened for it, else on validation."""

    run: Run

    @property
    def part(self) -> Part:
        """The part that the tables and the figure are of."""
        return "test" if self.run.is_judged("test") else "val"

    @property
    def metrics(self) -> dict[str, Any]:
        """The run's row of results.csv; what the test part says is absent where that is closed."""
        return self.run.metrics

    @property
    def class_report(self) -> pd.DataFrame:
        """Precision, recall, f1-score and support by class."""
        return self.run.class_report(self.part)

    @property
    def confusion(self) -> pd.DataFrame:
        """Images by true and predicted class."""
        return self.run.confusion(self.part)

    @property
    def measures(self) -> pd.DataFrame:
        """Every figure with its 95 % interval, overall and by class (`evaluation/measures.py`)."""
        return self.run.measures(self.part)

    def figure(self) -> Figure:
        """The confusion matrix, counts and row shares."""
        return confusion_figure(self.confusion)


@dataclass(frozen=True)
class Comparison:
    """The runs ranked by validation, and compared two by two. `stale`: runs that are left out, since they were trained
    or evaluated on other splits than the project has now."""

    facts: ComparisonFacts
    stale: tuple[str, ...]

    @property
    def table(self) -> pd.DataFrame:
        """The leaderboard, see `evaluation/comparison.py`."""
        return self.facts.leaderboard

    @property
    def part(self) -> Part:
        """Whose images the pairs were compared on: test if that was opened for all of them, else validation."""
        return self.facts.part

    @property
    def pairs(self) -> Pairwise:
        """Every two models on the same images."""
        return self.facts.pairs

    @property
    def looks(self) -> Looks:
        """When the test part was opened."""
        return self.facts.looks

    @property
    def chosen(self) -> str:
        """The model_id of the best run."""
        return str(self.table["model_id"].iloc[0])

    @property
    def sentences(self) -> tuple[str, ...]:
        """What each pair says, in words."""
        return tuple(map(sentence, self.pairs.pairs))

    def figure(self) -> Figure:
        """Accuracy against latency, size and training time."""
        return tradeoff_figure(self.table)


@dataclass(frozen=True)
class Differences:
    """How two runs differ on the same part. `reports`: their class reports side by side. `images`: a row for each image
    that only one of them gets right; `sheet`: thumbnails of these, as a JPEG."""

    part: Part
    pair: Pair
    reports: pd.DataFrame
    images: pd.DataFrame
    sheet: Path


@dataclass(frozen=True)
class Reasons:
    """Why a run says what it says of a part's images."""

    run: Run
    part: Part

    @property
    def folder(self) -> Path:
        """The pictures and the map, with their tables."""
        return self.run.reasons(self.part)

    @property
    def examples(self) -> pd.DataFrame:
        """A row an example (`evaluation/telling.py`), with the training images most like it and its picture."""
        return self.run.examples(self.part)


@dataclass(frozen=True)
class Tuning:
    """A search for better settings of the recipe `name`: a row a trial, each setting's share of what moved the
    validation loss, and the run that was trained with the best."""

    name: str
    trials: pd.DataFrame
    importances: dict[str, float]
    run: Run


@dataclass(frozen=True)
class Untried:
    """A model for which there was no time, and the seconds that it would take."""

    name: str
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """Everything that the main job made."""

    project: Project
    catalogue: Catalogue
    cleaned: Catalogue
    issues: Issues
    splits: Splits
    runs: tuple[Run, ...]
    evaluations: tuple[Evaluation, ...]
    comparison: Comparison
    report: Path
    costs: tuple[StageCost, ...]
    untried: tuple[Untried, ...] = ()

    @property
    def bought(self) -> tuple[tuple[str, float, float], ...]:
        """What training time bought: name, validation accuracy and seconds of each model that was better than all
        that took less time, the quickest first."""
        table = self.comparison.table.sort_values(["train_seconds", "model_id"])
        is_better = table["acc_val"] > table["acc_val"].cummax().shift(fill_value=-1.0)
        rows = table[is_better][["model_id", "acc_val", "train_seconds"]].itertuples(index=False)
        return tuple((str(name), float(accuracy), float(seconds)) for name, accuracy, seconds in rows)


@dataclass(frozen=True)
class DeckResult:
    """One model of the deck and ours: its metrics (a row of results.csv) and the test accuracy's 95 % Wilson interval,
    or else the reason for which there is none, `failure`, and the backbone whose weights could not be had."""

    row: DeckRow
    model_id: str
    metrics: dict[str, Any] | None = None
    interval: tuple[float, float] | None = None
    failure: str = ""
    lacks_weights_of: str | None = None

    @property
    def points(self) -> float | None:
        """Our test accuracy less the deck's, percentage points."""
        return None if self.metrics is None else 100 * (self.metrics["accuracy"] - self.row.accuracy)

    @property
    def is_deck_within(self) -> bool | None:
        """Whether the deck's test accuracy lies in the interval of ours."""
        return None if self.interval is None else self.interval[0] <= self.row.accuracy <= self.interval[1]


@dataclass(frozen=True)
class Reproduction:
    """The deck's models beside ours, in the deck's order, as far as they were trained.

    `epochs_scale`: what the deck's epochs were multiplied by. `leaks`: pairs of near-duplicates in different parts.
    """

    project: Project
    epochs_scale: float
    leaks: int
    results: tuple[DeckResult, ...] = ()

    @property
    def failed(self) -> tuple[DeckResult, ...]:
        """Those of which there is none of ours."""
        return tuple(result for result in self.results if result.failure)

    @property
    def table(self) -> pd.DataFrame:
        """A row a model: who it is, each accuracy of the deck's and ours, their difference in test, and our seconds."""
        return pd.DataFrame([_deck_record(result) for result in self.results]).convert_dtypes()


def _deck_record(result: DeckResult) -> dict[str, Any]:
    row, ours = result.row, result.metrics or {}
    low, high = result.interval or (None, None)
    record: dict[str, Any] = {
        "recipe": row.recipe,
        "model_id": result.model_id,
        "deck_name": row.deck_name,
        "group": row.group,
    }
    for name in ("acc_train", "acc_val", "accuracy"):
        record |= {f"deck_{name}": getattr(row, name), name: ours.get(name)}
    return record | {
        "difference_points": result.points,
        "accuracy_low": low,
        "accuracy_high": high,
        "deck_is_within": result.is_deck_within,
        "epochs": ours.get("epochs"),
        "train_seconds": ours.get("train_seconds"),
        "failure": result.failure,
    }
