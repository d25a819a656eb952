"""Whole jobs, each a row of stages: from a folder of images to compared classifiers and a report; searches."""

from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from linnaeus.data.demo import write_demo_images
from linnaeus.data.sources import image_folder
from linnaeus.files import whole_folder
from linnaeus.outcomes import Outcome, Tuning, Untried
from linnaeus.progress import Progress, silent
from linnaeus.project import Project, create_project, open_project
from linnaeus.recipe import Plan, Recipe, load_recipe
from linnaeus.runs import Run
from linnaeus.settings import CheckRecipe, CleanRecipe, DuplicateRecipe, ScanRecipe
from linnaeus.stages import AnyProject, catalogue, check, clean, compare, evaluate, report, split, train
from linnaeus.steps.folds import folds_needed
from linnaeus.steps.splitting import check_no_leaks
from linnaeus.steps.training import Manner, training_images
from linnaeus.steps.tuning import load_search, search_rate, search_settings
from linnaeus.training.cost import cheapest_first, estimated_seconds
from linnaeus.training.rate_finder import RateSearch

Show = Callable[[object], None]


def run(
    images: str | Path,
    project: AnyProject | None = None,
    plan: Plan | None = None,
    *,
    minutes: float | None = None,
    allow_leaks: bool = False,
    force: bool = False,
    progress: Progress = silent,
    show: Show = lambda result: None,
) -> Outcome:
    """The main job: from a folder of images to compared classifiers and a report, the cheapest models first.

    images: the folder, or the name of a public set ("animals10"), which is downloaded. `show` gets each stage's
    result as soon as there is one.
    minutes: a model that would not be trained by then is left out, and listed with the time it would take; the first
    is always trained, and so is what was trained before. Then no folds are made, unless the plan asks for them.
    """
    started, plan = perf_counter(), plan or Plan()
    folder, known = image_folder(images)
    options: dict[str, Any] = {"force": force, "progress": progress}
    project = project or (f"{known}-linnaeus" if known else None)
    show(found := catalogue(folder, project, plan.scan, rename=plan.rename or known, **options))
    opened = create_project(folder, project)
    show(cleaned := clean(opened, plan.clean, **options))
    show(issues := check(opened, plan.check, **options))
    show(splits := split(opened, plan.split, force=force))
    manner = Manner(resume=False if force else "if-it-fits")
    runs: list[Run] = []
    untried: list[Untried] = []
    for recipe in cheapest_first(plan.recipes):
        if minutes is not None and runs and (force or not _is_trained(opened, recipe)):
            seconds = estimated_seconds(recipe, training_images(opened), plan.clean)
            seconds += sum(each.seconds for each in untried if each.name == recipe.starts_from)
            if perf_counter() - started + seconds > 60 * minutes:
                untried.append(Untried(recipe.name, seconds))
                continue
        show(trained := train(opened, recipe, allow_leaks=allow_leaks, manner=manner, **options))
        runs.append(trained)
    # All is chosen once validation has spoken; the test part is then opened for all of them at once.
    names = [trained.model_id for trained in runs]
    folds = plan.folds or (folds_needed(opened) if minutes is None else None)  # they take many times as long
    evaluations = evaluate(opened, names, final=True, folds=folds if folds != 1 else None, **options)
    for evaluation in evaluations:
        show(evaluation)
    show(comparison := compare(opened))
    page = report(opened, force=force, progress=progress)
    outcome = Outcome(
        *(opened, found, cleaned, issues, splits, tuple(runs), tuple(evaluations), comparison, page, opened.costs()),
        tuple(untried),
    )
    show(outcome)
    return outcome


def _is_trained(project: Project, recipe: Recipe) -> bool:
    """Whether there is a run by this very recipe, on the images and splits that the project has now."""
    is_there = recipe.name in project.trained() and project.is_trained_on_current(recipe.name)
    return is_there and Run(project.runs / recipe.name).recipe == recipe


def demo(
    folder: str | Path = "linnaeus-demo",
    *,
    force: bool = False,
    progress: Progress = silent,
    show: Show = lambda result: None,
) -> Outcome:
    """The main job on a small set of real handwriting, with planted mess, that is written into `folder` first."""
    place = Path(folder)
    images = place / "digits"
    if not images.is_dir():
        with whole_folder(images) as partial_folder:
            write_demo_images(partial_folder)
    recipes = (load_recipe("demo-cnn"), load_recipe("demo-transfer"))
    # Digits of 8 x 8 pixels, enlarged: all of them are blurred, and two of one kind are nearly alike.
    scanning = ScanRecipe(duplicates=DuplicateRecipe(similarity=0.97))
    checking = CheckRecipe(input_size=96, blurry=0.003)
    plan = Plan(scan=scanning, clean=CleanRecipe(size=96), check=checking, recipes=recipes)
    return run(images, place / "digits-linnaeus", plan, force=force, progress=progress, show=show)


def tune(
    project: AnyProject,
    recipe: Recipe | str | Path,
    *,
    minutes: float = 10,
    allow_leaks: bool = False,
    force: bool = False,
    progress: Progress = silent,
) -> Tuning:
    """A search of so many minutes for better settings of a recipe, and the run `<name>-tuned` trained with the best.

    Judged by validation alone. A search goes on where the one before stopped, unless `force`.
    """
    opened, recipe = open_project(project), recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    opened.stamp("split")
    check_no_leaks(opened, allow=allow_leaks)
    best = search_settings(opened, recipe, minutes, force=force, progress=progress)
    tuned = train(opened, best, allow_leaks=allow_leaks, force=force, progress=progress)
    trials, importances = load_search(opened, recipe.name)
    return Tuning(recipe.name, trials, importances, tuned)


def find_rate(project: AnyProject, recipe: Recipe | str | Path, *, progress: Progress = silent) -> RateSearch:
    """A learning rate to begin with, half way down the fall of the loss; a table and a figure in `figures/`."""
    opened, recipe = open_project(project), recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    opened.stamp("split")
    return search_rate(opened, recipe, progress)
