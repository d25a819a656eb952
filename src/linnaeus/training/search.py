"""A search for better settings of a recipe, judged by validation."""

from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import pandas as pd

from linnaeus.errors import RecipeError, TrainingError
from linnaeus.files import write_with
from linnaeus.recipe import Recipe
from linnaeus.recipe_sections import FITTED_HEADS, HEADS, AugmentRecipe, ScratchRecipe, TransferRecipe

OnEpoch = Callable[[Sequence[dict[str, float]]], None]
Train = Callable[[Recipe, OnEpoch], float]  # a recipe's lowest validation loss
MOST_BLOCKS = 3
HEAD_NAMES = ("dense128", "dense256", "2dense", "mlp")


def suggested(trial: Any, recipe: Recipe) -> Recipe:
    """The recipe as an Optuna trial would have it: rate, weight decay, augmentation strength, head, unfrozen blocks.

    Raises RecipeError for a head that is fitted without any of them.
    """
    model = recipe.model
    if isinstance(model, TransferRecipe) and model.head in FITTED_HEADS:
        raise RecipeError(f"{recipe.name} has a {model.head} for a head, which chooses its only setting by itself")
    changes: dict[str, Any] = {
        "training.optimizer": "adamw",
        "training.learning_rate": trial.suggest_float("learning_rate", 1e-5, 1e-2, log=True),
        "training.weight_decay": trial.suggest_float("weight_decay", 1e-5, 0.3, log=True),
    }
    if recipe.data.augment is not None:
        strength = trial.suggest_float("augmentation", 0.0, 2.0)
        changes["data.augment"] = strengthened(recipe.data.augment, strength).model_dump(mode="json")
    if isinstance(model, ScratchRecipe):
        return recipe.changed(changes, name=recipe.name)
    head = trial.suggest_categorical("head", HEAD_NAMES)
    changes["model.dense_widths"], changes["model.dropouts"] = map(list, HEADS[head])
    if not model.more_backbones:
        blocks = trial.suggest_int("unfrozen_blocks", 0, MOST_BLOCKS)
        changes |= {"model.unfrozen_last_layers": 0, "model.unfrozen_last_blocks": blocks}
        if blocks:
            changes["training.backbone_rate"] = trial.suggest_float("backbone_rate", 0.01, 1.0, log=True)
    return recipe.changed(changes, name=recipe.name)


def strengthened(augment: AugmentRecipe, strength: float) -> AugmentRecipe:
    """The augmentation with its ranges widened by a factor, 0 for none of them; flips stay."""
    low, high = ((1 - bound) * strength for bound in augment.contrast)
    pale, vivid = ((1 - bound) * strength for bound in augment.saturation)
    return augment.model_copy(
        update={
            "brightness": min(augment.brightness * strength, 1.0),
            "contrast": (max(1 - low, 0.0), 1 - high),
            "saturation": (max(1 - pale, 0.0), 1 - vivid),
            "hue": min(augment.hue * strength, 0.5),
            "crop": max(1 - (1 - augment.crop) * strength, 0.1),
        }
    )


class Search:
    """An Optuna study in an SQLite file, which goes on where it stopped.

    key: of the images, the splits and the recipe; a study of others is refused. Its first trial is the recipe's own
    settings. Source: tree-structured Parzen estimators, Bergstra et al. 2011; the median rule, Golovin et al. 2017.
    """

    def __init__(self, path: Path, recipe: Recipe, key: str) -> None:
        self.optuna = _optuna()
        self.recipe = recipe
        path.parent.mkdir(parents=True, exist_ok=True)
        self.study = self.optuna.create_study(
            storage=f"sqlite:///{path}",
            study_name=recipe.name,
            load_if_exists=True,
            direction="minimize",
            sampler=self.optuna.samplers.TPESampler(seed=recipe.training.seed, multivariate=True),
            pruner=self.optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1),
        )
        known = self.study.user_attrs.get("key")
        if known not in {None, key}:
            raise TrainingError(f"{path} is a search on other images, splits or settings; --force begins anew")
        self.study.set_user_attr("key", key)
        for trial in self.study.get_trials(states=[self.optuna.trial.TrialState.RUNNING]):  # of a killed process
            self.study.tell(trial.number, state=self.optuna.trial.TrialState.FAIL)

    def run(self, train: Train, seconds: float, advance: Callable[[int], None]) -> None:
        """Try settings until the time is over; trials worse than the median of those before end early.

        At least one trial is finished. advance: is told the seconds that have passed.
        """
        started, told = monotonic(), 0

        def objective(trial: Any) -> float:
            def on_epoch(rows: Sequence[dict[str, float]]) -> None:
                nonlocal told
                passed = min(int(monotonic() - started), int(seconds))
                advance(passed - told)
                told = passed
                trial.report(min(row["val_loss"] for row in rows), len(rows))
                is_late = monotonic() - started > seconds and self._finished()
                if is_late or trial.should_prune():
                    raise self.optuna.TrialPruned

            return train(suggested(trial, self.recipe), on_epoch)

        while not self._finished() or monotonic() - started < seconds:
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
        return pd.DataFrame(rows)

    def importances(self) -> dict[str, float]:
        """Each setting's share of what moves the validation loss, most first; empty with too few finished trials.

        Source: fANOVA, Hutter et al. 2014.
        """
        if len(self._finished()) < 4:
            return {}
        evaluator = self.optuna.importance.FanovaImportanceEvaluator(seed=self.recipe.training.seed)
        found: dict[str, float] = self.optuna.importance.get_param_importances(self.study, evaluator=evaluator)
        return found

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
        raise TrainingError("tuning needs a package that is not installed; run: pip install 'linnaeus[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
