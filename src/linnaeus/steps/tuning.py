"""Searching for better settings of a recipe, and for a good learning rate."""

from functools import partial
from shutil import rmtree

import pandas as pd

from linnaeus.errors import RecipeError
from linnaeus.files import fingerprint, read_json, write_json, write_text, write_with
from linnaeus.networks.classifier import build_classifier
from linnaeus.progress import Progress, silent
from linnaeus.project import Project
from linnaeus.recipe import Recipe, recipe_text
from linnaeus.recipe_sections import FITTED_HEADS, TransferRecipe
from linnaeus.reporting.figures import save_figure
from linnaeus.reporting.tuning_figures import importance_figure, rates_figure, trials_figure
from linnaeus.settings import CleanRecipe
from linnaeus.steps.training import training_images, weights_hash
from linnaeus.training.fit import Watch
from linnaeus.training.rate_finder import RateSearch, find_rate
from linnaeus.training.search import Search
from linnaeus.training.train import TrainingImages, prepare, train_classifier


def search_settings(
    project: Project, recipe: Recipe, minutes: float, *, force: bool = False, progress: Progress = silent
) -> Recipe:
    """The recipe with the best settings that a search of so many minutes found, as `<name>-tuned`.

    The search goes on where the one before stopped, and leaves in the project's `tune/<name>`: `study.db`,
    `trials.csv`, `best.yaml`, `search.json` (what it was made from, and what mattered) and figures.
    """
    folder, images = project.tuning / recipe.name, training_images(project)
    if force:
        rmtree(folder, ignore_errors=True)
    recipe = recipe.model_copy(update={"starts_from": None})  # the layers may change
    inputs = project.current_inputs()
    key = fingerprint([recipe.model_dump(mode="json"), inputs, _weights(recipe)])
    search = Search(folder / "study.db", recipe, key)
    clean_recipe = CleanRecipe(**project.stamp("clean")["inputs"]["recipe"])
    train = partial(_lowest_loss, images, clean_recipe)
    seconds = round(60 * minutes)
    try:
        with progress(f"Searching settings of {recipe.name}", max(seconds, 1)) as advance:
            search.run(train, seconds, advance)
    except KeyboardInterrupt:
        ended = len(search.trials())
        raise KeyboardInterrupt(f"Stopped in trial {ended}. The search goes on when it is asked for again.") from None
    finally:
        search.save(folder)
    importances, best = search.importances(), search.best(f"{recipe.name}-tuned")
    save_figure(trials_figure(search.trials()), folder / "trials.png")
    if importances:
        save_figure(importance_figure(importances), folder / "importances.png")
    write_text(folder / "best.yaml", recipe_text(best))
    write_json(folder / "search.json", {"inputs": inputs, "importances": importances})  # last: by it others find it
    return best


def search_rate(project: Project, recipe: Recipe, progress: Progress = silent) -> RateSearch:
    """The losses of a recipe's model at growing learning rates, also as a table and a figure in `figures/`.

    Raises RecipeError for a head that has no rate.
    """
    if isinstance(recipe.model, TransferRecipe) and recipe.model.head in FITTED_HEADS:
        raise RecipeError(f"{recipe.name} has a {recipe.model.head} for a head, which is fitted without a rate")
    images = training_images(project)
    clean_recipe = CleanRecipe(**project.stamp("clean")["inputs"]["recipe"])
    classifier = build_classifier(recipe.model, images.splits.classes, clean_recipe, seed=recipe.training.seed)
    found = find_rate(prepare(classifier, recipe, images, progress), recipe.training, progress)
    table = project.figures / f"rates-{recipe.name}.csv"
    write_with(table, partial(found.table.to_csv, index=False))
    save_figure(rates_figure(found.table, found.suggestion), table.with_suffix(".png"))
    return found


def load_search(project: Project, name: str) -> tuple[pd.DataFrame, dict[str, float]]:
    """The trials of a finished search, a row each, and each setting's share of what moved the loss."""
    folder = project.tuning / name
    importances: dict[str, float] = read_json(folder / "search.json")["importances"]
    return pd.read_csv(folder / "trials.csv"), importances


def _lowest_loss(images: TrainingImages, clean_recipe: CleanRecipe, recipe: Recipe, watch: Watch) -> float:
    """What a trial is judged by: the lowest validation loss of its epochs."""
    classifier = build_classifier(recipe.model, images.splits.classes, clean_recipe, seed=recipe.training.seed)
    fitted = train_classifier(classifier, recipe, images, watch)
    return float(fitted.history["val_loss"].min())


def _weights(recipe: Recipe) -> str | None:
    return weights_hash(recipe.model.weights) if isinstance(recipe.model, TransferRecipe) else None
