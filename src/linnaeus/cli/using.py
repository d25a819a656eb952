"""The commands that use trained models, and that list what there is to train."""

from pathlib import Path
from typing import Annotated

import typer

from linnaeus.cli.options import Json, Size, door, loading, shower, stage_options


@door
def predict(
    model: Annotated[Path, typer.Argument(help="A project (its best model), or a run folder.", show_default=False)],
    images: Annotated[list[str], typer.Argument(help="Files, folders or globs.", show_default=False)],
    top: Annotated[int, typer.Option(min=1, help="How many classes to give for each file.")] = 3,
    unknown: Annotated[
        bool, typer.Option("--unknown", help="Answer 'none of these' for what is unlike the known classes.")
    ] = False,
    kept: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="With --unknown: share of known images that keep their class [0.95].",
            show_default=False,
        ),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the result as CSV.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
    as_json: Json = False,
) -> None:
    """Name the most probable classes of new images, with calibrated probabilities."""
    with loading(quiet or as_json or as_csv):
        from linnaeus import using
    from linnaeus.cli.display import show_predictions

    if kept is not None and not unknown:
        raise typer.BadParameter("--kept belongs to --unknown")
    if as_csv and as_json:
        raise typer.BadParameter("choose --csv or --json, not both")
    share = None if not unknown else 0.95 if kept is None else kept
    options = {"kept": share, **stage_options(quiet, as_json or as_csv)}
    table = using.predict(model, images, top=top, **options)
    show_predictions(table, "csv" if as_csv else "json" if as_json else "table")


@door
def models(
    recipe: Annotated[str | None, typer.Argument(help="A recipe; none lists all.", show_default=False)] = None,
    pretrained: Annotated[
        str | None,
        typer.Option(help="List the pretrained backbones that match, such as 'efficientnet*'.", show_default=False),
    ] = None,
    classes: Annotated[int, typer.Option(min=2, help="Number of classes.")] = 10,
    size: Size = 224,
    as_json: Json = False,
) -> None:
    """List the recipes or pretrained backbones, or print one model's layers and parameters."""
    with loading(as_json):
        from linnaeus import using

    if recipe is not None and pretrained is not None:
        raise typer.BadParameter("name a recipe or a pattern of --pretrained, not both")
    table = using.models(pretrained=pretrained) if recipe is None else using.models(recipe, classes=classes, size=size)
    shower(False, as_json)(table)
