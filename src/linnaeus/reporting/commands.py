"""The commands that make a project again, with every option that its stages were given."""

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from linnaeus.data.sources import RENAMES
from linnaeus.decisions import read_decisions
from linnaeus.files import read_json
from linnaeus.project import Project
from linnaeus.reporting.words import counted
from linnaeus.runs import Run
from linnaeus.settings import CheckRecipe, ScanRecipe, Section, SplitRecipe

OF_FOLDS = {"folds", "fold"}  # settings that only the method kfold reads


def commands(project: Project, runs: list[Run]) -> tuple[str, ...]:
    """Lines for a shell, to be run where the project folder lies; remarks begin with #.

    A changed recipe is named by the file that its run keeps.
    """
    root = shlex.quote(project.root.name)
    trained = sorted(runs, key=lambda run: project.trained().index(run.model_id))
    allowed = "" if pd.read_parquet(project.leaks).empty else " --allow-leaks"
    return (
        _catalogue(project, root),
        *_decisions(project, root),
        f"linnaeus clean {root}{_options(_recipe(project, 'clean'))}",
        *_check(project, root),
        *_split(project, root),
        *(f"linnaeus train {root} --recipe {root}/runs/{run.model_id}/recipe.yaml{allowed}" for run in trained),
        *_evaluate(root, trained),
        f"linnaeus report {root}",
    )


def _evaluate(root: str, runs: list[Run]) -> Iterator[str]:
    by_folds: dict[int, list[str]] = {}
    for run in runs:
        if run.folds_file.is_file():
            by_folds.setdefault(read_json(run.folds_file)["folds"], []).append(run.model_id)
    for folds, names in by_folds.items():
        yield f"linnaeus evaluate {root} {' '.join(names)} --folds {folds}"
    opened = [run.model_id for run in runs if run.is_judged("test")]
    others = [run.model_id for run in runs if not run.is_judged("test")]
    for names, option in ((others, ""), (opened, " --final")):
        if names:
            yield f"linnaeus evaluate {root} {' '.join(names)}{option}"


def map_name(names: dict[str, str]) -> str:
    """A built-in map's own name; a map of the user's stands among the settings."""
    return next((known for known, built_in in RENAMES.items() if built_in == names), "NAMES.json")


def _catalogue(project: Project, root: str) -> str:
    names = project.stamp("catalogue")["inputs"]["rename"]
    rename = f" --rename {map_name(names)}" if names else ""
    changes = _changes(ScanRecipe(**_recipe(project, "catalogue")))
    return f"linnaeus catalogue {shlex.quote(str(project.images))} --project {root}{rename}{changes}"


def _decisions(project: Project, root: str) -> Iterator[str]:
    counts = read_decisions(project.decisions).counts()
    if counts["drop"] or counts["relabel"]:
        yield (
            f"# {root}/decisions.csv must be there: it drops {counted(counts['drop'], 'image')} and relabels "
            f"{counts['relabel']}"
        )


def _check(project: Project, root: str) -> Iterator[str]:
    if "check" in {cost.stage for cost in project.costs()}:
        yield f"linnaeus check {root}{_changes(CheckRecipe(**_recipe(project, 'check')))}"


def _split(project: Project, root: str) -> Iterator[str]:
    recipe, table = SplitRecipe(**_recipe(project, "split")), project.stamp("split")["inputs"]["own_table"]
    if recipe.method == "hash":
        yield f"# images keep the part that {root}/splits.parquet gives them, where that is there"
    unread = set() if recipe.method == "kfold" else OF_FOLDS
    own_table = {"table": table} if table else {}
    yield f"linnaeus split {root}{_options(recipe.model_dump(mode='json', exclude=unread) | own_table)}"


def _recipe(project: Project, stage: str) -> dict[str, Any]:
    recipe: dict[str, Any] = project.stamp(stage)["inputs"]["recipe"]
    return recipe


def _options(settings: Mapping[str, Any]) -> str:
    """An option for each setting that has a value."""
    return "".join(_option(name.replace("_", "-"), value) for name, value in settings.items() if value is not None)


def _option(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return f" --{name}" if value else f" --no-{name}"
    return f" --{name} {shlex.quote(str(value))}"


def _changes(section: Section) -> str:
    """A --set for each setting that is not as it comes."""
    usual = _flat(type(section)().model_dump(mode="json"))
    settings = _flat(section.model_dump(mode="json"))
    changed = {name: value for name, value in settings.items() if value != usual[name]}
    # JSON is YAML, which --set reads.
    return "".join(f" --set {shlex.quote(f'{name}={json.dumps(value)}')}" for name, value in changed.items())


def _flat(content: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Nested settings by dotted name."""
    flat: dict[str, Any] = {}
    for name, value in content.items():
        flat |= _flat(value, f"{above}{name}.") if isinstance(value, dict) else {f"{above}{name}": value}
    return flat
