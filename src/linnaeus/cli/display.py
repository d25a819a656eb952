"""Each result as tables on the screen, or as JSON for scripts."""

import json
from dataclasses import asdict
from functools import singledispatch
from typing import Any, Literal

import pandas as pd
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from linnaeus.data.catalogue import Catalogue
from linnaeus.data.issues import Issues
from linnaeus.data.split import Splits
from linnaeus.networks.summary import ModelSummary
from linnaeus.outcomes import Outcome
from linnaeus.recipe import load_recipe, recipe_names
from linnaeus.recipe_sections import FITTED_HEADS
from linnaeus.runs import Run

MOST_ROWS = 10
UNKNOWN = "unknown"

Part = Table | str


def show(result: object) -> None:
    """Print a stage's result for a reader."""
    console = Console()
    for part in tables(result):
        console.print(part)


def show_json(result: object) -> None:
    """Print a stage's result as one JSON value."""
    print(json.dumps(plain(result), indent=2, ensure_ascii=False, default=str))


def show_predictions(table: pd.DataFrame, form: Literal["table", "csv", "json"]) -> None:
    """Print predictions; in JSON each file has `path`, `error` (null where there is none) and its `top` classes."""
    if form == "csv":
        print(table.to_csv(index=False), end="")
    elif form == "json":
        print(json.dumps([_prediction(row) for row in table.to_dict("records")], indent=2, ensure_ascii=False))
    else:
        shown = table.astype(object)
        for column in [name for name in table.columns if name.startswith("probability_")]:
            shown[column] = [f"{share:.1%}" if pd.notna(share) else "" for share in table[column]]
        Console().print(table_of(shown.fillna("")))


@singledispatch
def tables(result: object) -> list[Part]:
    """What to print of a result."""
    return [escape(str(result))]


@tables.register
def _(result: Catalogue) -> list[Part]:
    if "source" in result.images:
        side = result.images["width"].iloc[0]
        lost = f"; {len(result.excluded)} could not be read any more" if len(result.excluded) else ""
        return [f"Cleaned {len(result.images):,} images to RGB {side} x {side} JPEG{lost}."]
    shown: list[Part] = [
        f"[bold]{len(result.images):,} images of {len(result.classes)} classes[/bold]",
        table_of(result.by_class().reset_index()),
        table_of(result.by_format()),
        *(_most_common(side, result.sizes(side)) for side in ("width", "height")),
    ]
    if len(result.excluded):
        shown += [
            f"[bold]Left out: {len(result.excluded)}[/bold]",
            table_of(result.by_reason().reset_index()),
            table_of(result.excluded.head(MOST_ROWS)),
        ]
    if len(result.excluded) > MOST_ROWS:
        shown.append(f"... and {len(result.excluded) - MOST_ROWS} more, all in excluded.csv.")
    if len(result.pairs):
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in result.pairs["kind"].value_counts().items())
        shown.append(f"Pairs of the same or nearly the same image: {kinds}. All are in duplicates.csv.")
    return shown


@tables.register
def _(result: Issues) -> list[Part]:
    counts = result.by_check()
    if counts.empty:
        return ["Nothing odd was found."]
    rows = [
        {"check": name.replace("_", " "), "images": f"{count:,}", "the worst": _worst(result.findings, name)}
        for name, count in zip(counts.index.astype(str), counts, strict=True)
    ]
    return [
        f"[bold]Oddities: {len(result.findings):,} findings[/bold]",
        table_of(pd.DataFrame(rows)),
        "All are in issues.csv, worst first. Decide in decisions.csv (keep, drop, relabel), then run again.",
    ]


def _worst(findings: pd.DataFrame, name: str) -> str:
    row = findings[findings["check"] == name].iloc[0]
    return f"{row['relpath']} {row['detail']}".strip()


@tables.register
def _(result: Splits) -> list[Part]:
    counts = result.counts()
    counts.loc["all"] = counts.sum()
    shown: list[Part] = ["[bold]Splits[/bold]", table_of(counts.rename_axis("class").reset_index())]
    if "group" in result.table:
        sizes = result.table["group"].value_counts()
        shown.append(f"{(sizes > 1).sum():,} groups of more than one image, none of which crosses parts.")
    if len(result.left_out):
        shown.append(f"{len(result.left_out):,} images are in no part; left-out.csv says why.")
    return shown


@tables.register
def _(result: Run) -> list[Part]:
    facts, history = result.training, result.history
    if facts.best_epoch == 0:
        return [f"{result.model_id}: {facts.epochs} epochs, none of which was kept."]
    own = history[history["model_id"] == result.model_id]
    best = own.iloc[facts.best_epoch - 1]
    return [
        f"{result.model_id}: {facts.epochs} epochs in {facts.train_seconds:.0f} s; kept epoch {facts.best_epoch}, "
        f"training accuracy {best['accuracy']:.1%}, validation {best['val_accuracy']:.1%}."
    ]


@tables.register
def _(result: ModelSummary) -> list[Part]:
    layers = result.layers.assign(parameters=[f"{count:,}" for count in result.layers["parameters"]])
    return [
        f"[bold]{result.name}[/bold]",
        table_of(layers),
        f"Total params: {result.total:,} ({result.total * 4 / 2**20:.2f} MiB)\n"
        f"Trainable params: {result.trainable:,}\nNon-trainable params: {result.non_trainable:,}",
    ]


@tables.register
def _(result: pd.DataFrame) -> list[Part]:
    return [table_of(rounded(_flat(result)))]


@tables.register
def _(result: Outcome) -> list[Part]:
    rows = [
        {"stage": cost.stage, "seconds": f"{cost.seconds:.1f}", "peak MiB": f"{cost.peak_memory_mib:,.0f}"}
        for cost in result.costs
    ]
    project = escape(str(result.project.root))
    return [
        "[bold]What it took[/bold]",
        table_of(pd.DataFrame(rows)),
        *_what_time_buys(result, project),
        f"Chosen, without the test part: [bold]{result.comparison.chosen}[/bold]\n"
        f"Use it:  linnaeus predict {project} IMAGES\n"
        f"Report:  [bold]{escape(str(result.report))}[/bold]",
    ]


def _what_time_buys(result: Outcome, project: str) -> list[Part]:
    """What training time bought so far, and what more of it could go into."""
    bought = "; ".join(f"{name} {accuracy:.1%} after {seconds:,.0f} s" for name, accuracy, seconds in result.bought)
    more = [
        f"  about {each.seconds:,.0f} s for {each.name}: the same command with more --minutes"
        for each in result.untried
    ]
    if (searched := _searched(result)) is not None:
        more.append("  as long as you like for better settings:")
        more.append(f"  linnaeus tune {project} --recipe {searched} --minutes 20")
    return [
        f"What training time bought, in validation accuracy: {bought}",
        *(["More time could go into:\n" + "\n".join(more)] if more else []),
    ]


def _searched(result: Outcome) -> str | None:
    """The best model whose settings can be searched, by its recipe's name, or by its file where it has no other."""
    for name in result.comparison.table["model_id"]:
        run = Run(result.project.runs / name)
        if getattr(run.recipe.model, "head", "") not in FITTED_HEADS and run.recipe.training.epochs:
            is_ours = name in recipe_names() and load_recipe(name) == run.recipe
            return str(name) if is_ours else escape(str(run.folder / "recipe.yaml"))
    return None


@singledispatch
def plain(result: object) -> Any:
    """A result as values that JSON has."""
    return result


@plain.register
def _(result: list) -> Any:  # type: ignore[type-arg]  # singledispatch takes plain classes only
    return [plain(item) for item in result]


@plain.register
def _(result: Catalogue) -> Any:
    return {
        "images": len(result.images),
        "classes": {name: int(count) for name, count in result.by_class().items()},
        "excluded": result.excluded.to_dict("records"),
        "duplicate_pairs": plain(result.pairs),
    }


@plain.register
def _(result: Issues) -> Any:
    return {"counts": {name: int(n) for name, n in result.by_check().items()}, "findings": plain(result.findings)}


@plain.register
def _(result: Splits) -> Any:
    return {part: {name: int(n) for name, n in counts.items()} for part, counts in result.counts().items()}


@plain.register
def _(result: Run) -> Any:
    return {"model_id": result.model_id, "folder": str(result.folder), **asdict(result.training)}


@plain.register
def _(result: ModelSummary) -> Any:
    totals = {"total": result.total, "trainable": result.trainable, "non_trainable": result.non_trainable}
    return {"name": result.name, "layers": result.layers.to_dict("records"), **totals}


@plain.register
def _(result: pd.DataFrame) -> Any:
    flat = _flat(result)
    return json.loads(flat.to_json(orient="records"))


@plain.register
def _(result: Outcome) -> Any:
    return {
        "project": str(result.project.root),
        "report": str(result.report),
        "chosen": result.comparison.chosen,
        **plain(result.comparison),
        "costs": [asdict(cost) for cost in result.costs],
        "untried": [asdict(each) for each in result.untried],
    }


def _prediction(row: dict[Any, Any]) -> dict[str, Any]:
    places = [name.removeprefix("class_") for name in row if name.startswith("class_")]
    top = [{"class": row[f"class_{n}"], "probability": row[f"probability_{n}"]} for n in places]
    is_error = bool(row["error"])
    answer = {"answer": None if is_error else row["answer"]} if "answer" in row else {}
    return {"path": row["path"], "error": row["error"] or None, **answer, "top": [] if is_error else top}


def _flat(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its index, where that has a name, and its two-level headings as plain columns."""
    flat = table.copy()
    if isinstance(flat.columns, pd.MultiIndex):
        flat.columns = pd.Index([f"{model} {figure}".strip() for model, figure in flat.columns])
    return flat.reset_index() if flat.index.name else flat


def rounded(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its fractions as text of four digits."""
    shown = table.copy()
    for name in table.select_dtypes("float").columns:
        shown[name] = [UNKNOWN if pd.isna(value) else f"{value:.4g}" for value in table[name]]
    return shown


def _most_common(side: str, sizes: pd.Series) -> str:
    first = ", ".join(f"{pixels} ({count:,} times)" for pixels, count in sizes.head(3).items())
    return f"{side}: {len(sizes)} distinct, most common {first}"


def table_of(rows: pd.DataFrame) -> Table:
    """A rich table, text to the left and numbers to the right."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in rows.columns:
        is_number = all(str(value)[:1].isdigit() or value == UNKNOWN for value in rows[name])
        justify: Literal["left", "right"] = "right" if is_number else "left"
        table.add_column(str(name), justify=justify, overflow="fold", no_wrap=is_number)
    for values in rows.itertuples(index=False):
        table.add_row(*(escape(str(value)) for value in values))
    return table
