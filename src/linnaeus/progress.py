"""How long work says how far it is: a function that the doors hand down."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from typing import Protocol

Advance = Callable[[int], None]


class Progress(Protocol):
    """Opens one bar for `total` steps of work and yields the function that advances it."""

    def __call__(self, description: str, total: int) -> AbstractContextManager[Advance]: ...  # noqa: D102


@contextmanager
def silent(description: str, total: int) -> Iterator[Advance]:
    """No bar at all."""
    yield lambda steps: None


@contextmanager
def bars(description: str, total: int) -> Iterator[Advance]:
    """A bar with the time gone and the time left, on standard error; it disappears when the work is done."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    # In a notebook without ipywidgets, rich would print that it wants them at every step.
    console = Console(file=sys.stderr, force_jupyter=None if find_spec("ipywidgets") else False)
    is_seen = console.is_terminal or console.is_jupyter  # a file would only get empty lines
    with RichProgress(*columns, console=console, transient=True, disable=not is_seen) as progress:
        task = progress.add_task(description, total=total)
        yield lambda steps: progress.advance(task, steps)
