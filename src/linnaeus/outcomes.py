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
from linnaeus.project import Project
from linnaeus.records import StageCost
from linnaeus.reporting.figures import confusion_figure, tradeoff_figure
from linnaeus.runs import Run


@dataclass(frozen=True)
class Evaluation:
    """How good one run is.

    `metrics`: its row of results.csv. `class_report` and `confusion` are of the test part.
    """

    run: Run
    metrics: dict[str, Any]
    class_report: pd.DataFrame
    confusion: pd.DataFrame

    def figure(self) -> Figure:
        """The confusion matrix, counts and row shares."""
        return confusion_figure(self.confusion)


@dataclass(frozen=True)
class Comparison:
    """The runs ranked by validation accuracy.

    `table`: see `evaluation/comparison.py`. `stale`: evaluated runs that are left out, since they were trained or
    evaluated on other splits than the project has now.
    """

    table: pd.DataFrame
    stale: tuple[str, ...]

    @property
    def chosen(self) -> str:
        """The model_id of the best run."""
        return str(self.table["model_id"].iloc[0])

    def figure(self) -> Figure:
        """Accuracy against size and training time."""
        return tradeoff_figure(self.table)


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
