"""A search for better settings of a recipe, judged by validation."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import pandas as pd

from linnaeus.errors import DivergedError, MissingExtraError, RecipeError, TrainingError
from linnaeus.files import write_with
from linnaeus.progress import Advance
from linnaeus.recipe import Recipe
from linnaeus.recipe_sections import FITTED_HEADS, HEADS, AugmentRecipe, ScratchRecipe, TransferRecipe
from linnaeus.training.fit import Watch

Train = Callable[[Recipe, Watch], float]  # a recipe's lowest validation loss

RATE_FACTOR = 30  # how many times higher or lower than the recipe's own
HIGHEST_RATE = 10.0
WEIGHT_DECAYS = (1e-5, 0.3)
BACKBONE_RATES = (0.01, 1.0)
STRONGEST = 2.0
HEAD_NAMES = ("dense128", "dense256", "2dense", "mlp")
MOST_BLOCKS = 3
TRIALS_FOR_IMPORTANCE = 4


def suggested(trial: Any, recipe: Recipe) -> Recipe:
    """The recipe as an Optuna trial would have it: rate, weight decay, augmentation strength, head, unfrozen blocks.

    Where views are kept their augmentation stays, since all images would pass the trunk again for another one. A recipe
    that unfreezes layers gets a number of layers, not blocks. Raises RecipeError for a head that is fitted at once, and
    where there are no epochs.
    """
    model, training = recipe.model, recipe.training
    if isinstance(model, TransferRecipe) and model.head in FITTED_HEADS:
        raise RecipeError(
            f"{recipe.name} has a {model.head} for a head, which chooses its only setting by itself; search one that "
            "is trained in epochs, such as lite0-dense256"
        )
    if training.epochs == 0:
        raise RecipeError(f"{recipe.name} has no epochs, so there is nothing to judge settings by")
    own = training.learning_rate
    rates = own / RATE_FACTOR, min(own * RATE_FACTOR, HIGHEST_RATE)
    changes: dict[str, Any] = {
        "training.optimizer": "adamw" if training.optimizer == "adam" else training.optimizer,
        "training.learning_rate": trial.suggest_float("learning_rate", *rates, log=True),
        "training.weight_decay": trial.suggest_float("weight_decay", *WEIGHT_DECAYS, log=True),
    }
    if recipe.data.augment is not None and recipe.data.views is None:
        strength = trial.suggest_float("augmentation", 0.0, STRONGEST)
        changes["data.augment"] = strengthened(recipe.data.augment, strength).model_dump(mode="json")
    if isinstance(model, TransferRecipe):
        changes |= _suggested_transfer(trial, model)
    return recipe.changed(changes, name=recipe.name)


def _suggested_transfer(trial: Any, model: TransferRecipe) -> dict[str, Any]:
    heads = _heads(model)
    widths, dropouts = heads[trial.suggest_categorical("head", [*heads])]
    changes: dict[str, Any] = {"model.dense_widths": list(widths), "model.dropouts": list(dropouts)}
    if not model.more_backbones:
        unit, own = _unfrozen(model)
        count = trial.suggest_int(f"unfrozen_{unit}", 0, max(MOST_BLOCKS, 2 * own))
        changes[f"model.unfrozen_last_{unit}"] = count
        if count:
            changes["training.backbone_rate"] = trial.suggest_float("backbone_rate", *BACKBONE_RATES, log=True)
    return changes


def own_settings(recipe: Recipe) -> dict[str, Any]:
    """The settings by which `suggested` makes of a recipe what is nearest to the recipe itself."""
    model, training = recipe.model, recipe.training
    settings: dict[str, Any] = {
        "learning_rate": training.learning_rate,
        "weight_decay": _within(training.weight_decay, WEIGHT_DECAYS),
        "augmentation": 1.0,
    }
    if isinstance(model, ScratchRecipe):
        return settings
    unit, count = _unfrozen(model)
    head = next(name for name, layers in _heads(model).items() if layers == (model.dense_widths, model.dropouts))
    backbone_rate = _within(training.backbone_rate, BACKBONE_RATES)
    return settings | {"head": head, f"unfrozen_{unit}": count, "backbone_rate": backbone_rate}


def _heads(model: TransferRecipe) -> dict[str, tuple[tuple[int, ...], tuple[float, ...]]]:
    """Widths and dropouts of the heads to choose from, by name; among them the model's own."""
    named, own = {name: HEADS[name] for name in HEAD_NAMES}, (model.dense_widths, model.dropouts)
    return named if own in named.values() else {"own": own} | named


def _unfrozen(model: TransferRecipe) -> tuple[str, int]:
    """What the model counts its unfrozen part in, and how many there are."""
    return (
        ("layers", model.unfrozen_last_layers) if model.unfrozen_last_layers else ("blocks", model.unfrozen_last_blocks)
    )


def _within(value: float, bounds: tuple[float, float]) -> float:
    return min(max(value, bounds[0]), bounds[1])


def strengthened(augment: AugmentRecipe, strength: float) -> AugmentRecipe:
    """The augmentation with its ranges widened by a factor, 0 for none of them; flips stay."""

    def around_one(bounds: tuple[float, float]) -> tuple[float, float]:
        low, high = (max(1 + (bound - 1) * strength, 0.0) for bound in bounds)
        return low, high

    return augment.model_copy(
        update={
            "brightness": min(augment.brightness * strength, 1.0),
            "contrast": around_one(augment.contrast),
            "saturation": around_one(augment.saturation),
            "hue": min(augment.hue * strength, 0.5),
            "crop": max(1 - (1 - augment.crop) * strength, 0.1),
            "shift": min(augment.shift * strength, 1.0),
            "rotate": min(augment.rotate * strength, 180.0),
            "rand_augment": augment.rand_augment if strength else 0,
            "magnitude": min(augment.magnitude * strength, 1.0),
            "erase": min(augment.erase * strength, 1.0),
        }
    )


class Search:
    """An Optuna study in an SQLite file, which goes on where it stopped.

    Its first trial is of the recipe's own settings, or what the space has nearest to them.
    key: of the images, the splits and the recipe; a study of others is refused with TrainingError, and so is a file
    that is no study.
    Source: tree-structured Parzen estimators, Bergstra et al. 2011; the median rule, Golovin et al. 2017.
    """

    def __init__(self, path: Path, recipe: Recipe, key: str) -> None:
        self.optuna = _optuna()
        self.recipe = recipe
        self.study = self._opened(path)
        known = self.study.user_attrs.get("key")
        if known not in {None, key}:
            raise TrainingError(f"{path} is a search on other images, splits or settings; --force begins anew")
        self.study.set_user_attr("key", key)
        for trial in self.study.get_trials(states=[self.optuna.trial.TrialState.RUNNING]):  # of a killed process
            self.study.tell(trial.number, state=self.optuna.trial.TrialState.FAIL)
        # A study that goes on must not draw again what it has drawn.
        seed = recipe.training.seed + len(self.study.trials)
        self.study.sampler = self.optuna.samplers.TPESampler(seed=seed, multivariate=True)
        if not self.study.trials:
            self.study.enqueue_trial(own_settings(recipe))

    def _opened(self, path: Path) -> Any:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Not by a URL, in which some letters of a path have a meaning of their own.
            engine = {"creator": partial(sqlite3.connect, path)}
            return self.optuna.create_study(
                storage=self.optuna.storages.RDBStorage("sqlite://", engine_kwargs=engine),
                study_name=self.recipe.name,
                load_if_exists=True,
                direction="minimize",
                pruner=self.optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1),
            )
        except Exception as error:  # SQLAlchemy and Alembic have errors of their own
            reason = str(error).partition("\n")[0]
            raise TrainingError(f"{path} cannot be used as a search ({reason}); --force begins anew") from None

    def run(self, train: Train, seconds: float, advance: Advance) -> None:
        """Try settings until the time is over; trials that are worse than the median of those before end early.

        One trial at least is finished, by this or an earlier call; others end where they are when the time is over.
        Settings with which training diverges end early too; DivergedError is raised only where the time is over and no
        others were found. advance: is told the seconds that have passed.
        """
        started, told = monotonic(), 0

        def is_over() -> bool:
            return monotonic() - started >= seconds

        def objective(trial: Any) -> float:
            may_end = bool(self._finished())

            @contextmanager
            def progress(description: str, total: int) -> Iterator[Advance]:
                yield lambda steps: tick()

            def tick() -> None:
                nonlocal told
                passed = min(int(monotonic() - started), int(seconds))
                advance(passed - told)
                told = passed
                if may_end and is_over():
                    raise self.optuna.TrialPruned

            def on_epoch(rows: Sequence[dict[str, float]]) -> None:
                trial.report(min(row["val_loss"] for row in rows), len(rows))
                if trial.should_prune():
                    raise self.optuna.TrialPruned

            try:
                return train(suggested(trial, self.recipe), Watch(progress, on_epoch))
            except DivergedError:
                if is_over() and not may_end:
                    raise
                raise self.optuna.TrialPruned from None

        while not (is_over() and self._finished()):
            self.study.optimize(objective, n_trials=1)
        advance(int(seconds) - told)

    def best(self, name: str) -> Recipe:
        """The recipe with the settings of the best trial."""
        found = suggested(self.optuna.trial.FixedTrial(self.study.best_params), self.recipe)
        return found.model_copy(update={"name": name})

    def trials(self) -> pd.DataFrame:
        """A row a trial: trial, state, val_loss, seconds, and each setting."""
        rows = []
        for trial in self.study.trials:
            seconds = trial.duration.total_seconds() if trial.duration else None
            best = min(trial.intermediate_values.values(), default=None)
            facts = {"trial": trial.number, "state": trial.state.name.lower(), "val_loss": best, "seconds": seconds}
            rows.append(facts | trial.params)
        return pd.DataFrame(rows, columns=None if rows else ["trial", "state", "val_loss", "seconds"])

    def importances(self) -> dict[str, float]:
        """Each setting's share of what moves the validation loss, most first; empty with too few finished trials.

        Of the settings that every finished trial has. Source: fANOVA, Hutter et al. 2014.
        """
        if len(self._finished()) < TRIALS_FOR_IMPORTANCE:
            return {}
        evaluator = self.optuna.importance.FanovaImportanceEvaluator(seed=self.recipe.training.seed)
        found = self.optuna.importance.get_param_importances(self.study, evaluator=evaluator)
        return {name: float(share) for name, share in found.items()}

    def save(self, folder: Path) -> None:
        """Write the trials as a table."""
        write_with(folder / "trials.csv", lambda path: self.trials().to_csv(path, index=False))

    def _finished(self) -> list[Any]:
        found: list[Any] = self.study.get_trials(states=[self.optuna.trial.TrialState.COMPLETE])
        return found


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise MissingExtraError("tuning", "tune") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # it would warn of every trial that is stopped
    return optuna
