"""Train a network on batches; the epoch with the lowest validation loss is kept."""

import logging
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import islice
from time import perf_counter
from typing import Any

import lightning.fabric as lf
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader

from linnaeus.data.dataset import Batch
from linnaeus.errors import DivergedError, TrainingError
from linnaeus.progress import Advance, Progress, silent
from linnaeus.recipe_sections import TrainingRecipe
from linnaeus.scale.device import best_device, training_precision
from linnaeus.scale.processes import devices_here, this_shard
from linnaeus.training.checkpoint import Checkpoints, Standing
from linnaeus.training.interruption import interruptible
from linnaeus.training.optimization import ParameterPlan, averaging, build_optimizer, rate_at, set_rate
from linnaeus.training.step import Measured, Step

HISTORY_COLUMNS = ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds"]
COMPILE_PAYS_STEPS = 2000  # on CUDA: compiling takes about a minute

BatchNorm = torch.nn.modules.batchnorm._BatchNorm
Loaders = tuple[DataLoader[Batch], DataLoader[Batch]]
EpochReport = Callable[[Sequence[dict[str, float]]], None]


@dataclass(frozen=True)
class Fitted:
    """How training went. `history`: epoch (from 1), loss, accuracy, val_loss, val_accuracy, learning_rate and
    seconds, a row an epoch; `best_epoch` is the one whose weights the network now has, 0 for the untrained ones;
    `notes`: what happened on the way that a user should know."""

    history: pd.DataFrame
    best_epoch: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Watch:
    """Who is told what while training runs: a bar, a step at a time; a function, after each epoch, the rows of the
    history so far; and the checkpoints, None for none."""

    progress: Progress = silent
    on_epoch: EpochReport = field(default=lambda rows: None)
    checkpoints: Checkpoints | None = None


def fit(
    network: nn.Module,
    loaders: Loaders,
    recipe: TrainingRecipe,
    *,
    class_weights: NDArray[np.float32] | None = None,
    plan: ParameterPlan = ParameterPlan(),  # noqa: B008  # frozen
    watch: Watch = Watch(),  # frozen
) -> Fitted:
    """Train `network` in place on the (training, validation) loaders and leave it with its best epoch's weights.

    Reproducible by `recipe.seed` on one machine's CPU with as many threads, also where it goes on from a checkpoint.
    Ctrl-C ends it after the step. Raises DivergedError where the loss or a gradient is no longer finite, and
    TrainingError where memory does not suffice for one image, or where no parameter is left to train; the last
    checkpoint is kept.
    """
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise TrainingError("every parameter is frozen, so there is nothing to train")
    weights = None if class_weights is None else torch.from_numpy(class_weights)
    with torch.random.fork_rng(), _quiet_lightning(), interruptible() as is_asked_to_stop:
        fitting = _Fitting(network, loaders, recipe, plan, watch)
        fitting.train(weights, is_asked_to_stop)
    rows = pd.DataFrame(fitting.standing.rows, columns=HISTORY_COLUMNS)
    return Fitted(rows.astype({"epoch": int}), fitting.standing.best_epoch, tuple(fitting.standing.notes))


class _Fitting:
    """One training: the network and what moves it, and where it stands."""

    def __init__(
        self, network: nn.Module, loaders: Loaders, recipe: TrainingRecipe, plan: ParameterPlan, watch: Watch
    ) -> None:
        self.network = network
        self.train_loader, self.val_loader = loaders
        self.recipe = recipe
        self.plan = plan
        self.watch = watch
        self.standing = Standing()
        self.best: dict[str, torch.Tensor] = {}
        self.trainable = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
        self.batches = _batches(network, self.train_loader)
        self.steps = recipe.epochs * self.batches

    def train(self, class_weights: torch.Tensor | None, is_asked_to_stop: Callable[[], bool]) -> None:
        """Every epoch until the last, or until validation has not improved for too long."""
        self.fabric = _fabric(self.recipe, unfreezes=bool(self.plan.first_epochs))
        optimizer = build_optimizer(self.network.to(self.fabric.device), self.recipe, self.plan)
        self.average = averaging(self.network, self.recipe.average) if self.recipe.average else None
        compiled: Any = torch.compile(self.network) if self._compiles() else self.network
        model, self.optimizer = self.fabric.setup(compiled, optimizer)
        self.step = Step(self.fabric, model, self.recipe, class_weights)
        self.is_asked_to_stop = is_asked_to_stop
        self._go_on_from_checkpoint()
        with self.watch.progress(f"Training, {self.recipe.epochs} epochs at most", max(self.steps, 1)) as advance:
            advance(self.standing.epoch * self.batches + self.standing.step)
            while not self._is_finished():
                self._train_epoch(advance)
                self._end_epoch()
        if self.best:
            self.network.load_state_dict(self.best)
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(name in self.trainable)
        self.network.cpu().eval()

    def _compiles(self) -> bool:
        pays = self.fabric.device.type == "cuda" and self.steps >= COMPILE_PAYS_STEPS
        return pays if self.recipe.compile is None else self.recipe.compile

    def _is_finished(self) -> bool:
        epoch, patience = self.standing.epoch, self.recipe.patience
        is_stuck = patience is not None and epoch - self.standing.best_epoch >= patience
        return epoch >= self.recipe.epochs or is_stuck

    def _train_epoch(self, advance: Advance) -> None:
        standing = self.standing
        self._unfreeze(standing.epoch)
        self.network.train()
        loader = self.train_loader
        loader.sampler.set_epoch(standing.epoch, standing.step * (loader.batch_size or 1))  # type: ignore[attr-defined]
        started = perf_counter() - standing.seconds
        for inputs, labels in islice(loader, self.batches - standing.step):
            self._train_step(inputs, labels)
            standing.seconds = perf_counter() - started
            advance(1)
            self._keep()
        self._validate()
        standing.rows[-1]["seconds"] = perf_counter() - started

    def _train_step(self, inputs: torch.Tensor, labels: torch.Tensor) -> None:
        standing, device = self.standing, self.fabric.device
        set_rate(self.optimizer, self._rate(standing.step))
        inputs, labels = inputs.to(device, non_blocking=True), labels.to(device, non_blocking=True)
        measured = self.step.backward(inputs, labels, self._number(standing.step), standing)
        self._check_finite(measured)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update_parameters(self.network)
        standing.step += 1
        standing.loss += measured.loss
        standing.correct += measured.correct
        standing.seen += measured.images

    def _number(self, step: int) -> int:
        """How many steps come before a step of the epoch that has begun."""
        return self.standing.epoch * self.batches + step

    def _rate(self, step: int) -> float:
        return rate_at(self.recipe, self._number(step), self.steps)

    def _check_finite(self, measured: Measured) -> None:
        """Stop before the weights are spoilt. With 16-bit floats gradients may overflow, and are then skipped."""
        where, rate = f"step {self.standing.step + 1}", self._rate(self.standing.step)
        if not np.isfinite(measured.loss):
            raise self._diverged(f"the loss became {measured.loss}", where, rate)
        if training_precision(self.recipe.precision, self.fabric.device) != "16-mixed":
            gradients = [parameter.grad for parameter in self.network.parameters() if parameter.grad is not None]
            if not _are_finite(gradients):
                raise self._diverged("a gradient became infinite or not a number", where, rate)

    def _diverged(self, what: str, where: str, rate: float) -> DivergedError:
        checkpoints = self.watch.checkpoints
        is_kept = checkpoints is not None and checkpoints.path.is_file()
        kept = f" (the last good weights are in {checkpoints.path})" if checkpoints and is_kept else ""
        return DivergedError(
            f"{what} in epoch {self.standing.epoch + 1}, {where}, at rate {rate:g}; try a tenth of it: "
            f"--set training.learning_rate={self.recipe.learning_rate / 10:g}{kept}"
        )

    @torch.inference_mode()
    def _validate(self) -> None:
        """Note the epoch that ends, and keep its weights where validation has never been better."""
        standing, judged = self.standing, self.network if self.average is None else self.average.module
        judged.eval()
        loss = correct = weight = 0.0
        with self.fabric.autocast():
            for inputs, labels in self.val_loader:
                if not len(labels):  # another process's share
                    continue
                labels = labels.to(self.fabric.device)  # noqa: PLW2901
                measured = self.step.measure(judged, inputs.to(self.fabric.device), labels)
                loss, correct = loss + measured.loss, correct + measured.correct
                weight += self.step.weight(labels)
        images = len(self.val_loader.dataset)  # type: ignore[arg-type]
        loss, correct, weight = self._sums(loss, correct, weight)
        train_loss, train_correct, seen = self._sums(standing.loss, standing.correct, standing.seen)
        rate = self._rate(standing.step - 1)
        if not np.isfinite(loss):
            raise self._diverged(f"the validation loss became {loss}", f"after step {standing.step}", rate)
        row = {
            "epoch": standing.epoch + 1,
            "loss": train_loss / max(seen, 1),
            "accuracy": train_correct / max(seen, 1),
            "val_loss": loss / weight,
            "val_accuracy": correct / images,
            "learning_rate": rate,
        }
        standing.rows.append(row)
        if row["val_loss"] < standing.best_loss:
            standing.best_epoch, standing.best_loss = standing.epoch + 1, row["val_loss"]
            self.best = deepcopy(judged.state_dict())

    def _sums(self, *values: float) -> list[float]:
        """The values, each summed over all processes."""
        if self.fabric.world_size == 1:
            return [*values]
        summed: torch.Tensor = self.fabric.all_reduce(torch.tensor(values, dtype=torch.float64), reduce_op="sum")
        return [float(value) for value in summed]

    def _any(self, wish: bool) -> bool:
        """Whether any process wishes it."""
        return self._sums(float(wish))[0] > 0

    def _end_epoch(self) -> None:
        standing = self.standing
        standing.epoch += 1
        standing.begin_epoch()
        self.watch.on_epoch(standing.rows)
        self._keep()

    def _unfreeze(self, epoch: int) -> None:
        parameters = dict(self.network.named_parameters())
        for name in self.trainable:
            parameters[name].requires_grad_(self.plan.first_epochs.get(name, 0) <= epoch)

    def _keep(self) -> None:
        """Save where the training stands where that is due; save and stop where Ctrl-C asks for it."""
        checkpoints = self.watch.checkpoints
        if self._any(self.is_asked_to_stop()):
            self._stop(checkpoints)
        if checkpoints is not None and checkpoints.is_due():
            self._save(checkpoints)

    def _stop(self, checkpoints: Checkpoints | None) -> None:
        epoch, step, steps = self.standing.epoch, self.standing.step, self.batches
        where = f"in epoch {epoch + 1}, after step {step} of {steps}" if step else f"after epoch {epoch}"
        if checkpoints is None:
            raise KeyboardInterrupt(f"Stopped {where}.")
        self._save(checkpoints)
        raise KeyboardInterrupt(
            f"Stopped {where}. That is kept: `linnaeus train` goes on from there with --resume, and `linnaeus run` "
            "when it is run again."
        )

    def _save(self, checkpoints: Checkpoints) -> None:
        if not self.fabric.is_global_zero:
            return
        if not _are_finite(value for value in self.network.state_dict().values() if value.is_floating_point()):
            step = self.standing.step
            raise self._diverged("a weight became infinite or not a number", f"after step {step}", self._rate(step - 1))
        tensors = {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict(), "best": self.best}
        if self.average is not None:
            tensors["average"] = self.average.state_dict()
        checkpoints.save(self.standing, tensors)

    def _go_on_from_checkpoint(self) -> None:
        found = self.watch.checkpoints.load() if self.watch.checkpoints is not None else None
        if found is None:
            return
        self.standing, tensors = found
        self.network.load_state_dict(tensors["network"])
        self.optimizer.load_state_dict(tensors["optimizer"])
        self.best = tensors["best"]
        if self.average is not None:
            self.average.load_state_dict(tensors["average"])


def _batches(network: nn.Module, loader: DataLoader[Batch]) -> int:
    """Steps of an epoch. A last batch that is too small for the processes, or less than a quarter where it would move
    running statistics, is left out; another one each epoch, where the loader shuffles."""
    size = loader.batch_size or 1
    network.train()
    moves_statistics = any(isinstance(module, BatchNorm) and module.training for module in network.modules())
    least = max(this_shard().of, math.ceil(size / 4) if moves_statistics else 1)
    rest = len(loader.dataset) % size  # type: ignore[arg-type]
    return max(len(loader) - int(0 < rest < least), 1)


def _are_finite(tensors: Iterable[torch.Tensor]) -> bool:
    with torch.no_grad():
        return bool(torch.isfinite(torch.nn.utils.get_total_norm(tensors)))


def _fabric(recipe: TrainingRecipe, *, unfreezes: bool) -> Any:
    device = best_device()
    shard = this_shard()
    fabric = lf.Fabric(
        accelerator="gpu" if device.type == "cuda" else device.type,
        devices=devices_here(),
        num_nodes=shard.of // devices_here(),
        strategy=("ddp_find_unused_parameters_true" if unfreezes else "ddp") if shard.of > 1 else "auto",
        precision=training_precision(recipe.precision, device),
    )
    fabric.launch()
    return fabric


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Without Lightning's remarks on hardware, precision and workers."""
    loggers = [logging.getLogger(name) for name in ("lightning.fabric", "lightning.pytorch")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
