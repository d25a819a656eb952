"""The command line. Each command parses, calls the stage of the same name, and shows what it returns.

Stages are imported inside the commands, so that `--help` loads nothing heavy.
"""

from pathlib import Path
from typing import Annotated

import typer

from linnaeus.cli.judging import compare, evaluate, explain
from linnaeus.cli.options import (
    AllowLeaks,
    Changes,
    Fit,
    Force,
    GroupColumn,
    GroupPattern,
    Images,
    Json,
    Labels,
    Loggers,
    Method,
    NearDuplicates,
    ProjectFolder,
    ProjectOption,
    Quality,
    Quiet,
    RecipeNames,
    Rename,
    Resume,
    Seed,
    Settings,
    Size,
    Test,
    Val,
    door,
    loading,
    shower,
    stage_options,
    wished_recipes,
)
from linnaeus.cli.reproduce import reproduce
from linnaeus.cli.tuning import find_rate, tune
from linnaeus.cli.using import models, predict
from linnaeus.errors import RecipeError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""A folder of images, one sub-folder per class, becomes a classifier its owner can trust.

    [bold]linnaeus demo[/bold]                see the whole job on a small data set, no data needed
    [bold]linnaeus run pets/[/bold]           the whole job on your pictures
    [bold]linnaeus predict pets-linnaeus new/*.jpg[/bold]   use the best model
    """,
)


@app.command(epilog="Example: linnaeus run pets/ --recipe lite0-dense256 --recipe conv4invto128-dense256-up")
@door
def run(
    images: Annotated[
        str, typer.Argument(help="The image folder, or 'animals10' to download that.", show_default=False)
    ],
    project: ProjectOption = None,
    rename: Rename = None,
    recipe: RecipeNames = None,
    changes: Changes = None,
    plan: Annotated[Path | None, typer.Option(help="A YAML file with all settings of the job.")] = None,
    size: Size = 224,
    quality: Quality = 90,
    fit: Fit = "squash",
    val: Val = 0.2,
    test: Test = 0.1,
    seed: Seed = 5,
    group_column: GroupColumn = None,
    group_pattern: GroupPattern = None,
    labels: Labels = True,
    minutes: Annotated[
        float | None, typer.Option(help="Leave out models that would not be trained by then.", show_default=False)
    ] = None,
    allow_leaks: AllowLeaks = False,
    force: Force = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """The main job: catalogue, clean, check, split, train, evaluate, compare, report."""
    with loading(quiet or as_json):
        from linnaeus import jobs
    from linnaeus.data.catalogue import rename_map
    from linnaeus.recipe import Plan, checked, load_plan
    from linnaeus.settings import CheckRecipe, CleanRecipe, SplitRecipe

    cleaning = checked(CleanRecipe, {"size": size, "quality": quality, "fit": fit}, where="run")
    groups = {"group_column": group_column, "group_pattern": group_pattern}
    splitting = checked(SplitRecipe, {"val": val, "test": test, "seed": seed, **groups}, where="run")
    if plan is not None:
        if recipe or changes or rename or not labels or cleaning != CleanRecipe() or splitting != SplitRecipe():
            raise typer.BadParameter("a --plan holds all settings of the job; change them there")
        wished = load_plan(plan)
    else:
        recipes = wished_recipes(recipe, changes or []) if recipe else [*Plan().recipes]
        if changes and not recipe:
            raise RecipeError("--set changes the recipes that --recipe names; name at least one")
        sections = {"clean": cleaning, "check": CheckRecipe(judge_labels=labels), "split": splitting}
        content = {"rename": rename_map(rename) or None, **sections, "recipes": recipes}
        wished = checked(Plan, content, where="run")
    show = shower(quiet, as_json)
    shown = (lambda result: None) if as_json else show
    options = {"minutes": minutes, "allow_leaks": allow_leaks, "force": force, **stage_options(quiet, as_json)}
    outcome = jobs.run(images, project, wished, show=shown, **options)
    if as_json or quiet:
        show(outcome)
    if quiet and not as_json:
        print(outcome.report)


@app.command(epilog="Example: linnaeus catalogue raw-img/ --rename animals10")
@door
def catalogue(
    images: Images,
    project: ProjectOption = None,
    rename: Rename = None,
    settings: Settings = None,
    force: Force = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """List every image with all that is measured of it, everything that is none, and duplicates."""
    with loading(quiet or as_json):
        from linnaeus import stages
    from linnaeus.recipe import changed_section
    from linnaeus.settings import ScanRecipe

    recipe = changed_section(ScanRecipe(), settings or [], where="catalogue")
    options = stage_options(quiet, as_json)
    shower(quiet, as_json)(stages.catalogue(images, project, recipe, rename=rename, force=force, **options))


@app.command(epilog="Example: linnaeus clean pets-linnaeus --size 160 --fit crop")
@door
def clean(
    project: ProjectFolder,
    size: Size = 224,
    quality: Quality = 90,
    fit: Fit = "squash",
    force: Force = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Copy every image as an RGB square JPEG; yours are only read."""
    with loading(quiet or as_json):
        from linnaeus import stages
    from linnaeus.recipe import checked
    from linnaeus.settings import CleanRecipe

    recipe = checked(CleanRecipe, {"size": size, "quality": quality, "fit": fit}, where="clean")
    shower(quiet, as_json)(stages.clean(project, recipe, force=force, **stage_options(quiet, as_json)))


@app.command(epilog="Example: linnaeus check pets-linnaeus --set blurry=0.02 --set dark=0.3")
@door
def check(
    project: ProjectFolder,
    labels: Labels = True,
    settings: Settings = None,
    force: Force = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Find everything odd: duplicates, wrong labels, outliers, dark, blurry or broken images.

    All findings are in issues.csv, worst first. decisions.csv is proposed once and then yours: write keep, drop or
    relabel, and run again.
    """
    with loading(quiet or as_json):
        from linnaeus import stages
    from linnaeus.recipe import changed_section
    from linnaeus.settings import CheckRecipe

    recipe = changed_section(CheckRecipe(judge_labels=labels), settings or [], where="check")
    shower(quiet, as_json)(stages.check(project, recipe, force=force, **stage_options(quiet, as_json)))


@app.command(epilog="Example: linnaeus split pets-linnaeus --table my-own-catalogue.csv")
@door
def split(
    project: ProjectFolder,
    table: Annotated[Path | None, typer.Option(help="A catalogue table of your own (.csv, .parquet).")] = None,
    val: Val = 0.2,
    test: Test = 0.1,
    seed: Seed = 5,
    method: Method = "stratified",
    folds: Annotated[int, typer.Option(help="How many folds kfold makes.")] = 5,
    fold: Annotated[int, typer.Option(help="Which of them, from 0, is the test part.")] = 0,
    near_duplicates: NearDuplicates = True,
    group_column: GroupColumn = None,
    group_pattern: GroupPattern = None,
    force: Force = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Divide the images into training, validation and test; a list, never a copy. Groups never cross parts."""
    with loading(quiet or as_json):
        from linnaeus import stages
    from linnaeus.recipe import checked
    from linnaeus.settings import SplitRecipe

    shares = {"val": val, "test": test, "seed": seed, "method": method, "folds": folds, "fold": fold}
    groups = {"near_duplicates": near_duplicates, "group_column": group_column, "group_pattern": group_pattern}
    recipe = checked(SplitRecipe, shares | groups, where="split")
    shower(quiet, as_json)(stages.split(project, recipe, table=table, force=force))


@app.command(epilog="Example: linnaeus train pets-linnaeus --recipe conv4invto128-dense256-up --set training.epochs=8")
@door
def train(
    project: ProjectFolder,
    recipe: RecipeNames = None,
    backbone: Annotated[
        str | None, typer.Option(help="Any timm backbone, frozen, instead of a recipe; several joined by +.")
    ] = None,
    head: Annotated[
        str | None, typer.Option(help="Its head: dense256 (the default), dense128, 2dense, 3dense, mlp, probe or knn.")
    ] = None,
    changes: Changes = None,
    seeds: Annotated[int, typer.Option(min=1, help="Train with so many seeds; compare shows mean and spread.")] = 1,
    allow_leaks: AllowLeaks = False,
    resume: Resume = False,
    loggers: Loggers = None,
    force: Force = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train one model by a recipe (several, in turn, for several recipes)."""
    with loading(quiet or as_json):
        from linnaeus import stages
        from linnaeus.steps.training import Manner

    if head is not None and backbone is None:
        raise typer.BadParameter("--head belongs to a --backbone")
    recipes = wished_recipes(recipe or [], changes or [], (backbone, head or "dense256") if backbone else None)
    if not recipes:
        raise RecipeError("name at least one --recipe (`linnaeus models` lists them) or a --backbone")
    manner = Manner(resume=resume, loggers=tuple(loggers or ()))
    options, show = stage_options(quiet, as_json), shower(quiet, as_json)
    runs = []
    for wished in [each.seeded(each.training.seed + more) for each in recipes for more in range(seeds)]:
        runs.append(stages.train(project, wished, allow_leaks=allow_leaks, manner=manner, force=force, **options))
        if not as_json:
            show(runs[-1])
    if as_json:
        show(runs)


@app.command(epilog="Example: linnaeus report pets-linnaeus")
@door
def report(project: ProjectFolder, force: Force = False, quiet: Quiet = False, as_json: Json = False) -> None:
    """Write report.html, one file that needs nothing else."""
    with loading(quiet or as_json):
        from linnaeus import stages

    path = stages.report(project, force=force, **stage_options(quiet, as_json))
    if as_json:
        shower(quiet, as_json)({"report": str(path)})
    else:
        print(path)


@app.command(epilog="Example: linnaeus demo --folder /tmp/try")
@door
def demo(
    folder: Annotated[Path, typer.Option(help="Where the demo's images and project go.")] = Path("linnaeus-demo"),
    force: Force = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """The whole job on handwritten digits with planted mess; no data and no network needed."""
    with loading(quiet or as_json):
        from linnaeus import jobs

    show = shower(quiet, as_json)
    shown = (lambda result: None) if as_json else show
    outcome = jobs.demo(folder, force=force, show=shown, **stage_options(quiet, as_json))
    if as_json:
        show(outcome)
    elif quiet:
        print(outcome.report)


app.command(epilog="Example: linnaeus evaluate pets-linnaeus lite0-dense256 --final")(evaluate)
app.command(epilog="Example: linnaeus compare pets-linnaeus lite0-dense256 lite0-probe")(compare)
app.command(epilog="Example: linnaeus explain pets-linnaeus new-pictures/ --method integrated-gradients")(explain)
app.command(epilog="Example: linnaeus predict pets-linnaeus new-pictures/ 'more/*.jpg' --unknown --csv")(predict)
app.command(epilog="Example: linnaeus models conv4invto128-dense256-up")(models)
app.command(epilog="Example: linnaeus tune pets-linnaeus --recipe lite0-dense256 --minutes 20")(tune)
app.command(epilog="Example: linnaeus find-rate pets-linnaeus --recipe conv4invto128-dense256-up")(find_rate)
app.command(epilog="Example: linnaeus reproduce deck raw-img/ --only 'base*' --epochs-scale 0.1")(reproduce)


def main() -> None:
    """Run the command line: exit code 0, 1 where it failed, 2 where it was called wrongly."""
    app()
