"""The deck's models trained again, each beside what the deck says of it.

Not called after its verb, which importing a module of that name would replace.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd

from linnaeus.data.sources import image_folder
from linnaeus.deck import DeckRow, deck_ladder
from linnaeus.errors import LinnaeusError, RecipeError, WeightsError
from linnaeus.evaluation.intervals import wilson_interval
from linnaeus.files import write_table
from linnaeus.outcomes import DeckResult, Reproduction
from linnaeus.progress import Progress, silent
from linnaeus.project import Project, create_project
from linnaeus.recipe import Recipe
from linnaeus.recipe_sections import TransferRecipe
from linnaeus.settings import SplitRecipe
from linnaeus.stages import catalogue, clean, evaluate, split, train
from linnaeus.steps.training import Manner


def reproduce(
    what: str = "deck",
    images: str | Path = "animals10",
    project: Project | str | Path | None = None,
    *,
    only: str = "*",
    epochs_scale: float = 1.0,
    rename: str | Path | dict[str, str] | None = None,
    progress: Progress = silent,
    show: Callable[[object], None] = lambda result: None,
) -> Reproduction:
    """The deck's models trained and evaluated on a folder of images, and the deck's accuracies beside ours.

    only: a glob of names, see `deck_ladder`; epochs_scale: what every number of epochs is multiplied by. The project
    is by default ./<name of the images>-deck. As in the deck, near-duplicates may lie in different parts. A model that
    cannot be trained is listed with the reason. What is finished is not done again. Raises RecipeError.
    """
    if what != "deck":
        raise RecipeError(f"there is nothing called {what!r} to reproduce; there is: deck")
    ladder = deck_ladder(only, epochs_scale)
    folder, names = image_folder(images)
    root = project or f"{names or folder.resolve().name}-deck"
    show(catalogue(folder, root, rename=rename or names, progress=progress))
    opened = create_project(folder, root)
    show(clean(opened, progress=progress))
    show(splits := split(opened, SplitRecipe(near_duplicates=False)))
    made = Reproduction(opened, epochs_scale, leaks=len(pd.read_parquet(opened.leaks)))
    show(made)
    for row, recipe in ladder:
        result = _result(made, row, recipe, len(splits.test), progress)
        made = replace(made, results=(*made.results, result))
        write_table(made.table, opened.deck)
        show(result)
    show(made)
    return made


def _result(made: Reproduction, row: DeckRow, recipe: Recipe, test_images: int, progress: Progress) -> DeckResult:
    """A row of the deck beside ours, or why there is none of ours."""
    if reason := _known_obstacle(made, recipe):
        return DeckResult(row, recipe.name, failure=reason)
    try:
        train(made.project, recipe, allow_leaks=True, manner=Manner(resume="if-it-fits"), progress=progress)
        (evaluation,) = evaluate(made.project, [recipe.name], final=True, goes_on=bool(made.results), progress=progress)
    except LinnaeusError as error:
        lacking = _backbone(recipe) if isinstance(error, WeightsError) else None
        return DeckResult(row, recipe.name, failure=f"{type(error).__name__}: {error}", lacks_weights_of=lacking)
    correct = round(evaluation.metrics["accuracy"] * test_images)
    return DeckResult(row, recipe.name, evaluation.metrics, wilson_interval(correct, test_images))


def _known_obstacle(made: Reproduction, recipe: Recipe) -> str:
    """Why a recipe need not be tried, since one before it failed; empty where nothing speaks against it.

    A hub that cannot be reached takes a minute to say so, each time.
    """
    for failed in made.failed:
        if recipe.starts_from == failed.model_id:
            return f"it starts from {failed.row.recipe}, which failed"
        if failed.lacks_weights_of is not None and failed.lacks_weights_of == _backbone(recipe):
            return f"its pretrained weights could not be had for {failed.row.recipe}"
    return ""


def _backbone(recipe: Recipe) -> str | None:
    return recipe.model.backbone if isinstance(recipe.model, TransferRecipe) else None
