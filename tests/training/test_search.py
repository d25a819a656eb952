"""A search honours its time, goes on where it stopped, and finds its way back to the best settings."""

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from linnaeus.errors import DivergedError, MissingExtraError, RecipeError, TrainingError
from linnaeus.recipe import Recipe, load_recipe
from linnaeus.recipe_sections import AugmentRecipe, TransferRecipe
from linnaeus.training import search as module
from linnaeus.training.fit import Watch
from linnaeus.training.search import Search, own_settings, strengthened, suggested

optuna: Any = pytest.importorskip("optuna")

SCRATCH: dict[str, object] = {"kind": "scratch", "conv_widths": [4], "pool_sizes": [2], "dense_widths": [8]}
TRANSFER: dict[str, object] = {"kind": "transfer", "backbone": "test_resnet", "weights": "random"}
SEVERAL = TRANSFER | {"more_backbones": ["test_efficientnet"]}
PLAIN: dict[str, object] = {"augment": None}
SPACES: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "scratch": (SCRATCH, PLAIN),
    "scratch, augmented": (SCRATCH, {}),
    "transfer": (TRANSFER, PLAIN),
    "transfer, augmented": (TRANSFER, {}),
    "transfer with views": (TRANSFER, {"views": 2}),
    "the last layers": (TRANSFER | {"unfrozen_last_layers": 20}, PLAIN),
    "the last blocks": (TRANSFER | {"unfrozen_last_blocks": 5}, PLAIN),
    "a head of its own": (TRANSFER | {"dense_widths": [7], "dropouts": [0.5]}, PLAIN),
    "several backbones": (SEVERAL, PLAIN),
}


def recipe_of(model: dict[str, object], data: dict[str, object], **training: object) -> Recipe:
    return Recipe.model_validate({"name": "searched", "model": model, "data": data, "training": training})


SIMPLE = recipe_of(SCRATCH, PLAIN, epochs=3)


class Ends:
    """A trial that always suggests the lower, or the upper, end of a range."""

    def __init__(self, end: int) -> None:
        self.end = end

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        return (low, high)[self.end]

    def suggest_int(self, name: str, low: int, high: int) -> int:
        return (low, high)[self.end]

    def suggest_categorical(self, name: str, choices: Sequence[str]) -> str:
        return (choices[0], choices[-1])[self.end]


class FakeTraining:
    """A training whose validation loss is the distance of the rate from `best`; it notes what it is given."""

    def __init__(self, best: float = 1e-3, epochs: int = 3, seconds: float = 0.0) -> None:
        self.best = best
        self.epochs = epochs
        self.seconds = seconds
        self.seen: list[Recipe] = []
        self.shown = 0

    def __call__(self, recipe: Recipe, watch: Watch) -> float:
        self.seen.append(recipe)
        loss = abs(math.log(recipe.training.learning_rate / self.best)) + 0.1
        rows: list[dict[str, float]] = []
        with watch.progress("Training", self.epochs) as advance:
            for _ in range(self.epochs):
                time.sleep(self.seconds)
                self.shown += 1
                advance(1)
                rows.append({"val_loss": loss})
                watch.on_epoch(rows)
        return loss


def searched(path: Path, train: module.Train, seconds: float = 0.0, key: str = "k", recipe: Recipe = SIMPLE) -> Search:
    search = Search(path / "study.db", recipe, key)
    search.run(train, seconds, lambda steps: None)
    return search


def for_trials(search: Search, train: module.Train, trials: int) -> None:
    """Go on until so many trials are there, however long each takes."""

    def stopping(recipe: Recipe, watch: Watch) -> float:
        if len(search.study.trials) > trials:
            raise KeyboardInterrupt
        return train(recipe, watch)

    with pytest.raises(KeyboardInterrupt):
        search.run(stopping, 600, lambda steps: None)


def nearly(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that equal those up to rounding."""
    return {name: pytest.approx(value) for name, value in settings.items()}


@pytest.mark.parametrize("end", [0, 1])
@pytest.mark.parametrize(("model", "data"), SPACES.values(), ids=SPACES)
def test_every_space_gives_valid_recipes_at_both_ends(
    model: dict[str, object], data: dict[str, object], end: int
) -> None:
    recipe = recipe_of(model, data)
    found = suggested(Ends(end), recipe)
    assert Recipe.model_validate(found.model_dump(mode="json")) == found
    assert found.name == recipe.name
    assert found.training.learning_rate == pytest.approx(recipe.training.learning_rate * (1 / 30, 30)[end])
    if isinstance(found.model, TransferRecipe):
        is_single = not found.model.more_backbones
        assert found.model.is_frozen == (end == 0 or not is_single)


@pytest.mark.parametrize(("model", "data"), SPACES.values(), ids=SPACES)
def test_a_recipe_s_own_settings_make_the_recipe_again(model: dict[str, object], data: dict[str, object]) -> None:
    recipe = recipe_of(model, data, optimizer="adamw", weight_decay=0.01, learning_rate=0.002)
    again = suggested(optuna.trial.FixedTrial(own_settings(recipe)), recipe)
    assert again.model == recipe.model
    assert again.training.model_dump() == pytest.approx(recipe.training.model_dump())
    assert (again.data.augment is None) == (recipe.data.augment is None)
    if recipe.data.augment is not None and again.data.augment is not None:
        assert again.data.augment.model_dump() == nearly(recipe.data.augment.model_dump())


def test_a_recipe_of_stochastic_gradient_descent_keeps_it_and_searches_about_its_own_rate() -> None:
    recipe = recipe_of(SCRATCH, PLAIN, optimizer="sgd", learning_rate=0.9)
    found = suggested(Ends(1), recipe)
    assert found.training.optimizer == "sgd"
    assert found.training.learning_rate == 10


def test_views_that_are_kept_keep_their_augmentation_since_another_would_pass_the_trunk_again() -> None:
    recipe = recipe_of(TRANSFER, {"views": 2})
    assert suggested(Ends(1), recipe).data == recipe.data


@pytest.mark.parametrize("head", ["probe", "knn"])
def test_a_head_that_is_fitted_at_once_is_refused_with_another_to_search(tmp_path: Path, head: str) -> None:
    recipe = load_recipe(f"lite0-{head}")
    with pytest.raises(RecipeError, match=rf"{head} for a head.* such as lite0-dense256"):
        suggested(Ends(0), recipe)


def test_a_recipe_without_epochs_is_refused() -> None:
    with pytest.raises(RecipeError, match="no epochs"):
        suggested(Ends(0), recipe_of(SCRATCH, PLAIN, epochs=0))


STRONG = AugmentRecipe(brightness=0.7, hue=0.3, crop=0.2, contrast=(0.1, 2.5), rotate=100, rand_augment=2, erase=0.8)


def test_augmentation_of_strength_0_is_none_of_it_and_flips_stay() -> None:
    assert strengthened(STRONG, 0) == AugmentRecipe(
        brightness=0, hue=0, crop=1, contrast=(1, 1), saturation=(1, 1), magnitude=0, rand_augment=0, erase=0, rotate=0
    )


def test_augmentation_of_strength_1_is_as_it_was() -> None:
    assert strengthened(STRONG, 1).model_dump() == nearly(STRONG.model_dump())


def test_augmentation_of_strength_2_is_twice_as_wide_within_what_is_allowed() -> None:
    widened = strengthened(AugmentRecipe(), 2).model_dump()
    expected = {"brightness": 0.2, "hue": 0.1, "crop": 0.7, "contrast": (0.6, 1.4), "saturation": (0.6, 1.4)}
    assert {name: widened[name] for name in expected} == nearly(expected)
    strongest = strengthened(STRONG, 2)
    assert AugmentRecipe.model_validate(strongest.model_dump()) == strongest
    assert (strongest.brightness, strongest.hue, strongest.crop, strongest.contrast) == (1, 0.5, 0.1, (0, 4))


def test_the_first_trial_is_of_the_recipe_s_own_settings(tmp_path: Path) -> None:
    train = FakeTraining()
    searched(tmp_path, train)
    (first,) = train.seen
    assert first.training.learning_rate == pytest.approx(SIMPLE.training.learning_rate)
    assert first.model == SIMPLE.model


def test_without_any_time_one_trial_is_finished_and_a_second_call_adds_none(tmp_path: Path) -> None:
    train = FakeTraining()
    assert [*searched(tmp_path, train).trials()["state"]] == ["complete"]
    assert len(searched(tmp_path, train).trials()) == 1
    assert train.shown == 3


def test_a_search_ends_when_its_time_is_over_and_tells_the_seconds_that_passed(tmp_path: Path) -> None:
    advances: list[int] = []
    train = FakeTraining(seconds=0.12)
    search = Search(tmp_path / "study.db", SIMPLE, "k")
    search.run(train, 1.2, advances.append)
    trials = search.trials()
    assert 1 < len(trials) < 8
    assert train.shown <= 11  # no step was begun after the time was over
    assert sum(advances) == 1
    assert min(advances) >= 0


def test_a_trial_that_runs_when_the_time_is_over_ends_with_its_step(tmp_path: Path) -> None:
    searched(tmp_path, FakeTraining())
    train = FakeTraining(epochs=50, seconds=0.05)
    search = searched(tmp_path, train, seconds=0.2)
    assert search.trials()["state"].iloc[-1] == "pruned"
    assert train.shown < 10


def test_trials_worse_than_those_before_end_early(tmp_path: Path) -> None:
    search = Search(tmp_path / "study.db", SIMPLE, "k")
    train = FakeTraining(best=SIMPLE.training.learning_rate)
    for_trials(search, train, 12)
    states = search.trials()["state"].value_counts()
    assert states["pruned"] > 0
    assert train.shown < 3 * len(train.seen)


def test_the_best_recipe_has_the_settings_of_the_best_trial(tmp_path: Path) -> None:
    recipe = recipe_of(TRANSFER, {})
    search = Search(tmp_path / "study.db", recipe, "k")
    for_trials(search, FakeTraining(best=1e-4), 8)
    trials = search.trials()
    best = trials[trials["state"] == "complete"].sort_values("val_loss").iloc[0]
    found = search.best("searched-tuned")
    assert found.name == "searched-tuned"
    assert found.training.learning_rate == best["learning_rate"]
    assert found.training.weight_decay == best["weight_decay"]
    assert found.data.augment == strengthened(AugmentRecipe(), best["augmentation"])
    assert isinstance(found.model, TransferRecipe)
    assert found.model.unfrozen_last_blocks == best["unfrozen_blocks"]
    assert found.training.backbone_rate == (best["backbone_rate"] if best["unfrozen_blocks"] else 1)


def test_what_mattered_is_told_once_enough_trials_are_finished(tmp_path: Path) -> None:
    search = Search(tmp_path / "study.db", SIMPLE, "k")
    for_trials(search, FakeTraining(epochs=1), 3)
    assert search.importances() == {}
    for_trials(search, FakeTraining(epochs=1), 12)
    importances = search.importances()
    assert [*importances] == ["learning_rate", "weight_decay"]
    assert sum(importances.values()) == pytest.approx(1)


def test_a_search_goes_on_from_its_file_and_draws_nothing_twice(tmp_path: Path) -> None:
    for_trials(Search(tmp_path / "study.db", SIMPLE, "k"), FakeTraining(epochs=1), 4)
    again = Search(tmp_path / "study.db", SIMPLE, "k")
    for_trials(again, FakeTraining(epochs=1), 8)
    trials = again.trials()
    drawn = trials["learning_rate"].dropna()
    assert len(trials) == 9
    assert drawn.nunique() == len(drawn)


def test_a_trial_of_a_killed_process_counts_as_failed_and_the_search_goes_on(tmp_path: Path) -> None:
    search = searched(tmp_path, FakeTraining())
    search.study.ask()  # a trial that no one will ever end
    assert [*search.trials()["state"]] == ["complete", "running"]
    again = searched(tmp_path, FakeTraining())
    assert [*again.trials()["state"]] == ["complete", "fail"]
    assert again.best("b").training.learning_rate == pytest.approx(SIMPLE.training.learning_rate)


def test_ctrl_c_in_a_trial_leaves_a_search_that_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def stopped(recipe: Recipe, watch: Watch) -> float:
        watch.on_epoch([{"val_loss": 1.0}])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        searched(tmp_path, stopped)
    assert capsys.readouterr() == ("", "")
    again = searched(tmp_path, FakeTraining())
    assert [*again.trials()["state"]] == ["fail", "complete"]


def test_another_key_is_refused_with_advice(tmp_path: Path) -> None:
    searched(tmp_path, FakeTraining())
    with pytest.raises(TrainingError, match=r"study\.db is a search on other images.* --force begins anew"):
        searched(tmp_path, FakeTraining(), key="another")


def test_a_damaged_file_is_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_bytes(b"no database at all")
    with pytest.raises(TrainingError, match=r"study\.db cannot be used as a search .*not a database.* --force"):
        searched(tmp_path, FakeTraining())


def test_a_folder_with_letters_that_mean_something_in_a_url_holds_its_search(tmp_path: Path) -> None:
    odd = tmp_path / "a{b}?c#d%20"
    searched(odd, FakeTraining())
    assert (odd / "study.db").stat().st_size > 0
    assert len(searched(odd, FakeTraining()).trials()) == 1


def diverging(recipe: Recipe, watch: Watch) -> float:
    raise DivergedError("the loss became nan")


def test_settings_with_which_training_diverges_end_early_and_the_search_goes_on(tmp_path: Path) -> None:
    good = FakeTraining()
    calls = 0

    def train(recipe: Recipe, watch: Watch) -> float:
        nonlocal calls
        calls += 1
        return diverging(recipe, watch) if calls == 1 else good(recipe, watch)

    search = searched(tmp_path, train, seconds=0.3)
    trials = search.trials()
    assert trials["state"].iloc[0] == "pruned"
    assert pd.isna(trials["val_loss"].iloc[0])
    assert len(good.seen) > 0


def test_a_search_in_which_everything_diverges_says_so_when_its_time_is_over(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="became nan"):
        searched(tmp_path, diverging, seconds=0.1)


def test_any_other_error_of_training_ends_the_search_at_once(tmp_path: Path) -> None:
    def failing(recipe: Recipe, watch: Watch) -> float:
        raise TrainingError("cannot be read")

    with pytest.raises(TrainingError, match="cannot be read"):
        searched(tmp_path, failing, seconds=600)


def test_a_saved_search_is_a_table_of_its_trials_also_before_the_first(tmp_path: Path) -> None:
    search = Search(tmp_path / "study.db", SIMPLE, "k")
    search.save(tmp_path)
    before = pd.read_csv(tmp_path / "trials.csv")
    search.run(FakeTraining(), 0, lambda steps: None)
    search.save(tmp_path)
    after = pd.read_csv(tmp_path / "trials.csv")
    facts = ["trial", "state", "val_loss", "seconds"]
    assert [*after.columns] == [*facts, "learning_rate", "weight_decay"]
    assert [*before.columns][:4] == facts
    assert after["val_loss"].tolist() == [pytest.approx(search.study.best_value)]


def test_without_the_package_the_pip_line_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'linnaeus\[tune\]'"):
        Search(tmp_path / "study.db", SIMPLE, "k")
