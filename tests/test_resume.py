"""A training that is killed, or stopped by Ctrl-C, and goes on ends as if nothing had happened."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from colours import write_images
from linnaeus import stages
from linnaeus.cli.main import app
from linnaeus.errors import TrainingError
from linnaeus.progress import Advance
from linnaeus.recipe import load_recipe
from linnaeus.runs import Run
from linnaeus.settings import CleanRecipe
from linnaeus.steps.training import Manner

RECIPE = """
name: own
model: {kind: scratch, conv_widths: [4, 8], pool_sizes: [2, 2], batch_norm: true, dense_widths: [8], dropouts: [0.3]}
training:
  {epochs: 6, batch_size: 8, patience: 3, learning_rate: 0.01, schedule: one-cycle, mix_up: 0.2, cut_mix: 1.0,
   average: 0.9, label_smoothing: 0.1}
"""
SECONDS_A_STEP = 0.1  # of the trainings that are stopped
PATIENCE_SECONDS = 60

# The command line with a bar that takes its time, so that there is time to stop it.
SLOW_COMMAND = f"""
import time
from contextlib import contextmanager
from linnaeus import progress
from linnaeus.cli.main import main

@contextmanager
def bars(description, total):
    yield lambda steps: time.sleep({SECONDS_A_STEP})

progress.bars = bars
main()
"""


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "own.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that is ready for training."""
    folder = tmp_path_factory.mktemp("fresh")
    stages.catalogue(write_images(folder / "images", per_class=16), folder / "p")
    stages.clean(folder / "p", CleanRecipe(size=32))
    stages.split(folder / "p")
    return folder / "p"


@pytest.fixture
def project(fresh: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(fresh, tmp_path / "p"))


@pytest.fixture(scope="module")
def undisturbed(fresh: Path, recipe_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = Path(shutil.copytree(fresh, tmp_path_factory.mktemp("undisturbed") / "p"))
    return stages.train(folder, recipe_file)


def _slow_training(project: Path, recipe_file: Path) -> None:
    @contextmanager
    def slow(description: str, total: int) -> Iterator[Advance]:
        yield lambda steps: time.sleep(SECONDS_A_STEP)

    stages.train(project, recipe_file, manner=Manner(checkpoint_seconds=0), progress=slow)


def _wait_until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


def _assert_same(run: Run, undisturbed: Run) -> None:
    assert (run.folder / "model.safetensors").read_bytes() == (undisturbed.folder / "model.safetensors").read_bytes()
    histories = [each.history.drop(columns="seconds") for each in (run, undisturbed)]
    pd.testing.assert_frame_equal(histories[0], histories[1], check_exact=True)
    assert run.training.best_epoch == undisturbed.training.best_epoch


def _kill_while_it_trains(project: Path, recipe_file: Path, steps: int) -> None:
    """Begin a training in a process of its own, and kill it once it has saved so many steps."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["linnaeus.stages"])
    process = context.Process(target=_slow_training, args=(project, recipe_file))
    process.start()
    state, seen = project / "checkpoints" / "own" / "state.pt", set[int]()

    def has_saved() -> bool:
        if state.is_file():
            seen.add(state.stat().st_mtime_ns)
        return len(seen) >= steps

    _wait_until(has_saved)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL


def test_killed_while_it_trains_it_goes_on_to_the_very_same_model(
    project: Path, recipe_file: Path, undisturbed: Run
) -> None:
    _kill_while_it_trains(project, recipe_file, steps=8)
    assert not (project / "runs" / "own").exists()
    run = stages.train(project, recipe_file, manner=Manner(resume=True))
    _assert_same(run, undisturbed)
    assert not (project / "checkpoints" / "own").exists()


def test_killed_and_begun_anew_it_ends_the_same_as_well(project: Path, recipe_file: Path, undisturbed: Run) -> None:
    _kill_while_it_trains(project, recipe_file, steps=2)
    _assert_same(stages.train(project, recipe_file), undisturbed)


def test_what_was_begun_on_other_settings_or_splits_is_not_gone_on_with(project: Path, recipe_file: Path) -> None:
    _kill_while_it_trains(project, recipe_file, steps=2)
    changed = load_recipe(recipe_file).changed({"training.epochs": 7}, name="own")
    with pytest.raises(TrainingError, match=r"other images, splits or settings; delete it, or train without --resume"):
        stages.train(project, changed, manner=Manner(resume=True))
    assert stages.train(project, changed).folder.is_dir()


def test_ctrl_c_ends_after_the_step_and_resume_goes_on(project: Path, recipe_file: Path, undisturbed: Run) -> None:
    command = [sys.executable, "-c", SLOW_COMMAND, "train", str(project), "--recipe", str(recipe_file)]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )
    _wait_until((project / "checkpoints" / "own" / "history.csv").is_file)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1
    assert "Stopped in epoch " in told or "Stopped after epoch " in told
    assert "--resume" in told
    assert "Traceback" not in told
    assert (project / "checkpoints" / "own" / "state.pt").is_file()
    result = CliRunner().invoke(app, ["train", str(project), "--recipe", str(recipe_file), "--resume", "--quiet"])
    assert result.exit_code == 0, result.output
    _assert_same(Run(project / "runs" / "own"), undisturbed)
