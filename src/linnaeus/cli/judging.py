"""The commands that say how good runs are: evaluate, compare, explain."""

from pathlib import Path
from typing import Annotated, get_args

import typer

from linnaeus.cli.options import Force, Json, ProjectFolder, Quiet, door, loading, shower, stage_options

Models = Annotated[list[str] | None, typer.Argument(help="The runs; by default all.", show_default=False)]


@door
def evaluate(
    project: ProjectFolder,
    models: Models = None,
    final: Annotated[
        bool, typer.Option("--final", help="Open the test part; meant for once, when all is chosen. Looks are counted.")
    ] = False,
    folds: Annotated[
        int | None,
        typer.Option(
            min=3, help="Also judge the recipes by so many folds: for small validation parts.", show_default=False
        ),
    ] = None,
    force: Force = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Measure runs on validation, and with --final on the test part, and log a row for each in results.csv.

    Every figure, with its interval, is in measures-val.csv and measures-test.csv of the run's folder.
    """
    with loading(quiet or as_json):
        from linnaeus import stages

    show = shower(quiet, as_json)
    options = stage_options(quiet, as_json)
    evaluations = stages.evaluate(project, models or None, final=final, folds=folds, force=force, **options)
    for result in [evaluations] if as_json else evaluations:
        show(result)


@door
def compare(
    project: ProjectFolder,
    models: Annotated[
        list[str] | None,
        typer.Argument(help="Some runs, to see how they differ on the same images.", show_default=False),
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the leaderboard as a Markdown table.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="Print the leaderboard as a LaTeX table.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the leaderboard as CSV, with all columns.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Rank the runs by validation; say which are better than which on the same images, and of which no one can tell.

    For two runs also their reports by class side by side, and the images that one gets right and the other wrong, as a
    table and a sheet of thumbnails in the project's figures.
    """
    forms = [name for name, is_wanted in (("markdown", markdown), ("latex", latex), ("csv", as_csv)) if is_wanted]
    if len(forms) + as_json > 1:
        raise typer.BadParameter("choose one of --markdown, --latex, --csv and --json")
    if models is not None and len({*models}) == 1:
        raise typer.BadParameter("name two runs or more to compare, or none for all")
    with loading(quiet or as_json or bool(forms)):
        from linnaeus import stages
    from linnaeus.cli.display_judging import written_table

    show = shower(quiet, as_json)
    comparison = stages.compare(project, models or None)
    is_pair = models is not None and len(comparison.table) == 2
    if forms:
        print(written_table(comparison.table, forms[0]), end="")
    elif not (is_pair and as_json):
        show(comparison)
    if is_pair and not forms:
        first, second = comparison.table["model_id"]
        show(stages.differences(project, first, second))


@door
def explain(
    project: Annotated[Path, typer.Argument(help="The project; with images also a run folder.", show_default=False)],
    images: Annotated[
        list[str] | None,
        typer.Argument(help="Files, folders or globs; none for the evaluated images.", show_default=False),
    ] = None,
    model: Annotated[str | None, typer.Option(help="The run; by default the best one.", show_default=False)] = None,
    method: Annotated[
        str | None,
        typer.Option(help="grad-cam (the usual one) or integrated-gradients.", show_default=False),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="With images: where the pictures go [./reasons].", show_default=False)
    ] = None,
    force: Force = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Show why a model says what it says: what in an image spoke for its class.

    Without images: mistakes, doubtful images and confused classes, each beside the training images most like it, and a
    map of the feature space, in the run's folder and in the report.
    """
    with loading(quiet or as_json):
        from linnaeus import stages, using
    from linnaeus.evaluation.saliency import Method

    if method is not None and method not in get_args(Method):
        raise typer.BadParameter(f"--method is one of {', '.join(get_args(Method))}")
    if (force and images) or (folder is not None and not images):
        raise typer.BadParameter("--folder is for images, --force for the evaluated ones")
    options, show = {"method": method, **stage_options(quiet, as_json)}, shower(quiet, as_json)
    if not images:
        show(stages.explain(project, model, force=force, **options))
    else:
        place = project if model is None else project / "runs" / model
        show(using.explain_files(place, images, folder or Path("reasons"), **options))
