"""The deck's models and ours, as lines of a table on the screen or as JSON."""

import textwrap
from typing import Any

from rich.markup import escape
from rich.table import Table

from linnaeus.cli.display import Part, plain, tables
from linnaeus.outcomes import DeckResult, Reproduction

# The columns of the deck's models and ours, which are printed row by row, and their widths in characters.
COLUMNS = {
    "model": 21,
    "train\ndeck/ours": 9,
    "val\ndeck/ours": 9,
    "test\ndeck/ours": 9,
    "diff.": 5,
    "95 %\ninterval": 9,
    "deck\nin it": 5,
    "s": 6,
}


@tables.register
def _(result: Reproduction) -> list[Part]:
    if not result.results:
        return [*_remarks(result), _table()]
    shown: list[Part] = []
    if done := len(result.results) - len(result.failed):
        within = sum(bool(one.is_deck_within) for one in result.results)
        shown.append(f"The deck's test accuracy lies in the 95 % interval of ours for {within} of {done} models.")
    if result.failed:
        shown.append(f"Not trained (the reasons are above): {', '.join(one.row.recipe for one in result.failed)}.")
    return [*shown, f"All are in {escape(str(result.project.deck.with_suffix('.csv')))}."]


def _remarks(result: Reproduction) -> list[Part]:
    shown: list[Part] = ["[bold]The deck and ours, accuracy in percent[/bold]"]
    if result.epochs_scale != 1:
        shown.append(
            f"The deck's epochs times {result.epochs_scale:g}: less training, so the figures are not comparable."
        )
    if result.leaks:
        shown.append(
            f"As in the deck, near-duplicates are not kept together: {result.leaks:,} pairs of images lie in different "
            "parts, which flatters every accuracy (leaks.csv)."
        )
    return shown


@tables.register
def _(result: DeckResult) -> list[Part]:
    row, ours = result.row, result.metrics or {}
    pairs = [
        f"{_percent(deck)}/{_percent(ours.get(name))}"
        for name, deck in [("acc_train", row.acc_train), ("acc_val", row.acc_val), ("accuracy", row.accuracy)]
    ]
    points = "" if result.points is None else f"{result.points:+.1f}"
    interval = "" if result.interval is None else "-".join(_percent(end) for end in result.interval)
    within = {True: "yes", False: "no", None: ""}[result.is_deck_within]
    name = "\n".join(textwrap.wrap(row.recipe, COLUMNS["model"]))
    seconds = f"{ours['train_seconds']:.0f}" if ours else ""
    shown: list[Part] = [_table((name, *pairs, points, interval, within, seconds))]
    return [*shown, f"  [red]{escape(result.failure)}[/red]"] if result.failure else shown


def _table(row: tuple[str, ...] = ()) -> Table:
    """The head of the table of models, or a row below it."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), show_header=not row)
    for name, width in COLUMNS.items():
        table.add_column(name, width=width, justify="left" if name == "model" else "right")
    if row:
        table.add_row(*row)
    return table


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


@plain.register
def _(result: Reproduction) -> Any:
    facts = {"project": str(result.project.root), "epochs_scale": result.epochs_scale, "leaks": result.leaks}
    return {**facts, "failed": [one.row.recipe for one in result.failed], "rows": plain(result.table)}
