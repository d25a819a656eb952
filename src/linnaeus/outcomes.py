"""What the verbs return: tables, figures and paths."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from linnaeus.data.catalogue import Catalogue
from linnaeus.data.issues import Issues
from linnaeus.data.split import Splits
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
