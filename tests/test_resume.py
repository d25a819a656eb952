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
import torch
from typer.testing import CliRunner

from colours import write_images
from linnaeus import stages
from linnaeus.cli.main import app
from linnaeus.errors import TrainingError
from linnaeus.files import file_hash
from linnaeus.progress import Advance
from linnaeus.recipe import load_recipe
from linnaeus.runs import Run
from linnaeus.settings import CleanRecipe, SplitRecipe
from linnaeus.steps.training import Manner

pytestmark = pytest.mark.usefixtures("one_thread")

RECIPE = """
name: own
model: {kind: scratch, conv_widths: [4, 8], pool_sizes: [2, 2], batch_norm: true, dense_widths: [8], dropouts: [0.3]}
training:
  {epochs: 6, batch_size: 8, patience: 3, learning_rate: 0.01, schedule: one-cycle, mix_up: 0.2, cut_mix: 1.0,
   average: 0.9, label_smoothing: 0.1}
"""
SECONDS_A_STEP = 0.1  # of the trainings that are stopped
STEPS_BEFORE_THE_KILL = 7
PATIENCE_SECONDS = 120  # before a test fails

# The command line with a bar that takes its time, so that there is time to stop it.
SLOW_COMMAND = f"""
import signal
import time
from contextlib import contextmanager
from linnaeus import progress
from linnaeus.cli.main import main

@contextmanager
def bars(description, total):
    yield lambda steps: time.sleep({SECONDS_A_STEP})

progress.bars = bars
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a process in the background ignores
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
    torch.set_num_threads(1)

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


def test_killed_while_it_trains_it_goes_on_to_the_very_same_model(
    project: Path, recipe_file: Path, undisturbed: Run
) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["linnaeus.stages"])
    process = context.Process(target=_slow_training, args=(project, recipe_file))
    process.start()
    state, saved = project / "checkpoints" / "own" / "state.pt", set[int]()

    def has_saved_often() -> bool:
        assert process.is_alive(), "it ended by itself"
        if state.is_file():
            saved.add(state.stat().st_mtime_ns)
        return len(saved) > STEPS_BEFORE_THE_KILL

    try:
        _wait_until(has_saved_often)
    finally:
        process.kill()
        process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (project / "runs" / "own").exists()
    run = stages.train(project, recipe_file, manner=Manner(resume=True))
    _assert_same(run, undisturbed)
    assert run.training.train_seconds >= run.history["seconds"].sum() > STEPS_BEFORE_THE_KILL * SECONDS_A_STEP
    assert not (project / "checkpoints" / "own").exists()


class _Cut(Exception):
    pass


def _begin(project: Path, recipe_file: Path) -> None:
    """Train for three steps, of which two are kept."""

    @contextmanager
    def cutting(description: str, total: int) -> Iterator[Advance]:
        begun: list[int] = []

        def advance(steps: int) -> None:
            begun.append(steps)
            if len(begun) == 4:
                raise _Cut

        yield advance if description.startswith("Training") else lambda steps: None

    with pytest.raises(_Cut):
        stages.train(project, recipe_file, manner=Manner(checkpoint_seconds=0), progress=cutting)
    assert (project / "checkpoints" / "own" / "state.pt").is_file()


def test_what_was_begun_is_begun_anew_unless_it_is_to_go_on(project: Path, recipe_file: Path, undisturbed: Run) -> None:
    _begin(project, recipe_file)
    _assert_same(stages.train(project, recipe_file), undisturbed)
    assert not (project / "checkpoints" / "own").exists()


def test_what_was_begun_on_other_settings_is_not_gone_on_with(project: Path, recipe_file: Path) -> None:
    _begin(project, recipe_file)
    changed = load_recipe(recipe_file).changed({"training.epochs": 2}, name="own")
    with pytest.raises(TrainingError, match=r"other images, splits or settings; delete it, or train without --resume"):
        stages.train(project, changed, manner=Manner(resume=True))
    assert len(stages.train(project, changed, manner=Manner(resume="if-it-fits")).history) == 2


def test_what_was_begun_on_other_splits_is_not_gone_on_with(project: Path, recipe_file: Path) -> None:
    _begin(project, recipe_file)
    stages.split(project, SplitRecipe(seed=9))
    with pytest.raises(TrainingError, match="other images, splits or settings"):
        stages.train(project, recipe_file, manner=Manner(resume=True))


def test_a_run_says_what_it_was_made_from_and_with(undisturbed: Run, recipe_file: Path) -> None:
    origin, root = undisturbed.provenance, undisturbed.folder.parents[1]
    assert origin["images_sha256"] == file_hash(root / "clean.parquet")
    assert origin["splits_sha256"] == file_hash(root / "splits.parquet")
    assert (origin["seed"], origin["recipe"]) == (0, "own")
    assert {"time", "device", "precision", "command", "versions", "machine"} <= origin.keys()
    assert undisturbed.recipe == load_recipe(recipe_file)


def test_ctrl_c_ends_after_the_step_and_resume_goes_on(project: Path, recipe_file: Path, undisturbed: Run) -> None:
    command = [sys.executable, "-c", SLOW_COMMAND, "train", str(project), "--recipe", str(recipe_file)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    try:
        _wait_until((project / "checkpoints" / "own" / "history.csv").is_file)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 1
    assert "Stopped in epoch " in told or "Stopped after epoch " in told
    assert "--resume" in told
    assert "Traceback" not in told
    assert (project / "checkpoints" / "own" / "state.pt").is_file()
    result = CliRunner().invoke(app, ["train", str(project), "--recipe", str(recipe_file), "--resume", "--quiet"])
    assert result.exit_code == 0, result.output
    _assert_same(Run(project / "runs" / "own"), undisturbed)
