"""From a project's files to everything that its report tells."""

import shlex
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from linnaeus.data.catalogue import Catalogue, read_catalogue
from linnaeus.data.decode import thumbnail_jpeg
from linnaeus.data.sources import RENAMES
from linnaeus.data.split import Splits
from linnaeus.project import Project, now
from linnaeus.recipe import Recipe, ScratchRecipe
from linnaeus.reporting.facts import ModelFacts, ReportFacts
from linnaeus.runs import Run
from linnaeus.settings import CleanRecipe

THUMBNAIL_SIDE = 128


def gather_facts(project: Project, leaderboard: pd.DataFrame) -> ReportFacts:
    """The facts of a project whose runs are ranked in `leaderboard`."""
    catalogue = Catalogue(read_catalogue(project.catalogue), pd.read_parquet(project.excluded))
    splits = Splits(pd.read_parquet(project.splits))
    runs = [Run(project.runs / name) for name in leaderboard["model_id"]]
    rows = leaderboard.to_dict("records")
    predictions = runs[0].predictions("test")
    folders = {"raw": project.images, "clean": project.clean_folder}
    return ReportFacts(
        title=project.images.name,
        image_folder=str(project.images),
        created=now()[:16].replace("T", " ") + " UTC",
        version=version("linnaeus"),
        catalogue=catalogue,
        duplicates=_duplicates_in_parts(catalogue, read_catalogue(project.clean_catalogue), splits),
        clean=CleanRecipe(**project.stamp("clean")["inputs"]["recipe"]),
        clean_excluded=pd.read_parquet(project.clean_excluded),
        splits=splits,
        leaderboard=leaderboard,
        models=tuple(_model(run, row) for run, row in zip(runs, rows, strict=True)),
        predictions=predictions.assign(predicted=predictions["predicted_category"]),
        read_thumbnail=lambda kind, relpath: thumbnail_jpeg(folders[kind] / relpath, THUMBNAIL_SIDE),
        costs=project.costs(),
        usage=_usage(project, runs[0]),
        commands=_commands(project, runs),
        settings=_settings(project),
    )


def _duplicates_in_parts(catalogue: Catalogue, cleaned: pd.DataFrame, splits: Splits) -> pd.DataFrame:
    part_of_clean = splits.table.set_index("relpath")["split"]
    part_of_raw = cleaned.set_index("source")["relpath"].map(part_of_clean)
    duplicates = catalogue.duplicates()
    return duplicates.assign(split=duplicates["relpath"].map(part_of_raw))


def _model(run: Run, row: dict[Any, Any]) -> ModelFacts:
    return ModelFacts(
        model_id=run.model_id,
        description=describe(run.recipe),
        result=row,
        history=run.history,
        class_report=run.class_report(),
        confusion=run.confusion(),
        history_png=run.history_picture.read_bytes(),
        confusion_png=run.confusion_picture.read_bytes(),
    )


def describe(recipe: Recipe) -> str:
    """One sentence that says what a recipe's model is and how it is trained."""
    model, training = recipe.model, recipe.training
    dense = ", ".join(str(width) for width in model.dense_widths) or "none"
    if isinstance(model, ScratchRecipe):
        body = f"A CNN from scratch: convolutions {'-'.join(map(str, model.conv_widths))}, dense layers {dense}"
    elif model.unfrozen_last_layers:
        body = f"The last {model.unfrozen_last_layers} layers of {model.backbone} fine-tuned with dense layers {dense}"
    else:
        body = f"{model.backbone}, pretrained and frozen, under dense layers {dense}"
    going_on = f", going on from {recipe.starts_from}" if recipe.starts_from else ""
    balance = "as they are" if recipe.data.balance == "none" else f"balanced ({recipe.data.balance})"
    augment = "augmented" if recipe.data.augment else "not augmented"
    return (
        f"{body}{going_on}; learning rate {training.learning_rate:g}, at most {training.epochs} epochs, batches of "
        f"{training.batch_size}; training images {balance}, {augment}."
    )


def _usage(project: Project, chosen: Run) -> dict[str, str]:
    folder = Path(project.root.name, "runs", chosen.model_id)
    return {
        "Command line": f"linnaeus predict {project.root.name} new-pictures/",
        "Python": f'import linnaeus\n\nlinnaeus.predict("{folder}", "new-pictures/")',
    }


def _commands(project: Project, runs: list[Run]) -> tuple[str, ...]:
    """What does it all again; a changed recipe is named by the file that its run keeps."""
    root = shlex.quote(project.root.name)
    table = project.stamp("split")["inputs"]["own_table"]
    own_table = f" --table {shlex.quote(table)}" if table else ""
    trained = sorted(runs, key=lambda run: project.trained().index(run.model_id))
    return (
        f"linnaeus catalogue {shlex.quote(str(project.images))} --project {root}{_rename_option(project)}",
        f"linnaeus clean {root} {_options(project, 'clean')}",
        f"linnaeus split {root} {_options(project, 'split')}{own_table}",
        *(f"linnaeus train {root} --recipe {root}/runs/{run.model_id}/recipe.yaml" for run in trained),
        f"linnaeus evaluate {root} {' '.join(run.model_id for run in trained)}",
        f"linnaeus report {root}",
    )


def _rename_option(project: Project) -> str:
    names = project.stamp("catalogue")["inputs"]["rename"]
    return f" --rename {_map_name(names)}" if names else ""


def _map_name(names: dict[str, str]) -> str:
    """A built-in map's own name; a map of the user's stands among the settings."""
    return next((known for known, built_in in RENAMES.items() if built_in == names), "NAMES.json")


def _options(project: Project, stage: str) -> str:
    return " ".join(f"--{name} {value}" for name, value in project.stamp(stage)["inputs"]["recipe"].items())


def _settings(project: Project) -> dict[str, str]:
    names = project.stamp("catalogue")["inputs"]["rename"]
    settings = {
        "linnaeus": version("linnaeus"),
        "torch": torch.__version__,
        "timm": version("timm"),
        "scikit-learn": version("scikit-learn"),
        "Pillow": version("pillow"),
        "project folder": str(project.root.resolve()),
        "catalogue (SHA-256 of its inputs)": project.stamp("catalogue")["key"],
        "splits (SHA-256 of their inputs)": project.stamp("split")["key"],
    }
    renamed = ", ".join(f"{folder} -> {name}" for folder, name in names.items())
    return settings | ({f"class names ({_map_name(names)})": renamed} if renamed else {})
