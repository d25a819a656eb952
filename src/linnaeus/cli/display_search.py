"""What searches found, as tables on the screen or as JSON."""

from typing import Any

import pandas as pd
from rich.table import Table

from linnaeus.cli.display import Part, plain, table_of, tables
from linnaeus.outcomes import Tuning
from linnaeus.training.rate_finder import RateSearch

MOST_TRIALS = 5


@tables.register
def _(result: Tuning) -> list[Part]:
    whole = result.trials[result.trials["state"] == "complete"]
    best = whole.sort_values("val_loss").head(MOST_TRIALS)
    shown = best.drop(columns=["state", "seconds"]).assign(trial=best["trial"] + 1).dropna(axis=1, how="all")
    for column in shown.select_dtypes("float").columns:
        shown[column] = [f"{value:.3g}" if pd.notna(value) else "" for value in shown[column]]
    shown.columns = shown.columns.str.replace("_", " ")
    parts: list[Part] = [
        f"Tried {len(result.trials)} settings of {result.name}, {len(whole)} of them to the end. Best by validation:"
    ]
    parts.append(table_of(shown))
    if result.importances:
        moved = ", ".join(f"{name.replace('_', ' ')} {share:.0%}" for name, share in result.importances.items())
        parts.append(f"What moved the loss: {moved}")
    return [*parts, *tables(result.run)]


@plain.register
def _(result: Tuning) -> Any:
    found = {"name": result.name, "trials": plain(result.trials), "importances": result.importances}
    return found | {"run": plain(result.run)}


@tables.register
def _(result: RateSearch) -> list[Part | Table]:
    if result.suggestion is None:
        return [
            f"The loss did not fall by a tenth in {len(result.table)} steps, too few for some CNNs from scratch "
            "(the figure is in the project's figures/)."
        ]
    return [
        f"The loss has done half of its fall at a learning rate of {result.suggestion:.1e}, a good one to begin with: "
        f"--set training.learning_rate={result.suggestion:.1e} (the figure is in the project's figures/)"
    ]


@plain.register
def _(result: RateSearch) -> Any:
    return {"suggestion": result.suggestion, "table": plain(result.table)}
