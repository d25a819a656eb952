"""The commands that search: for better settings, and for a learning rate."""

from typing import Annotated

import typer

from linnaeus.cli.options import (
    AllowLeaks,
    Changes,
    Force,
    Json,
    ProjectFolder,
    Quiet,
    door,
    loading,
    shower,
    stage_options,
    wished_recipes,
)

RecipeName = Annotated[
    str, typer.Option("--recipe", "-r", help="The recipe's name, or your own .yaml file.", show_default=False)
]


@door
def tune(
    project: ProjectFolder,
    recipe: RecipeName,
    minutes: Annotated[float, typer.Option(min=0.0, help="How long to search; one trial is always finished.")] = 10.0,
    changes: Changes = None,
    allow_leaks: AllowLeaks = False,
    force: Force = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Search for better settings of a recipe, judged by validation, and train with the best.

    Tries rate, weight decay, augmentation strength, head and unfrozen blocks. Ctrl-C and a second call are fine: the
    search goes on where it stopped.
    """
    with loading(quiet or as_json):
        from linnaeus import jobs

    (wished,) = wished_recipes([recipe], changes or [])
    options = {"allow_leaks": allow_leaks, "force": force, **stage_options(quiet, as_json)}
    shower(quiet, as_json)(jobs.tune(project, wished, minutes=minutes, **options))


@door
def find_rate(
    project: ProjectFolder,
    recipe: RecipeName,
    changes: Changes = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Find a learning rate to begin with: half way down the fall of the loss while the rate grows, with a figure."""
    with loading(quiet or as_json):
        from linnaeus import jobs

    (wished,) = wished_recipes([recipe], changes or [])
    shower(quiet, as_json)(jobs.find_rate(project, wished, **stage_options(quiet, as_json)))
