"""The run folder: one model, from its recipe to its predictions. The only file that knows its file names.

runs/<model_id>/
  recipe.yaml                      what was asked
  model.safetensors, model.json    the classifier (networks/classifier.py)
  calibration.json, known.npz      how its outputs become answers (evaluation/answering.py)
  history.csv .png                 every epoch, those of the run it started from first
  training.json                    the epoch that was kept, seconds, parameters, size, what happened on the way
  provenance.json                  seed, hashes of images and splits, versions, machine, command
  README.md                        the model card, of the chosen run
  latency.csv                      how fast it is on this machine, in each way to run it
And of a part, `val` or, once the test part was opened, `test`:
  predictions-<part>.csv .parquet  a row an image, with calibrated probabilities
  measures-<part>.csv              every figure, overall and by class, with its interval
  report-<part>.csv                precision, recall, F1 and support by class
  confusion-<part>.csv .png        images by true and predicted class
  curves-<part>.csv .png           ROC and precision-recall, each class against the rest
  reliability-<part>.csv .png      how often it is right at which probability, before and after calibration
  slices-<part>.csv .png           kinds of images, and how often it is right on each
  unsliced-<part>.csv              the columns by which there are no kinds, and why
  metrics-<part>.json              its part of the row of results.csv
  reasons-<part>/                  why it says what it says (steps/explaining.py)
Where it was judged by folds: predictions-folds.csv .parquet, metrics-folds.json
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from linnaeus.errors import ProjectError
from linnaeus.files import read_json, read_text_table, write_json, write_text, write_with
from linnaeus.recipe import Recipe, checked, load_yaml, recipe_text
from linnaeus.records import PARTS, Part

# The deck's log, and then what its comparison of size and time needs.
RESULT_COLUMNS = (
    *("time", "model_id", "learning_rate", "epochs", "batchsize"),
    *("acc_train", "acc_val", "accuracy", "precision", "recall", "f1_score"),
    *("parameters", "size_mb", "train_seconds", "predict_ms_per_image"),
)

_NEAREST_TEXTS = tuple(f"nearest_{number}{what}" for number in (1, 2, 3) for what in ("", "_category"))


@dataclass(frozen=True)
class TrainingFacts:
    """What training leaves beside the model: the kept epoch (0 for none) of this run's own epochs, the training
    accuracy in it, wall seconds (reading features included, an earlier run that it starts from not), parameters
    (running statistics included), how many of them were trained, the file's MiB, what happened on the way that a user
    should know, and the joules that the system says the machine spent meanwhile, where it says so."""

    best_epoch: int
    epochs: int
    acc_train: float | None
    train_seconds: float
    parameters: int
    trainable_parameters: int
    size_mb: float
    notes: tuple[str, ...] = ()
    train_joules: float | None = None


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

    def of(self, part: Part, name: str) -> Path:
        """Where something about one part is, such as "measures.csv" or "confusion.png"."""
        stem, _, suffix = name.partition(".")
        return self.folder / f"{stem}-{part}.{suffix}"

    def is_judged(self, part: Part) -> bool:
        """Whether the run was evaluated on a part."""
        return self.of(part, "metrics.json").is_file()

    @property
    def metrics(self) -> dict[str, Any]:
        """The run's row in results.csv, without what the test part says where that is closed.

        Raises ProjectError where it was not evaluated.
        """
        if not self.is_judged("val"):
            raise ProjectError(f"{self.model_id} has not been evaluated; run: linnaeus evaluate PROJECT")
        judged = [self.of(part, "metrics.json") for part in PARTS if self.is_judged(part)]
        files = [*judged, *([self.folds_file] if self.folds_file.is_file() else [])]
        return {key: value for path in files for key, value in read_json(path).items()}

    @property
    def folds_file(self) -> Path:
        """How accurate the recipe is over folds of training and validation, where that was asked for."""
        return self.folder / "metrics-folds.json"

    def predictions(self, part: Part) -> pd.DataFrame:
        """relpath, category, label, predicted, predicted_category, probability, and `p_<class>` for each class."""
        return pd.read_parquet(self.of(part, "predictions.parquet"))

    def class_report(self, part: Part) -> pd.DataFrame:
        """Precision, recall, f1-score and support by class."""
        return read_text_table(self.of(part, "report.csv"), "class").set_index("class")

    def confusion(self, part: Part) -> pd.DataFrame:
        """Images by true and predicted class."""
        table = read_text_table(self.of(part, "confusion.csv"), "true / predicted")
        return table.set_index("true / predicted")

    def measures(self, part: Part) -> pd.DataFrame:
        """measure, class (empty for all together), value, low, high, interval."""
        return read_text_table(self.of(part, "measures.csv"), "class")

    @property
    def card(self) -> Path:
        """The model card."""
        return self.folder / "README.md"

    def slices(self, part: Part) -> pd.DataFrame:
        """How good it is on kinds of images, see `evaluation/slices.py`."""
        return read_text_table(self.of(part, "slices.csv"), "column", "slice")

    def reasons(self, part: Part) -> Path:
        """The folder that says why it says what it says of a part."""
        return self.folder / f"reasons-{part}"

    def examples(self, part: Part) -> pd.DataFrame:
        """Telling images of a part (`evaluation/telling.py`), with their picture and the training images most like
        them."""
        texts = ("sheet", "relpath", "category", "predicted_category", "picture", "method", *_NEAREST_TEXTS)
        return read_text_table(self.reasons(part) / "examples.csv", *texts)

    def feature_map(self, part: Part) -> pd.DataFrame:
        """Where a part's images lie in the run's feature space: relpath, category, predicted_category, x, y ..."""
        return read_text_table(self.reasons(part) / "map.csv", "relpath", "category", "predicted_category", "method")

    @property
    def latency(self) -> pd.DataFrame:
        """A row for each way to run it on the machine where it was evaluated."""
        return read_text_table(self.folder / "latency.csv", "backend", "reason")

    def save_training(self, recipe: Recipe, history: pd.DataFrame, facts: TrainingFacts) -> None:
        """Write everything that training made, the classifier excepted."""
        write_text(self.folder / "recipe.yaml", recipe_text(recipe))
        write_with(self.folder / "history.csv", lambda path: history.to_csv(path, index=False))
        write_json(self.folder / "training.json", asdict(facts))

    def save_provenance(self, origin: dict[str, Any]) -> None:
        """Write what the run was made from and with."""
        write_json(self.folder / "provenance.json", origin)


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
