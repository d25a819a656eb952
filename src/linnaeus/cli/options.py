"""What the commands share: their options, how their errors are told, and how their results are shown.

Nothing heavy is imported here, so that `--help` is quick.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer

from linnaeus.errors import LinnaeusError, RecipeError

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
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a setting, such as blurry=0.02; may be repeated.", show_default=False),
]
AllowLeaks = Annotated[
    bool, typer.Option("--allow-leaks", help="Train although near-duplicates cross the parts; the report says so.")
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on from the checkpoint of a training that was stopped or killed.")
]
Loggers = Annotated[
    list[str] | None,
    typer.Option("--log", help="Also log to tensorboard, mlflow or wandb; may be repeated.", show_default=False),
]
Labels = Annotated[bool, typer.Option(help="Judge labels and outliers by a pretrained network's features.")]
Method = Annotated[str, typer.Option(help="stratified, hash (adding images moves none) or kfold.")]
GroupColumn = Annotated[
    str | None,
    typer.Option(help="A column of the table; images with the same value stay together.", show_default=False),
]
GroupPattern = Annotated[
    str | None,
    typer.Option(
        help="A regular expression on the path, such as 'cam(\\d+)'; images with the same match stay together.",
        show_default=False,
    ),
]
NearDuplicates = Annotated[bool, typer.Option(help="Keep near-duplicates in one part.")]
Size = Annotated[int, typer.Option(help="Side of the cleaned images, pixels.")]
Quality = Annotated[int, typer.Option(help="JPEG quality of the cleaned images.")]
Fit = Annotated[str, typer.Option(help="squash, crop or pad to a square.")]
Seed = Annotated[int, typer.Option(help="Seed of the split.")]
Val = Annotated[float, typer.Option(help="Share of the images for validation.")]
Test = Annotated[float, typer.Option(help="Share of the images for test.")]
Force = Annotated[bool, typer.Option("--force", help="Do it again although it is finished.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Neither progress bars nor tables.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, for scripts.")]


def door(command: Callable[Parameters, None]) -> Callable[Parameters, None]:
    """The command with its errors as one line on standard error: exit code 1, or 2 where a setting is wrong."""

    @wraps(command)
    def guarded(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except RecipeError as error:  # a setting is wrong, and so the call
            _fail(f"{type(error).__name__}: {error}", code=2)
        except LinnaeusError as error:
            _fail(f"{type(error).__name__}: {error}")
        except KeyboardInterrupt as stop:
            _fail(str(stop) or "Stopped. Finished stages are kept; the same command goes on from there.")
        except OSError as error:
            if error.filename is None and error.errno is None:
                raise
            _fail(f"{error.strerror}: {error.filename or 'while writing'}")

    return guarded


def _fail(message: str, code: int = 1) -> None:
    print(message, file=sys.stderr)
    raise typer.Exit(code)


@contextmanager
def loading(quiet: bool) -> Iterator[None]:
    """A sign of life while the heavy libraries are imported, which takes seconds."""
    if quiet:
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status("Loading"):
        yield


def stage_options(quiet: bool, as_json: bool = False) -> dict[str, Any]:
    """How far long work is, as bars or not at all; memory that tensors free is kept from now on."""
    from linnaeus.progress import bars, silent
    from linnaeus.scale.device import keep_freed_memory
    from linnaeus.scale.processes import this_shard

    keep_freed_memory()
    return {"progress": silent if quiet or as_json or not this_shard().is_first else bars}


def shower(quiet: bool, as_json: bool = False) -> Callable[[object], None]:
    """What shows a result: as tables, as JSON, or not at all; of processes that train together only the first does."""
    import linnaeus.cli.display_judging
    import linnaeus.cli.display_search  # noqa: F401  # both tell display how their results look
    from linnaeus.cli.display import show, show_json
    from linnaeus.scale.processes import this_shard

    if (quiet and not as_json) or not this_shard().is_first:
        return lambda result: None
    return show_json if as_json else show


def wished_recipes(names: Sequence[str], changes: Sequence[str], backbone: tuple[str, str] | None = None) -> list[Any]:
    """The recipes by name, and that for a backbone with its head, with the changes of --set."""
    from linnaeus.recipe import load_recipe, parse_changes, transfer_recipe

    settings = parse_changes(changes)
    recipes = [load_recipe(name) for name in names]
    if backbone is not None:
        recipes.append(transfer_recipe(*backbone))
    return [recipe.changed(settings) for recipe in recipes] if settings else recipes
