"""What is written down of a training: its history, with that of the run it went on from, and its facts."""

import pandas as pd

from linnaeus.networks.backbone import count_parameters
from linnaeus.networks.classifier import Classifier
from linnaeus.runs import Run, TrainingFacts
from linnaeus.training.fit import Fitted


def continued_history(own: pd.DataFrame, earlier: Run | None) -> pd.DataFrame:
    """A run's epochs behind those of the run it started from, counted on, each row with its `model_id`."""
    before = None if earlier is None else earlier.history
    if before is None or before.empty:
        return own
    return pd.concat([before, own.assign(epoch=own["epoch"] + before["epoch"].max())], ignore_index=True)


def training_facts(classifier: Classifier, fitted: Fitted, seconds: float, size_mb: float) -> TrainingFacts:
    """The facts of a training that took `seconds` in all and made a file of `size_mb` MiB."""
    trainable, frozen = count_parameters(classifier)
    kept = fitted.history[fitted.history["epoch"] == fitted.best_epoch]
    return TrainingFacts(
        best_epoch=fitted.best_epoch,
        epochs=len(fitted.history),
        acc_train=None if kept.empty else float(kept["accuracy"].iloc[0]),
        train_seconds=seconds,
        parameters=trainable + frozen,
        trainable_parameters=trainable,
        size_mb=size_mb,
        notes=fitted.notes,
    )
