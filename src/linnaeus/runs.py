"""The run folder: one model, from its recipe to its predictions. The only file that knows its file names.

runs/<model_id>/
  recipe.yaml                      what was asked
  model.safetensors, model.json    the classifier (networks/classifier.py); this folder is all that predicting needs
  history.csv .png                 every epoch, those of the run it started from first
  training.json                    the epoch that was kept, seconds, parameters, size, what happened on the way
  provenance.json                  seed, hashes of images and splits, versions, machine, command
  predictions-val.csv .parquet     a row an image; the same for test
  report-test.csv, confusion-test.csv .png
  metrics.json                     the row of results.csv
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from linnaeus.errors import ProjectError
from linnaeus.files import read_json, write_json, write_table, write_text, write_with
from linnaeus.recipe import Recipe, checked, load_yaml, recipe_text
from linnaeus.records import Part

# The deck's log, and then what its comparison of size and time needs.
RESULT_COLUMNS = (
    *("time", "model_id", "learning_rate", "epochs", "batchsize"),
    *("acc_train", "acc_val", "accuracy", "precision", "recall", "f1_score"),
    *("parameters", "size_mb", "train_seconds", "predict_ms_per_image"),
)


@dataclass(frozen=True)
class TrainingFacts:
    """What training leaves beside the model: the kept epoch (0 for none) of this run's own epochs, the training
    accuracy in it, wall seconds (reading features included, an earlier run that it starts from not), parameters
    (running statistics included), how many of them were trained, the file's MiB, and what happened on the way that a
    user should know."""

    best_epoch: int
    epochs: int
    acc_train: float | None
    train_seconds: float
    parameters: int
    trainable_parameters: int
    size_mb: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Run:
    """A run folder and its tables."""

    folder: Path

    @property
    def model_id(self) -> str:
        """The run's name."""
        return self.folder.name

    @property
    def recipe(self) -> Recipe:
        """The recipe it was trained by."""
        return checked(Recipe, load_yaml(self.folder / "recipe.yaml"), where=str(self.folder / "recipe.yaml"))

    @property
    def history(self) -> pd.DataFrame:
        """Every epoch: epoch, loss, accuracy, val_loss, val_accuracy, learning_rate, seconds, model_id."""
        return pd.read_csv(self.folder / "history.csv")

    @property
    def history_picture(self) -> Path:
        """Where the curves' picture goes."""
        return self.folder / "history.png"

    @property
    def training(self) -> TrainingFacts:
        """How training ended."""
        content = read_json(self.folder / "training.json")
        return TrainingFacts(**content | {"notes": tuple(content["notes"])})

    @property
    def provenance(self) -> dict[str, Any]:
        """What it was made from and with: seed, hashes, versions, machine, command."""
        found: dict[str, Any] = read_json(self.folder / "provenance.json")
        return found

    @property
    def metrics_file(self) -> Path:
        """What evaluation writes last."""
        return self.folder / "metrics.json"

    @property
    def metrics(self) -> dict[str, Any]:
        """The run's row in results.csv. Raises ProjectError where it was not evaluated."""
        if not self.metrics_file.is_file():
            raise ProjectError(f"{self.model_id} has not been evaluated; run: linnaeus evaluate PROJECT")
        metrics: dict[str, Any] = read_json(self.metrics_file)
        return metrics

    def predictions(self, part: Part) -> pd.DataFrame:
        """relpath, category, label, predicted, predicted_category, probability, and `p_<class>` for each class."""
        return pd.read_parquet(self.folder / f"predictions-{part}.parquet")

    def class_report(self) -> pd.DataFrame:
        """Precision, recall, f1-score and support by class, on the test part."""
        return _read_by_class(self.folder / "report-test.csv", "class")

    def confusion(self) -> pd.DataFrame:
        """Images by true and predicted class, on the test part."""
        return _read_by_class(self.folder / "confusion-test.csv", "true")

    @property
    def confusion_picture(self) -> Path:
        """Where the confusion matrix's picture goes."""
        return self.folder / "confusion-test.png"

    def save_training(self, recipe: Recipe, history: pd.DataFrame, facts: TrainingFacts) -> None:
        """Write everything that training made, the classifier excepted."""
        write_text(self.folder / "recipe.yaml", recipe_text(recipe))
        write_with(self.folder / "history.csv", lambda path: history.to_csv(path, index=False))
        write_json(self.folder / "training.json", asdict(facts))

    def save_provenance(self, origin: dict[str, Any]) -> None:
        """Write what the run was made from and with."""
        write_json(self.folder / "provenance.json", origin)

    def save_predictions(self, part: Part, predictions: pd.DataFrame) -> None:
        """Write one part's predictions."""
        write_table(predictions, self.folder / f"predictions-{part}.parquet")

    def save_evaluation(self, report: pd.DataFrame, confusion: pd.DataFrame, metrics: dict[str, Any]) -> None:
        """Write the test part's tables and the row for results.csv."""
        write_with(self.folder / "report-test.csv", report.to_csv)
        write_with(self.folder / "confusion-test.csv", confusion.to_csv)
        write_json(self.metrics_file, metrics)


def log_result(path: Path, metrics: dict[str, Any]) -> None:
    """Add a run's row to the log; an earlier row of the same model_id gives way to it."""
    rows = read_results(path) if path.is_file() else pd.DataFrame()
    if not rows.empty:
        rows = rows[rows["model_id"] != metrics["model_id"]]
    log = pd.DataFrame([*rows.to_dict("records"), metrics], columns=list(RESULT_COLUMNS))
    write_with(path, lambda partial: log.to_csv(partial, index=False))


def read_results(path: Path) -> pd.DataFrame:
    """The log, RESULT_COLUMNS, a row a run."""
    return pd.read_csv(path, dtype={"model_id": str}, keep_default_na=False, na_values=[""])


def _read_by_class(path: Path, index: str) -> pd.DataFrame:
    """A table with class names for its index, which stay text even where they look like numbers."""
    return pd.read_csv(path, dtype={index: str}, keep_default_na=False).set_index(index)
