"""How good runs are, as tables on the screen, as JSON, or as a table for a paper."""

import json
from dataclasses import asdict
from typing import Any

import pandas as pd
from rich.markup import escape

from linnaeus.cli.display import Part, plain, rounded, table_of, tables
from linnaeus.evaluation.comparison import ranked_by
from linnaeus.evaluation.paired import sentence
from linnaeus.outcomes import Comparison, Differences, Evaluation, Reasons
from linnaeus.records import PART_NAMES

MOST_SENTENCES = 10
CLOSED = "closed"


@tables.register
def _(result: Evaluation) -> list[Part]:
    metrics = result.metrics
    of_test = f"{metrics['accuracy']:.1%} of test right, " if result.part == "test" else ""
    title = f"{result.run.model_id}: {of_test}{metrics['acc_val']:.1%} of validation"
    by_class = result.class_report.reset_index()
    overall = result.measures[result.measures["class"].eq("")]
    rows = [
        {"figure": row["measure"].replace("_", " "), PART_NAMES[result.part]: f"{row['value']:.4f}", "95 %": _span(row)}
        for row in overall.to_dict("records")
    ]
    return [f"[bold]{escape(title)}[/bold]", table_of(rounded(by_class)), table_of(pd.DataFrame(rows))]


def _span(row: dict[Any, Any]) -> str:
    return f"{row['low']:.4f} to {row['high']:.4f}"


@tables.register
def _(result: Comparison) -> list[Part]:
    rows = [
        {
            "#": str(row["rank"]),
            "model": row["model_id"] + (f" (mean of {row['seeds']})" if row["seeds"] > 1 else ""),
            "val": _accuracy(row, "acc_val"),
            **({"folds": f"{row['acc_folds']:.1%}"} if pd.notna(row["acc_folds"]) else {}),
            "test (95 % interval)": _accuracy(row, "accuracy"),
            "params": f"{row['parameters'] / 1e6:.2f} M",
            "train s": f"{row['train_seconds']:.0f}",
            "ms": f"{row['latency_p50_ms']:.1f}",
        }
        for row in result.table.to_dict("records")
    ]
    by = "accuracy over folds" if ranked_by(result.table) == "acc_folds" else "accuracy on validation"
    shown: list[Part] = [f"[bold]Leaderboard, ranked by {by}[/bold]", table_of(pd.DataFrame(rows).fillna(""))]
    if result.pairs.pairs:
        chose = ", which also chose epochs and models:" if result.part == "val" else ":"
        shown.append(f"On the {PART_NAMES[result.part]} part{chose}\n" + "\n".join(map(escape, _said(result))))
    shown.append(escape(result.looks.sentence))
    if result.stale:
        shown.append(f"Left out, since they are of other splits or not evaluated: {escape(', '.join(result.stale))}.")
    return shown


def _said(result: Comparison) -> list[str]:
    """What the pairs say, those with the chosen model first."""
    pairs = sorted(result.pairs.pairs, key=lambda pair: result.chosen not in {pair.first, pair.second})
    lines = [f"  {sentence(pair)}" for pair in pairs[:MOST_SENTENCES]]
    if len(pairs) > len(lines):
        lines.append(f"  {len(pairs) - len(lines)} more pairs are in pairs.csv")
    if result.pairs.q is not None:
        lines.append(f"  all alike: Cochran's Q {result.pairs.q:.1f}, p = {result.pairs.q_p_value:.2g}; pairs by Holm")
    return lines


def _accuracy(row: dict[Any, Any], column: str) -> str:
    """An accuracy with its spread over seeds, or for a single run on test with its interval."""
    if pd.isna(row[column]):
        return CLOSED
    if pd.notna(row[f"{column}_sd"]):
        return f"{row[column]:.1%} ± {100 * row[f'{column}_sd']:.1f}"
    if column == "acc_val":
        return f"{row[column]:.1%}"
    return f"{row[column]:.1%} ({100 * row[f'{column}_low']:.1f} to {100 * row[f'{column}_high']:.1f})"


@tables.register
def _(result: Differences) -> list[Part]:
    counts = result.images["right"].value_counts()
    only = "; ".join(f"only {name} is right: {count}" for name, count in counts.items()) or "no image differs"
    return [
        f"[bold]Class by class[/bold], {escape(' / '.join((result.pair.first, result.pair.second)))}",
        table_of(_side_by_side(result.reports)),
        f"[bold]Image by image[/bold], on the {PART_NAMES[result.part]} part: {escape(only)}",
        f"See {escape(str(result.sheet))}, and the table beside it.",
    ]


def _side_by_side(reports: pd.DataFrame) -> pd.DataFrame:
    """Both models' figures in one cell, since their names are too long for a heading each."""
    cells: dict[str, list[str]] = {"class": [*reports.index]}
    first, second = (name for name in reports.columns.get_level_values(0).unique() if name)
    for figure in reports[first].columns:
        values = zip(reports[(first, figure)], reports[(second, figure)], strict=True)
        cells[figure] = [f"{one:.3f} / {other:.3f}" for one, other in values]
    return pd.DataFrame(cells | {"images": reports[("", "support")].to_numpy()})


@tables.register
def _(result: Reasons) -> list[Part]:
    counts = result.examples.groupby("sheet", sort=False).size().rename("images").reset_index()
    return [table_of(counts), f"Pictures, their table and a map are in {escape(str(result.folder))}"]


@plain.register
def _(result: Evaluation) -> Any:
    return {**result.metrics, "part": result.part, "measures": plain(result.measures)}


@plain.register
def _(result: Comparison) -> Any:
    return {
        "leaderboard": json.loads(result.table.to_json(orient="records")),
        "part": result.part,
        "pairs": plain(result.pairs.table),
        "sentences": [*result.sentences],
        "cochrans_q": result.pairs.q,
        "cochrans_q_p_value": result.pairs.q_p_value,
        "test_looks": plain(result.looks.table),
        "stale": [*result.stale],
    }


@plain.register
def _(result: Differences) -> Any:
    return {
        "part": result.part,
        "pair": asdict(result.pair),
        "sentence": sentence(result.pair),
        "reports": plain(result.reports),
        "images": plain(result.images),
        "sheet": str(result.sheet),
    }


@plain.register
def _(result: Reasons) -> Any:
    return {"folder": str(result.folder), "examples": plain(result.examples)}


def written_table(leaderboard: pd.DataFrame, form: str) -> str:
    """The leaderboard as "csv" with all its columns, or as "markdown" or "latex" with those of the deck's tables."""
    if form == "csv":
        return leaderboard.to_csv(index=False)
    rows = pd.DataFrame([_paper_row(row) for row in leaderboard.to_dict("records")])
    if form == "latex":
        return rows.to_latex(index=False, escape=True, column_format="l" + "r" * (rows.shape[1] - 1))
    lines = [[*rows.columns], ["---", *["---:"] * (rows.shape[1] - 1)], *rows.to_numpy().tolist()]
    return "".join(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def _paper_row(row: dict[Any, Any]) -> dict[str, str]:
    figures = {"acc train": "acc_train", "acc val": "acc_val", "test": "accuracy"}
    figures |= {"precision": "precision", "recall": "recall", "f1": "f1_score"}
    shares = {name: "" if pd.isna(row[column]) else f"{row[column]:.4f}" for name, column in figures.items()}
    interval = "" if pd.isna(row["accuracy"]) else f"{row['accuracy_low']:.4f} to {row['accuracy_high']:.4f}"
    return {
        "model": row["model_id"] + (f" ({row['seeds']} seeds)" if row["seeds"] > 1 else ""),
        **{name: shares[name] for name in ("acc train", "acc val", "test")},
        "95 % interval": interval,
        **{name: shares[name] for name in ("precision", "recall", "f1")},
        "parameters": f"{row['parameters']:,.0f}",
        "size MiB": f"{row['size_mb']:.1f}",
        "train s": f"{row['train_seconds']:.0f}",
    }
