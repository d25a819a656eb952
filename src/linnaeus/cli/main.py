"""The command line. Each command parses, calls the stage of the same name, and shows what it returns.

Stages are imported inside the commands, so that `--help` loads nothing heavy.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer

from linnaeus.errors import LinnaeusError, RecipeError

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

Parameters = ParamSpec("Parameters")

Images = Annotated[Path, typer.Argument(help="The image folder, one sub-folder per class.", show_default=False)]
ProjectFolder = Annotated[Path, typer.Argument(help="The project folder.", show_default=False)]
ProjectOption = Annotated[
    Path | None,
    typer.Option("--project", "-p", help="The project folder [./IMAGES-linnaeus].", show_default=False),
]
Rename = Annotated[
    str | None,
    typer.Option(help="Class names: 'animals10' or a JSON or CSV map of folder to class.", show_default=False),
]
RecipeNames = Annotated[
    list[str] | None,
    typer.Option("--recipe", "-r", help="A recipe's name or .yaml file; may be repeated.", show_default=False),
]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a setting, such as training.epochs=8; may be repeated.", show_default=False),
]
Size = Annotated[int, typer.Option(help="Side of the cleaned images, pixels.")]
Quality = Annotated[int, typer.Option(help="JPEG quality of the cleaned images.")]
Fit = Annotated[str, typer.Option(help="squash, crop or pad to a square.")]
Seed = Annotated[int, typer.Option(help="Seed of the split.")]
Val = Annotated[float, typer.Option(help="Share of the images for validation.")]
Test = Annotated[float, typer.Option(help="Share of the images for test.")]
Force = Annotated[bool, typer.Option("--force", help="Do it again although it is finished.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Neither progress bars nor tables.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, for scripts.")]


def _door(command: Callable[Parameters, None]) -> Callable[Parameters, None]:
    """The command with its errors as one line on standard error: exit code 1, or 2 where a setting is wrong."""

    @wraps(command)
    def guarded(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except RecipeError as error:  # a setting is wrong, and so the call
            _fail(f"{type(error).__name__}: {error}", code=2)
        except LinnaeusError as error:
            _fail(f"{type(error).__name__}: {error}")
        except KeyboardInterrupt:
            _fail("Stopped. Finished stages are kept; the same command goes on from there.")
        except OSError as error:
            if error.filename is None and error.errno is None:
                raise
            _fail(f"{error.strerror}: {error.filename or 'while writing'}")

    return guarded


def _fail(message: str, code: int = 1) -> None:
    print(message, file=sys.stderr)
    raise typer.Exit(code)


@contextmanager
def _loading(quiet: bool) -> Iterator[None]:
    """A sign of life while the heavy libraries are imported, which takes seconds."""
    if quiet:
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status("Loading"):
        yield


def _options(quiet: bool, as_json: bool = False) -> dict[str, Any]:
    from linnaeus.progress import bars, silent
    from linnaeus.scale.device import keep_freed_memory

    keep_freed_memory()
    return {"progress": silent if quiet or as_json else bars}


def _show(quiet: bool, as_json: bool = False) -> Callable[[object], None]:
    from linnaeus.cli.display import show, show_json

    if as_json:
        return show_json
    return (lambda result: None) if quiet else show


def _recipes(names: Sequence[str], changes: Sequence[str], backbone: tuple[str, str] | None = None) -> list[Any]:
    """The recipes by name, and that for a backbone with its head, with the changes of --set."""
    from linnaeus.recipe import load_recipe, parse_changes, transfer_recipe

    settings = parse_changes(changes)
    recipes = [load_recipe(name) for name in names]
    if backbone is not None:
        recipes.append(transfer_recipe(*backbone))
    return [recipe.changed(settings) for recipe in recipes] if settings else recipes


@app.command(epilog="Example: linnaeus run pets/ --recipe lite0-dense256 --recipe conv4invto128-dense256-up")
@_door
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
    force: Force = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """The main job: catalogue, clean, split, train, evaluate, compare, report."""
    with _loading(quiet or as_json):
        from linnaeus import stages
    from linnaeus.data.catalogue import rename_map
    from linnaeus.recipe import CleanRecipe, Plan, SplitRecipe, checked, default_recipes, load_plan

    cleaning = checked(CleanRecipe, {"size": size, "quality": quality, "fit": fit}, where="run")
    splitting = checked(SplitRecipe, {"val": val, "test": test, "seed": seed}, where="run")
    if plan is not None:
        if recipe or changes or rename or cleaning != CleanRecipe() or splitting != SplitRecipe():
            raise typer.BadParameter("a --plan holds all settings of the job; change them there")
        wished = load_plan(plan)
    else:
        recipes = _recipes(recipe, changes or []) if recipe else list(default_recipes())
        if changes and not recipe:
            raise RecipeError("--set changes the recipes that --recipe names; name at least one")
        content = {"rename": rename_map(rename) or None, "clean": cleaning, "split": splitting, "recipes": recipes}
        wished = checked(Plan, content, where="run")
    show = _show(quiet, as_json)
    shown = (lambda result: None) if as_json else show
    outcome = stages.run(images, project, wished, force=force, show=shown, **_options(quiet, as_json))
    if as_json or quiet:
        show(outcome)
    if quiet and not as_json:
        print(outcome.report)


@app.command(epilog="Example: linnaeus catalogue raw-img/ --rename animals10")
@_door
def catalogue(
    images: Images,
    project: ProjectOption = None,
    rename: Rename = None,
    force: Force = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """List every image with its format, size and mode, and everything that is none."""
    with _loading(quiet or as_json):
        from linnaeus import stages

    options = _options(quiet, as_json)
    _show(quiet, as_json)(stages.catalogue(images, project, rename=rename, force=force, **options))


@app.command(epilog="Example: linnaeus clean pets-linnaeus --size 160 --fit crop")
@_door
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
    with _loading(quiet or as_json):
        from linnaeus import stages
    from linnaeus.recipe import CleanRecipe, checked

    recipe = checked(CleanRecipe, {"size": size, "quality": quality, "fit": fit}, where="clean")
    _show(quiet, as_json)(stages.clean(project, recipe, force=force, **_options(quiet, as_json)))


@app.command(epilog="Example: linnaeus split pets-linnaeus --table my-own-catalogue.csv")
@_door
def split(
    project: ProjectFolder,
    table: Annotated[Path | None, typer.Option(help="A catalogue table of your own (.csv, .parquet).")] = None,
    val: Val = 0.2,
    test: Test = 0.1,
    seed: Seed = 5,
    force: Force = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Divide the images into training, validation and test, stratified; a list, never a copy."""
    with _loading(quiet or as_json):
        from linnaeus import stages
    from linnaeus.recipe import SplitRecipe, checked

    recipe = checked(SplitRecipe, {"val": val, "test": test, "seed": seed}, where="split")
    _show(quiet, as_json)(stages.split(project, recipe, table=table, force=force))


@app.command(epilog="Example: linnaeus train pets-linnaeus --recipe conv4invto128-dense256-up --set training.epochs=8")
@_door
def train(
    project: ProjectFolder,
    recipe: RecipeNames = None,
    backbone: Annotated[str | None, typer.Option(help="Any timm backbone, frozen, instead of a recipe.")] = None,
    head: Annotated[
        str | None, typer.Option(help="The backbone's head: dense128, dense256 (the default), 2dense or 3dense.")
    ] = None,
    changes: Changes = None,
    force: Force = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train one model by a recipe (several, in turn, for several recipes)."""
    with _loading(quiet or as_json):
        from linnaeus import stages

    if head is not None and backbone is None:
        raise typer.BadParameter("--head belongs to a --backbone")
    recipes = _recipes(recipe or [], changes or [], (backbone, head or "dense256") if backbone else None)
    if not recipes:
        raise RecipeError("name at least one --recipe (`linnaeus models` lists them) or a --backbone")
    options, show = _options(quiet, as_json), _show(quiet, as_json)
    runs = []
    for wished in recipes:
        runs.append(stages.train(project, wished, force=force, **options))
        if not as_json:
            show(runs[-1])
    if as_json:
        show(runs)


@app.command(epilog="Example: linnaeus evaluate pets-linnaeus lite0-dense256")
@_door
def evaluate(
    project: ProjectFolder,
    models: Annotated[list[str] | None, typer.Argument(help="The runs; by default all.", show_default=False)] = None,
    force: Force = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Measure runs on validation and test, and log a row for each in results.csv."""
    with _loading(quiet or as_json):
        from linnaeus import stages

    show = _show(quiet, as_json)
    evaluations = stages.evaluate(project, models or None, force=force, **_options(quiet, as_json))
    for result in [evaluations] if as_json else evaluations:
        show(result)


@app.command(epilog="Example: linnaeus compare pets-linnaeus lite0-dense256 lite0-dense256-finetune")
@_door
def compare(
    project: ProjectFolder,
    models: Annotated[
        list[str] | None,
        typer.Argument(help="Two runs, to see their reports side by side.", show_default=False),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Rank the runs by validation accuracy; for two runs, their reports by class side by side."""
    with _loading(quiet or as_json):
        from linnaeus import stages
    from linnaeus.evaluation.comparison import side_by_side

    if models and len(models) != 2:
        raise typer.BadParameter("name two runs to compare, or none for the leaderboard")
    show = _show(quiet, as_json)
    if not models:
        show(stages.compare(project))
        return
    first, second = stages.evaluate(project, models, **_options(quiet, as_json))
    show(side_by_side(first.class_report, second.class_report, (models[0], models[1])))


@app.command(epilog="Example: linnaeus report pets-linnaeus")
@_door
def report(project: ProjectFolder, force: Force = False, quiet: Quiet = False, as_json: Json = False) -> None:
    """Write report.html, one file that needs nothing else."""
    with _loading(quiet or as_json):
        from linnaeus import stages

    path = stages.report(project, force=force, **_options(quiet, as_json))
    if as_json:
        _show(quiet, as_json)({"report": str(path)})
    else:
        print(path)


@app.command(epilog="Example: linnaeus predict pets-linnaeus new-pictures/ 'more/*.jpg' --top 3 --csv")
@_door
def predict(
    model: Annotated[Path, typer.Argument(help="A project (its best model), or a run folder.", show_default=False)],
    images: Annotated[list[str], typer.Argument(help="Files, folders or globs.", show_default=False)],
    top: Annotated[int, typer.Option(min=1, help="How many classes to give for each file.")] = 3,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the result as CSV.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
    as_json: Json = False,
) -> None:
    """Name the most probable classes of new images, with their probabilities."""
    with _loading(quiet or as_json or as_csv):
        from linnaeus import stages
    from linnaeus.cli.display import show_predictions

    if as_csv and as_json:
        raise typer.BadParameter("choose --csv or --json, not both")
    table = stages.predict(model, images, top=top, **_options(quiet, as_json or as_csv))
    show_predictions(table, "csv" if as_csv else "json" if as_json else "table")


@app.command(epilog="Example: linnaeus models conv4invto128-dense256-up")
@_door
def models(
    recipe: Annotated[str | None, typer.Argument(help="A recipe; none lists all.", show_default=False)] = None,
    classes: Annotated[int, typer.Option(min=2, help="Number of classes.")] = 10,
    size: Size = 224,
    as_json: Json = False,
) -> None:
    """List the recipes, or print one model's layers and parameters."""
    with _loading(as_json):
        from linnaeus import stages

    table = stages.models() if recipe is None else stages.models(recipe, classes=classes, size=size)
    _show(False, as_json)(table)


@app.command(epilog="Example: linnaeus demo --folder /tmp/try")
@_door
def demo(
    folder: Annotated[Path, typer.Option(help="Where the demo's images and project go.")] = Path("linnaeus-demo"),
    force: Force = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """The whole job on handwritten digits with planted mess; no data and no network needed."""
    with _loading(quiet or as_json):
        from linnaeus import stages

    show = _show(quiet, as_json)
    shown = (lambda result: None) if as_json else show
    outcome = stages.demo(folder, force=force, show=shown, **_options(quiet, as_json))
    if as_json:
        show(outcome)
    elif quiet:
        print(outcome.report)


def main() -> None:
    """Run the command line: exit code 0, 1 where it failed, 2 where it was called wrongly."""
    app()
