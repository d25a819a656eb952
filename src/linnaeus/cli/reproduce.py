"""The command that trains the deck's models again."""

from pathlib import Path
from typing import Annotated

import typer

from linnaeus.cli.options import Json, Quiet, Rename, door, loading, shower, stage_options


@door
def reproduce(
    what: Annotated[str, typer.Argument(help="What to train again: deck.", show_default=False)],
    images: Annotated[str, typer.Argument(help="The image folder; 'animals10' downloads the deck's.")] = "animals10",
    project: Annotated[
        Path | None,
        typer.Option("--project", "-p", help="The project folder [./IMAGES-deck].", show_default=False),
    ] = None,
    only: Annotated[
        str, typer.Option(help="Only models of this name or group (sampling, scratch, transfer), such as 'conv5*'.")
    ] = "*",
    epochs_scale: Annotated[float, typer.Option(help="Multiply the epochs of each model, such as by 0.1.")] = 1.0,
    rename: Rename = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train the deck's models on your images, and print the deck's accuracies beside ours.

    Prepares the images as the deck does, its plain split included. Models that cannot be trained are listed with the
    reason, and the exit code is then 1. Finished ones are kept; the same command goes on from there.
    """
    with loading(quiet or as_json):
        import linnaeus.cli.display_deck  # noqa: F401  # tells display how the deck's models look
        from linnaeus.reproduction import reproduce as reproduce_deck
    show = shower(quiet, as_json)
    shown = (lambda result: None) if as_json else show
    options = {"only": only, "epochs_scale": epochs_scale, "rename": rename, **stage_options(quiet, as_json)}
    made = reproduce_deck(what, images, project, show=shown, **options)
    if as_json:
        show(made)
    elif quiet:
        print(made.project.deck.with_suffix(".csv"))
    if made.failed:
        raise typer.Exit(1)
