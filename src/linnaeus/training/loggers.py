"""Other places that are told of a training, epoch by epoch: TensorBoard, MLflow, Weights & Biases."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from linnaeus.errors import RecipeError, TrainingError

Report = Callable[[Mapping[str, float]], None]


def _tensorboard(folder: Path, model_id: str) -> Any:
    from lightning.pytorch.loggers import TensorBoardLogger

    return TensorBoardLogger(str(folder), name=model_id)


def _mlflow(folder: Path, model_id: str) -> Any:
    from lightning.pytorch.loggers import MLFlowLogger

    store = f"sqlite:///{folder / 'mlflow.db'}"
    return MLFlowLogger(folder.resolve().parent.parent.name, run_name=model_id, tracking_uri=store)


def _wandb(folder: Path, model_id: str) -> Any:
    from lightning.pytorch.loggers import WandbLogger

    return WandbLogger(name=model_id, project=folder.resolve().parent.parent.name, save_dir=str(folder))


# Name: the package that it needs, and how Lightning's logger for it is made.
LOGGERS: dict[str, tuple[str, Callable[[Path, str], Any]]] = {
    "tensorboard": ("tensorboard", _tensorboard),
    "mlflow": ("mlflow", _mlflow),
    "wandb": ("wandb", _wandb),
}


def check_loggers(names: Sequence[str]) -> None:
    """Raise RecipeError for an unknown logger, TrainingError with the pip line for one whose package is absent."""
    for name in names:
        if name not in LOGGERS:
            raise RecipeError(f"no logger {name!r}; there are {', '.join(LOGGERS)}")
        package = LOGGERS[name][0]
        if find_spec(package) is None:
            raise TrainingError(f"logging to {name} needs a package that is not installed; run: pip install {package}")


@contextmanager
def reporting_to(names: Sequence[str], folder: Path, model_id: str, settings: Mapping[str, Any]) -> Iterator[Report]:
    """Where to send each epoch's row of the history; all loggers get the recipe's settings first.

    Their files go to `folder`/<logger>. Raises what check_loggers raises.
    """
    check_loggers(names)
    loggers = []
    for name in names:
        (folder / name).mkdir(parents=True, exist_ok=True)
        loggers.append(LOGGERS[name][1](folder / name, model_id))

    def report(row: Mapping[str, float]) -> None:
        figures = {key: value for key, value in row.items() if key != "epoch"}
        for logger in loggers:
            logger.log_metrics(figures, step=int(row["epoch"]))

    status = "failed"
    try:
        for logger in loggers:
            logger.log_hyperparams(dict(settings))
        yield report
        status = "success"
    finally:
        for name, logger in zip(names, loggers, strict=True):
            logger.finalize(status)
            if name == "wandb":  # which would log the next model of this process to the same run
                logger.experiment.finish(exit_code=int(status != "success"))
