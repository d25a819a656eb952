"""Two processes that train together end where one alone does."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from colours import write_images
from linnaeus import stages
from linnaeus.project import open_project
from linnaeus.recipe import load_recipe
from linnaeus.scale.processes import Shard, devices_here, first_process_alone, this_shard, wait_for_all
from linnaeus.settings import CleanRecipe, SplitRecipe

RECIPE = """
name: small
model: {kind: scratch, conv_widths: [4], pool_sizes: [4], dense_widths: [8]}
data: {balance: class-weights, augment: {}}
training: {epochs: 3, batch_size: 5, learning_rate: 0.01, optimizer: sgd, precision: 32-true}
"""
COLUMNS = ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"]


def test_a_process_that_torchrun_did_not_start_is_alone() -> None:
    assert this_shard() == Shard(0, 1)
    assert devices_here() == 1
    wait_for_all()
    with first_process_alone():
        assert this_shard().is_first


def test_a_process_knows_its_place_among_those_that_torchrun_started(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    assert this_shard() == Shard(5, 8)
    assert not this_shard().is_first
    assert devices_here() == 4


def test_the_shares_of_all_processes_are_the_whole_each_item_once() -> None:
    items = [*range(10)]
    shares = [Shard(number, 3).share(items) for number in range(3)]
    assert sorted(item for share in shares for item in share) == items
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_two_processes_train_what_one_alone_does_and_write_it_once(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(RECIPE)
    images = write_images(tmp_path / "colours", per_class=11)  # validation ends with a batch of a single image
    together = open_project(tmp_path / "together")
    stages.catalogue(images, together)
    stages.clean(together, CleanRecipe(size=24))
    splits = stages.split(together, SplitRecipe(near_duplicates=False))
    assert len(splits.val) % 5 == 1
    alone = shutil.copytree(together.root, tmp_path / "alone")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "linnaeus"]
    arguments = ["train", str(together.root), "--recipe", str(tmp_path / "small.yaml")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("small: 3 epochs") == 1
    assert "Warning" not in done.stderr
    expected = stages.train(alone, load_recipe(tmp_path / "small.yaml"))
    run = together.runs / "small"
    found = pd.read_csv(run / "history.csv")
    pd.testing.assert_frame_equal(found[COLUMNS], expected.history[COLUMNS], rtol=1e-5)
    assert sorted(path.name for path in run.iterdir()) == sorted(path.name for path in expected.folder.iterdir())
    assert not (together.checkpoints / "small").exists()
    assert together.trained() == ["small"]
    assert [path.name for path in together.root.rglob("*partial*")] == []
