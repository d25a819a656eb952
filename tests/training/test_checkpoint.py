"""A training that is cut off anywhere and goes on ends as if nothing had happened."""

import errno
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from linnaeus.data.dataset import TensorTable
from linnaeus.errors import TrainingError
from linnaeus.networks.classifier import Network
from linnaeus.progress import Advance, Progress, silent
from linnaeus.recipe_sections import TrainingRecipe
from linnaeus.training.checkpoint import Checkpoints, Standing
from linnaeus.training.fit import Fitted, Loaders, Watch, fit
from linnaeus.training.optimization import ParameterPlan
from linnaeus.training.step import Step

pytestmark = pytest.mark.usefixtures("one_thread")

# Everything that has a memory: optimizer, schedule, average, mixing, dropout, statistics, patience, unfreezing.
RECIPE = TrainingRecipe(
    optimizer="adamw",
    learning_rate=0.05,
    weight_decay=0.1,
    schedule="one-cycle",
    epochs=6,
    patience=2,
    batch_size=8,
    label_smoothing=0.1,
    mix_up=0.4,
    cut_mix=1.0,
    average=0.8,
    precision="32-true",
)
STEPS = 3  # an epoch, the last of half a batch
PLAN = ParameterPlan({"body.0.weight": 0.3}, {"body.0.weight": 2, "body.0.bias": 1, "body.1.weight": 1})


class _Cut(Exception):
    """The training's end, wherever it comes."""


def _network() -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        body = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
        return Network(body, nn.Sequential(nn.Dropout(0.3), nn.Linear(36, 2)), trains_statistics=True)


def _loaders(recipe: TrainingRecipe = RECIPE) -> Loaders:
    """20 images that tell their class, and 12 of which most have the wrong one, so that validation soon gets worse."""

    def table(images: int, seed: int, wrong: int) -> TensorTable:
        labels = np.arange(images) % 2
        noise = np.random.default_rng(seed).normal(0, 1, (2, images, 2, 5, 5)).astype(np.float32)
        views = noise + labels[:, None, None, None].astype(np.float32)
        shown = np.where(np.arange(images) < wrong, 1 - labels, labels)
        return TensorTable([*views], np.arange(images), shown, shuffle=wrong == 0, seed=recipe.seed)

    return table(20, 0, wrong=0).loader(recipe.batch_size), table(12, 1, wrong=8).loader(recipe.batch_size)


def _cutting_after(steps: int) -> Progress:
    """A bar that ends the training once so many steps are done."""

    @contextmanager
    def progress(description: str, total: int) -> Iterator[Advance]:
        begun: list[int] = []

        def advance(done: int) -> None:
            begun.append(done)  # the first is where it starts from
            if len(begun) == steps + 1:
                raise _Cut

        yield advance

    return progress


def _kept(folder: Path, **changes: Any) -> Checkpoints:
    return replace(Checkpoints(folder, key="ours", every_seconds=0, resume=True), **changes)


class _Trained(NamedTuple):
    """What training left."""

    fitted: Fitted
    network: Network

    def assert_equals(self, other: "_Trained") -> None:
        """Bit by bit, the time that it took left out."""
        mine, theirs = self.network.state_dict(), other.network.state_dict()
        assert [name for name in mine if not torch.equal(mine[name], theirs[name])] == []
        histories = [each.fitted.history.drop(columns="seconds") for each in (self, other)]
        pd.testing.assert_frame_equal(histories[0], histories[1], check_exact=True)
        assert self.fitted.best_epoch == other.fitted.best_epoch


def _train(
    checkpoints: Checkpoints | None = None, progress: Progress = silent, recipe: TrainingRecipe = RECIPE
) -> _Trained:
    torch.manual_seed(int(np.random.default_rng().integers(1000)))  # on which nothing may depend
    network = _network()
    watch = Watch(progress=progress, checkpoints=checkpoints)
    return _Trained(fit(network, _loaders(recipe), recipe, plan=PLAN, watch=watch), network)


@pytest.fixture(scope="module")
def undisturbed() -> _Trained:
    return _train()


def test_the_training_that_is_cut_off_below_ends_early_with_a_best_epoch_of_its_own(undisturbed: _Trained) -> None:
    epochs = len(undisturbed.fitted.history)
    assert 1 < epochs < RECIPE.epochs
    assert undisturbed.fitted.best_epoch == epochs - 2


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 6, 8, 9])
def test_cut_off_at_any_step_it_goes_on_to_the_very_same_end(steps: int, tmp_path: Path, undisturbed: _Trained) -> None:
    with pytest.raises(_Cut):
        _train(_kept(tmp_path), _cutting_after(steps))
    _train(_kept(tmp_path)).assert_equals(undisturbed)


def test_cut_off_again_and_again_after_a_step_each_it_ends_the_same(tmp_path: Path, undisturbed: _Trained) -> None:
    cuts = 0
    while True:
        try:
            trained = _train(_kept(tmp_path), _cutting_after(2))  # the second is not kept
        except _Cut:
            cuts += 1
        else:
            break
    assert cuts >= STEPS * len(undisturbed.fitted.history) - 2
    trained.assert_equals(undisturbed)


@pytest.mark.parametrize("batch", [1, 2, 3, 4])
def test_cut_off_while_it_validates_it_goes_on_to_the_same_end(
    batch: int, tmp_path: Path, undisturbed: _Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure, seen = Step.measure, 0

    def cutting(*arguments: Any) -> object:
        nonlocal seen
        seen += 1
        if seen == batch:
            raise _Cut
        return measure(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Step, "measure", cutting)
        with pytest.raises(_Cut):
            _train(_kept(tmp_path))
    _train(_kept(tmp_path)).assert_equals(undisturbed)


def test_a_training_that_had_ended_has_nothing_left_to_do(tmp_path: Path, undisturbed: _Trained) -> None:
    _train(_kept(tmp_path)).assert_equals(undisturbed)
    steps: list[int] = []

    @contextmanager
    def counting(description: str, total: int) -> Iterator[Advance]:
        yield steps.append

    _train(_kept(tmp_path), counting).assert_equals(undisturbed)
    assert steps == [STEPS * len(undisturbed.fitted.history)]


@pytest.mark.parametrize("settings", [{"optimizer": "sgd"}, {"schedule": "cosine", "warm_up": 0.3}, {"average": 0.0}])
def test_other_recipes_go_on_as_well(settings: dict[str, object], tmp_path: Path) -> None:
    recipe = TrainingRecipe.model_validate(RECIPE.model_dump() | settings)
    with pytest.raises(_Cut):
        _train(_kept(tmp_path), _cutting_after(5), recipe)
    _train(_kept(tmp_path), recipe=recipe).assert_equals(_train(recipe=recipe))


def _pressing_ctrl_c_after(steps: int) -> Progress:
    @contextmanager
    def progress(description: str, total: int) -> Iterator[Advance]:
        begun: list[int] = []

        def advance(done: int) -> None:
            begun.append(done)
            if len(begun) == steps + 1:
                signal.raise_signal(signal.SIGINT)

        yield advance

    return progress


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C interrupts, also where the tests run in the background."""
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, earlier)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize(("steps", "where"), [(2, "in epoch 1, after step 2 of 3"), (3, "in epoch 1, after step 3 of")])
def test_ctrl_c_ends_after_the_step_keeps_it_and_says_how_to_go_on(
    steps: int, where: str, tmp_path: Path, undisturbed: _Trained
) -> None:
    with pytest.raises(KeyboardInterrupt, match=f"Stopped {where}.*--resume"):
        _train(_kept(tmp_path, every_seconds=1000), _pressing_ctrl_c_after(steps))
    standing, _ = _kept(tmp_path).load() or (Standing(), {})
    assert standing.step == steps
    _train(_kept(tmp_path)).assert_equals(undisturbed)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("epoch", [1, 3])
def test_ctrl_c_while_it_validates_ends_after_the_epoch(
    epoch: int, tmp_path: Path, undisturbed: _Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    validate, epochs = Step.measure, 0

    def pressing(*arguments: Any) -> object:
        nonlocal epochs
        epochs += 1
        if epochs == 2 * epoch:  # two batches an epoch
            signal.raise_signal(signal.SIGINT)
        return validate(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Step, "measure", pressing)
        with pytest.raises(KeyboardInterrupt, match=f"Stopped after epoch {epoch}\\..*--resume"):
            _train(_kept(tmp_path, every_seconds=1000))
    _train(_kept(tmp_path)).assert_equals(undisturbed)


@pytest.mark.usefixtures("ctrl_c")
def test_without_checkpoints_ctrl_c_promises_nothing() -> None:
    with pytest.raises(KeyboardInterrupt, match=r"^Stopped in epoch 1, after step 2 of 3\.$"):
        _train(None, _pressing_ctrl_c_after(2))


def test_without_a_checkpoint_it_begins_anew(tmp_path: Path, undisturbed: _Trained) -> None:
    assert _kept(tmp_path).load() is None
    _train(_kept(tmp_path)).assert_equals(undisturbed)


def test_unless_it_is_to_go_on_it_begins_anew_whatever_is_there(tmp_path: Path, undisturbed: _Trained) -> None:
    (tmp_path / "state.pt").write_bytes(b"anything")
    _train(_kept(tmp_path, resume=False)).assert_equals(undisturbed)


def _begun(folder: Path) -> Checkpoints:
    with pytest.raises(_Cut):
        _train(_kept(folder), _cutting_after(3))
    return _kept(folder)


def test_a_checkpoint_of_another_training_is_refused_with_advice(tmp_path: Path) -> None:
    _begun(tmp_path)
    with pytest.raises(TrainingError, match=r"other images, splits or settings; delete it, or train without --resume"):
        _train(_kept(tmp_path, key="theirs"))


@pytest.mark.parametrize("format_", [0, 99])
def test_a_checkpoint_of_another_version_is_refused_with_advice(format_: int, tmp_path: Path) -> None:
    checkpoints = _begun(tmp_path)
    content = torch.load(checkpoints.path, weights_only=True)
    torch.save(content | {"format": format_, "standing": {}}, checkpoints.path)
    with pytest.raises(TrainingError, match=r"state\.pt was written by another version; delete it, or train without"):
        checkpoints.load()


def test_a_checkpoint_that_counts_otherwise_is_of_another_version(tmp_path: Path) -> None:
    checkpoints = _begun(tmp_path)
    content = torch.load(checkpoints.path, weights_only=True)
    content["standing"]["weather"] = "fine"
    torch.save(content, checkpoints.path)
    with pytest.raises(TrainingError, match="another version"):
        checkpoints.load()


@pytest.mark.parametrize("damage", [False, True])
def test_if_it_is_to_fit_and_does_not_training_begins_anew_and_says_so(
    damage: bool, tmp_path: Path, undisturbed: _Trained, caplog: pytest.LogCaptureFixture
) -> None:
    path = _begun(tmp_path).path
    if damage:
        path.write_bytes(b"")
    _train(_kept(tmp_path, key="theirs", resume="if-it-fits")).assert_equals(undisturbed)
    reason = "is damaged" if damage else "is of a training on other images, splits or settings"
    assert f"{path} {reason}; training begins anew" in caplog.messages


def test_if_it_is_to_fit_and_does_training_goes_on(tmp_path: Path, undisturbed: _Trained) -> None:
    checkpoints = replace(_begun(tmp_path), resume="if-it-fits")
    assert checkpoints.load() is not None
    _train(checkpoints).assert_equals(undisturbed)


def _flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    weight = torch.load(path, weights_only=True)["network"]["head.1.weight"].numpy().tobytes()
    content[content.index(weight) + 9] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "empty": lambda path: path.write_bytes(b""),
    "no checkpoint": lambda path: path.write_text("hello"),
    "a bit flipped": _flip_a_bit,
    "something else": lambda path: torch.save([1, 2], path),
    "without what belongs to it": lambda path: torch.save({"weights": torch.zeros(2)}, path),
    "code": lambda path: torch.save({"format": 1, "key": "ours", "standing": os.getcwd}, path),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_refused_with_advice(damage: str, tmp_path: Path) -> None:
    checkpoints = _begun(tmp_path)
    DAMAGES[damage](checkpoints.path)
    with pytest.raises(TrainingError, match=r"state\.pt is damaged; delete it, or train without --resume"):
        checkpoints.load()


def _fail_midway(content: object, path: Path) -> None:
    path.write_bytes(b"half of it")
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_told_and_the_checkpoint_before_is_whole(
    tmp_path: Path, undisturbed: _Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = _begun(tmp_path)
    before = checkpoints.path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", _fail_midway)
        with pytest.raises(
            TrainingError, match=r"state\.pt could not be written \(No space left on device\).*--resume"
        ):
            _train(_kept(tmp_path))
    assert checkpoints.path.read_bytes() == before
    assert [*tmp_path.iterdir()] == [checkpoints.path]
    _train(_kept(tmp_path)).assert_equals(undisturbed)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_truly_full_device_is_told_as_well(tmp_path: Path) -> None:
    checkpoints = _begun(tmp_path)
    before = checkpoints.path.read_bytes()
    (tmp_path / ".state.partial.pt").symlink_to("/dev/full")
    with pytest.raises(TrainingError, match=r"state\.pt could not be written .*is the disk full\?"):
        checkpoints.save(Standing(), {"network": {"weight": torch.zeros(200_000)}})
    assert checkpoints.path.read_bytes() == before


def test_a_checkpoint_is_due_only_after_its_time(tmp_path: Path) -> None:
    assert not Checkpoints(tmp_path, "ours", every_seconds=1000).is_due()
    assert Checkpoints(tmp_path, "ours", every_seconds=0).is_due()
    _train(_kept(tmp_path, every_seconds=1000))
    assert [*tmp_path.iterdir()] == []
