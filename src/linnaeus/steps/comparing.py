"""Comparing runs: what each says of the very same images, and how much it costs."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from linnaeus.evaluation.comparison import leaderboard
from linnaeus.evaluation.paired import Pairwise, compare_pairs
from linnaeus.files import fingerprint, write_with
from linnaeus.project import Project
from linnaeus.records import Part
from linnaeus.reporting.sheets import SIDE, Row, Tile, readable_thumbnail, save_sheet
from linnaeus.runs import Run
from linnaeus.steps.image_facts import independent_groups
from linnaeus.steps.splitting import load_splits

MOST_SHOWN = 40  # images that only one of two runs gets right


def run_results(project: Project, runs: Sequence[Run], *, apart: bool = False) -> pd.DataFrame:
    """A row of the log for each run, with `seed` and `family`, which the runs of one recipe share unless `apart`."""
    rows = [run.metrics | {"family": _family(project, run), "seed": run.recipe.training.seed} for run in runs]
    results = pd.DataFrame(rows)
    # Two runs by the same recipe and the same seed are copies, not draws; each stands for itself.
    is_alone = results.duplicated(["family", "seed"], keep=False) | apart
    return results.assign(family=results["family"].where(~is_alone, results["model_id"]))


def ranked_runs(project: Project, results: pd.DataFrame) -> pd.DataFrame:
    """The leaderboard of results of runs."""
    splits = load_splits(project)
    return leaderboard(results, val_images=len(splits.val), test_images=len(splits.test))


def compared_runs(project: Project, results: pd.DataFrame, model_ids: Sequence[str], part: Part) -> Pairwise:
    """Which rows of the leaderboard, in the order of `model_ids`, are better than which on a part's images.

    The seeds of one recipe count as one, by their mean."""
    table = load_splits(project).part(part)
    seeds = seeds_by_model(results)
    right = {name: _share_right(project, seeds[name], part, table) for name in model_ids}
    return compare_pairs(pd.DataFrame(right), independent_groups(project, table))


def seeds_by_model(results: pd.DataFrame) -> dict[str, list[str]]:
    """The runs that each row of the leaderboard stands for, the one that gives its name first."""
    families = results.sort_values("seed").groupby("family", sort=False)["model_id"]
    return {names.iloc[0]: [*names] for _, names in families}


def differing_images(first: Run, second: Run, part: Part) -> pd.DataFrame:
    """The images of a part that one of two runs gets right and the other wrong: relpath, category, right (the run that
    gets it), and what each says, in columns of their names; first those that only the second gets."""
    said = {run.model_id: run.predictions(part).set_index("relpath") for run in (first, second)}
    table = pd.DataFrame({name: found["predicted_category"] for name, found in said.items()})
    table.insert(0, "category", said[first.model_id]["category"])
    is_right = pd.DataFrame({name: table[name].eq(table["category"]) for name in said})
    table.insert(1, "right", np.where(is_right[second.model_id], second.model_id, first.model_id))
    differs = is_right[first.model_id] != is_right[second.model_id]
    found = table[differs].reset_index()
    order = found["right"].eq(first.model_id)
    return found.assign(order=order).sort_values(["order", "category", "relpath"]).drop(columns="order")


def save_differences(project: Project, table: pd.DataFrame, names: tuple[str, str]) -> Path:
    """Write the images that two runs differ in as a table and, at the path that comes back, as a sheet of thumbnails,
    of each run the first ones."""
    stem = project.figures / f"{names[0]}--{names[1]}"
    rows = [_sheet_row(project, name, table[table["right"] == name], names) for name in reversed(names)]
    sheet = stem.with_name(f"{stem.name}.jpg")
    write_with(stem.with_name(f"{stem.name}.csv"), partial(table.to_csv, index=False))
    save_sheet(rows, sheet)
    return sheet


def _sheet_row(project: Project, right: str, table: pd.DataFrame, names: tuple[str, str]) -> Row:
    (wrong,) = (name for name in names if name != right)
    more = f"; shown are {MOST_SHOWN}" if len(table) > MOST_SHOWN else ""
    tiles = [
        Tile(
            readable_thumbnail(project.clean_folder / str(row["relpath"]), SIDE),
            (str(row["category"]), f"{wrong}:", str(row[wrong])),
        )
        for row in table.head(MOST_SHOWN).to_dict("records")
    ]
    return Row(f"Only {right} is right: {len(table)}{more}", tuple(tiles))


def _share_right(project: Project, model_ids: Sequence[str], part: Part, table: pd.DataFrame) -> "pd.Series[float]":
    """The share of some runs that got each image of a table right, in its order."""
    found = []
    for name in model_ids:
        predictions = Run(project.runs / name).predictions(part).set_index("relpath")
        found.append(predictions["label"].eq(predictions["predicted"]).reindex(table["relpath"]))
    return pd.concat(found, axis=1).mean(axis=1).reset_index(drop=True)


def _family(project: Project, run: Run) -> str:
    """What all runs by one recipe share, whatever their seeds, and those of the runs they started from."""
    content = run.recipe.model_dump(mode="json", exclude={"name": True, "starts_from": True, "training": {"seed"}})
    earlier = run.recipe.starts_from
    if earlier is None:
        return fingerprint(content)
    started = Run(project.runs / earlier)
    return fingerprint([content, _family(project, started) if started.folder.is_dir() else earlier])
