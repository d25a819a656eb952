"""Train a network on batches; the epoch with the lowest validation loss is kept."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader

from linnaeus.data.dataset import Batch
from linnaeus.errors import TrainingError
from linnaeus.progress import Advance, Progress, silent
from linnaeus.recipe_sections import TrainingRecipe
from linnaeus.scale.device import best_device, training_precision
from linnaeus.training.module import TrainingModule

HISTORY_COLUMNS = ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds"]


@dataclass(frozen=True)
class Fitted:
    """How training went. `history`: epoch (from 1), loss, accuracy, val_loss, val_accuracy, learning_rate and
    seconds, a row an epoch; `best_epoch` is the one whose weights the network now has, 0 for the untrained ones."""

    history: pd.DataFrame
    best_epoch: int


class _History(pl.Callback):
    """Notes each epoch, keeps the best weights, and stops after `patience` epochs without a lower val_loss."""

    def __init__(self, network: nn.Module, recipe: TrainingRecipe, advance: Advance) -> None:
        self.network = network
        self.recipe = recipe
        self.advance = advance
        self.rows: list[dict[str, float]] = []
        self.best_epoch = 0
        self.best_loss = float("inf")
        self.best_weights: dict[str, torch.Tensor] = {}
        self.started = perf_counter()

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        """Advance the bar by one step."""
        self.advance(1)

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        """Note the epoch, which validation has ended."""
        now = perf_counter()
        epoch = trainer.current_epoch + 1
        figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        fixed = {"epoch": epoch, "learning_rate": self.recipe.learning_rate, "seconds": now - self.started}
        self.started = now
        self.rows.append(figures | fixed)
        if figures["val_loss"] < self.best_loss:
            self.best_epoch, self.best_loss = epoch, figures["val_loss"]
            self.best_weights = deepcopy(self.network.state_dict())
        patience = self.recipe.patience
        if patience is not None and epoch - self.best_epoch >= patience:
            trainer.should_stop = True


def fit(
    network: nn.Module,
    loaders: tuple[DataLoader[Batch], DataLoader[Batch]],
    recipe: TrainingRecipe,
    *,
    class_weights: NDArray[np.float32] | None = None,
    progress: Progress = silent,
) -> Fitted:
    """Train `network` in place on the (training, validation) loaders and leave it with its best epoch's weights.

    Reproducible by `recipe.seed` on one machine's CPU. Raises TrainingError where the loss is no longer finite, or
    where no parameter is left to train.
    """
    train, val = loaders
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise TrainingError("every parameter is frozen, so there is nothing to train")
    weights = None if class_weights is None else torch.from_numpy(class_weights)
    total = max(recipe.epochs, 1) * len(train)
    with progress(f"Training, {recipe.epochs} epochs at most", total) as advance:
        history = _History(network, recipe, advance)
        if recipe.epochs:
            with torch.random.fork_rng(), _quiet_lightning():
                torch.manual_seed(recipe.seed)
                _trainer(recipe, history).fit(TrainingModule(network, recipe, weights), train, val)
    if history.best_weights:
        network.load_state_dict(history.best_weights)
    network.cpu().eval()
    rows = pd.DataFrame(history.rows, columns=HISTORY_COLUMNS)
    return Fitted(rows, history.best_epoch)


def _trainer(recipe: TrainingRecipe, history: _History) -> Any:
    device = best_device()
    return pl.Trainer(
        accelerator="gpu" if device.type == "cuda" else device.type,
        devices=1,
        precision=training_precision(recipe.precision, device),
        max_epochs=recipe.epochs,
        callbacks=[history],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Without Lightning's remarks on hardware and workers; and Ctrl-C stays Ctrl-C, which Lightning makes an exit."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    except SystemExit:
        raise KeyboardInterrupt from None
    finally:
        logger.setLevel(level)
