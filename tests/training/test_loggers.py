import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from linnaeus.errors import RecipeError, TrainingError
from linnaeus.training import loggers as module
from linnaeus.training.loggers import LOGGERS, check_loggers, reporting_to

ROWS: list[dict[str, float]] = [
    {"epoch": 1, "loss": 0.75, "val_accuracy": 0.5},
    {"epoch": 2, "loss": 0.25, "val_accuracy": 0.875},
]
SETTINGS = {"name": "tiny", "training": {"epochs": 2, "patience": None}, "model": {"conv_widths": [4, 8]}}


class _Logger:
    """What Lightning's loggers have that is used, noting what they are told."""

    def __init__(self, *arguments: object, **options: object) -> None:
        self.arguments, self.options = arguments, options
        self.told: list[object] = []
        self.experiment = SimpleNamespace(finish=lambda exit_code: self.told.append(("finished", exit_code)))

    def log_hyperparams(self, settings: dict[str, Any]) -> None:
        self.told.append(settings)

    def log_metrics(self, figures: dict[str, float], step: int) -> None:
        self.told.append((step, figures))

    def finalize(self, status: str) -> None:
        self.told.append(status)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> dict[str, _Logger]:
    """Each of Lightning's loggers by its class's name, once one has been made; their packages count as installed."""
    found: dict[str, _Logger] = {}

    def maker(name: str) -> Callable[..., _Logger]:
        def make(*arguments: object, **options: object) -> _Logger:
            found[name] = _Logger(*arguments, **options)
            return found[name]

        return make

    names = ("TensorBoardLogger", "MLFlowLogger", "WandbLogger")
    fake = SimpleNamespace(**{name: maker(name) for name in names})
    monkeypatch.setitem(sys.modules, "lightning.pytorch.loggers", fake)
    monkeypatch.setattr(module, "find_spec", lambda package: ModuleSpec(package, None))
    return found


def test_an_unknown_logger_is_refused_by_name_with_those_there_are() -> None:
    with pytest.raises(RecipeError, match=r"no logger 'papyrus'; there are tensorboard, mlflow, wandb"):
        check_loggers(["papyrus"])


@pytest.mark.parametrize("name", LOGGERS)
def test_a_logger_whose_package_is_absent_gives_the_pip_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda package: None)
    with pytest.raises(TrainingError, match=f"logging to {name} needs .*: pip install {LOGGERS[name][0]}$"):
        check_loggers([name])


def test_what_is_absent_is_told_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda package: None)
    with pytest.raises(TrainingError), reporting_to(["mlflow"], tmp_path / "logs", "tiny", SETTINGS):
        pytest.fail("training began")
    assert not (tmp_path / "logs").exists()


def test_without_loggers_nothing_is_told_and_no_folder_made(tmp_path: Path) -> None:
    with reporting_to([], tmp_path / "logs", "tiny", SETTINGS) as report:
        report(ROWS[0])
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize(
    ("name", "kind"), [("tensorboard", "TensorBoardLogger"), ("mlflow", "MLFlowLogger"), ("wandb", "WandbLogger")]
)
def test_each_logger_gets_the_settings_and_then_each_epoch_s_figures(
    name: str, kind: str, tmp_path: Path, made: dict[str, _Logger]
) -> None:
    with reporting_to([name], tmp_path / "logs", "tiny", SETTINGS) as report:
        for row in ROWS:
            report(row)
    told = made[kind].told
    assert told[0] == SETTINGS
    assert told[1:4] == [
        (1, {"loss": 0.75, "val_accuracy": 0.5}),
        (2, {"loss": 0.25, "val_accuracy": 0.875}),
        "success",
    ]
    assert told[4:] == ([("finished", 0)] if name == "wandb" else [])


@pytest.mark.parametrize("error", [TrainingError("nan"), KeyboardInterrupt()])
def test_a_training_that_ends_early_is_told_as_failed(
    error: BaseException, tmp_path: Path, made: dict[str, _Logger]
) -> None:
    def train() -> None:
        with reporting_to([*LOGGERS], tmp_path / "logs", "tiny", SETTINGS) as report:
            report(ROWS[0])
            raise error

    with pytest.raises(type(error)):
        train()
    assert [made[kind].told[2] for kind in ("TensorBoardLogger", "MLFlowLogger", "WandbLogger")] == ["failed"] * 3
    assert made["WandbLogger"].told[3] == ("finished", 1)


def test_runs_are_named_after_the_model_in_an_experiment_named_after_the_project(
    tmp_path: Path, made: dict[str, _Logger], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pets").mkdir()
    monkeypatch.chdir(tmp_path / "pets")
    with reporting_to([*LOGGERS], Path("logs"), "tiny", SETTINGS):
        pass
    board, flow, wandb = made["TensorBoardLogger"], made["MLFlowLogger"], made["WandbLogger"]
    assert (board.arguments, board.options) == (("logs/tensorboard",), {"name": "tiny"})
    assert flow.arguments == ("pets",)
    assert flow.options == {"run_name": "tiny", "tracking_uri": "sqlite:///logs/mlflow/mlflow.db"}
    assert wandb.options == {"name": "tiny", "project": "pets", "save_dir": "logs/wandb"}
    assert all(Path("logs", name).is_dir() for name in LOGGERS)


@pytest.mark.filterwarnings("ignore")  # of tensorboard's own packages
def test_tensorboard_s_event_file_holds_the_figures(tmp_path: Path) -> None:
    events_of = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with reporting_to(["tensorboard"], tmp_path, "tiny", SETTINGS) as report:
        for row in ROWS:
            report(row)
    (file,) = (tmp_path / "tensorboard" / "tiny").rglob("events.out.tfevents.*")
    events = events_of.EventAccumulator(str(file)).Reload()
    for name in ("loss", "val_accuracy"):
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert found == [(row["epoch"], row[name]) for row in ROWS]
