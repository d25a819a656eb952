"""The deck's models trained again, each beside what the deck says of it.

Not called after its verb, which importing a module of that name would replace.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd

from linnaeus.data.sources import image_folder
from linnaeus.deck import DeckRow, deck_ladder
from linnaeus.errors import LinnaeusError, RecipeError
from linnaeus.evaluation.metrics import wilson_interval
from linnaeus.files import write_table
from linnaeus.outcomes import DeckResult, Reproduction
from linnaeus.progress import Progress, silent
from linnaeus.project import Project, create_project
from linnaeus.recipe import Recipe
from linnaeus.settings import SplitRecipe
from linnaeus.stages import catalogue, clean, evaluate, split, train


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
    if recipe.starts_from in {failed.model_id for failed in made.failed}:
        return DeckResult(row, recipe.name, failure=f"it starts from {recipe.starts_from}, which failed")
    try:
        train(made.project, recipe, allow_leaks=True, progress=progress)
        (evaluation,) = evaluate(made.project, [recipe.name], progress=progress)
    except LinnaeusError as error:
        return DeckResult(row, recipe.name, failure=f"{type(error).__name__}: {error}")
    correct = round(evaluation.metrics["accuracy"] * test_images)
    return DeckResult(row, recipe.name, evaluation.metrics, wilson_interval(correct, test_images))
