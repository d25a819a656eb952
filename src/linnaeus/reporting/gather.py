"""From a project's files to everything that its report tells."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from timm.models import get_pretrained_cfg

from linnaeus.data.catalogue import Catalogue, read_catalogue
from linnaeus.data.decode import thumbnail_jpeg
from linnaeus.data.issues import Issues
from linnaeus.data.split import Splits
from linnaeus.decisions import read_decisions
from linnaeus.evaluation.answering import load_answering
from linnaeus.files import file_hash, read_json, read_text_table
from linnaeus.networks.backbone import timm_name
from linnaeus.project import Project, now
from linnaeus.recipe import Recipe
from linnaeus.recipe_sections import FITTED_HEADS, ScratchRecipe
from linnaeus.records import Part
from linnaeus.reporting.commands import commands, map_name
from linnaeus.reporting.facts import ComparisonFacts, Division, ModelFacts, ReportFacts, SearchFacts, TrustFacts
from linnaeus.runs import Run
from linnaeus.settings import CleanRecipe, SplitRecipe

THUMBNAIL_SIDE = 128


def gather_facts(project: Project, comparison: ComparisonFacts) -> ReportFacts:
    """The facts of a project whose runs were compared."""
    images, excluded = read_catalogue(project.catalogue), pd.read_parquet(project.excluded)
    splits = Splits(pd.read_parquet(project.splits), pd.read_parquet(project.left_out))
    runs = [Run(project.runs / name) for name in comparison.leaderboard["model_id"]]
    rows = comparison.leaderboard.to_dict("records")
    models = [_model(run, row, comparison.part_of(run.model_id)) for run, row in zip(runs, rows, strict=True)]
    part = models[0].part
    predictions = runs[0].predictions(part)
    folders = {"raw": project.images, "clean": project.clean_folder}
    return ReportFacts(
        title=project.images.name,
        image_folder=str(project.images),
        created=now()[:16].replace("T", " ") + " UTC",
        version=version("linnaeus"),
        catalogue=Catalogue(images, excluded, pd.read_parquet(project.duplicates)),
        issues=_issues(project),
        decisions=read_decisions(project.decisions),
        clean=CleanRecipe(**project.stamp("clean")["inputs"]["recipe"]),
        clean_excluded=pd.read_parquet(project.clean_excluded),
        splits=splits,
        division=_division(project),
        in_use=_in_use(read_catalogue(project.clean_catalogue), splits),
        comparison=comparison,
        trust=_trust(runs[0], part),
        models=tuple(models),
        searches=_searches(project),
        predictions=predictions.assign(predicted=predictions["predicted_category"]),
        read_thumbnail=lambda kind, relpath: thumbnail_jpeg(folders[kind] / relpath, THUMBNAIL_SIDE),
        costs=project.costs(),
        base_model=_base_model(runs[0].recipe),
        usage=_usage(project, runs[0]),
        commands=commands(project, [Run(project.runs / name) for seeds in comparison.seeds.values() for name in seeds]),
        settings=_settings(project, runs[0]),
    )


def _issues(project: Project) -> Issues | None:
    """What was found in the images that the catalogue has now; None where they were not checked."""
    if "check" not in {cost.stage for cost in project.costs()}:
        return None
    if project.stamp("check")["inputs"]["catalogue"] != file_hash(project.catalogue):
        return None
    return Issues(pd.read_parquet(project.issues), pd.read_parquet(project.checked))


def _division(project: Project) -> Division:
    inputs = project.stamp("split")["inputs"]
    table = Path(inputs["own_table"] or project.clean_catalogue)
    return Division(
        recipe=SplitRecipe(**inputs["recipe"]),
        own_table=inputs["own_table"],
        has_given_parts=table.is_file() and "given_split" in read_catalogue(table),
        leaks=pd.read_parquet(project.leaks),
    )


def _in_use(cleaned: pd.DataFrame, splits: Splits) -> pd.DataFrame:
    source = splits.table["relpath"].map(cleaned.set_index("relpath")["source"])
    return splits.table[["category", "split"]].set_index(source)


def _model(run: Run, row: dict[Any, Any], part: Part) -> ModelFacts:
    return ModelFacts(
        model_id=run.model_id,
        description=describe(run.recipe),
        result=row,
        part=part,
        history=run.history,
        class_report=run.class_report(part),
        confusion=run.confusion(part),
        history_png=run.history_picture.read_bytes(),
        confusion_png=run.of(part, "confusion.png").read_bytes(),
    )


def _trust(run: Run, part: Part) -> TrustFacts:
    return TrustFacts(
        measures=run.measures(part),
        reliability=pd.read_csv(run.of(part, "reliability.csv")),
        slices=run.slices(part),
        unsliced=read_text_table(run.of(part, "unsliced.csv"), "column", "reason"),
        latency=run.latency,
        curves_png=run.of(part, "curves.png").read_bytes(),
        temperature=load_answering(run.folder).temperature,
        examples=run.examples(part),
        places=run.feature_map(part),
        read_picture=lambda name: (run.reasons(part) / name).read_bytes(),
    )


def _searches(project: Project) -> tuple[SearchFacts, ...]:
    """The searches on the images and splits that the project has now."""
    found = [(path.parent, read_json(path)) for path in sorted(project.tuning.glob("*/search.json"))]
    of_now = [(folder, search) for folder, search in found if search["inputs"] == project.current_inputs()]
    return tuple(_search(folder, search["importances"]) for folder, search in of_now)


def _search(folder: Path, importances: dict[str, float]) -> SearchFacts:
    trials = pd.read_csv(folder / "trials.csv")
    best = trials[trials["state"].eq("complete")].sort_values("val_loss").iloc[0]
    settings = best.drop(["trial", "state", "val_loss", "seconds"]).dropna()
    return SearchFacts(
        name=folder.name,
        trials=trials,
        best={str(name): value if isinstance(value, str) else f"{value:.4g}" for name, value in settings.items()},
        trials_png=(folder / "trials.png").read_bytes(),
        importances=importances,
        importances_png=(folder / "importances.png").read_bytes() if importances else None,
    )


def describe(recipe: Recipe) -> str:
    """One sentence that says what a recipe's model is and how it is trained."""
    model, training = recipe.model, recipe.training
    dense = ", ".join(str(width) for width in model.dense_widths) or "none"
    if isinstance(model, ScratchRecipe):
        body = f"A CNN from scratch: convolutions {'-'.join(map(str, model.conv_widths))}, dense layers {dense}"
    elif model.is_frozen:
        under = {"dense": f"dense layers {dense}", "probe": "a logistic regression", "knn": "nearest neighbours"}
        names = " and ".join((model.backbone, *model.more_backbones))
        body = f"{names}, pretrained and frozen, under {under[model.head]}"
        if model.head in FITTED_HEADS:
            return f"{body}, fitted at once, its setting chosen on validation."
    else:
        layers = (
            f"{model.unfrozen_last_layers} layers"
            if model.unfrozen_last_layers
            else f"{model.unfrozen_last_blocks} blocks"
        )
        body = f"The last {layers} of {model.backbone} fine-tuned with dense layers {dense}"
    going_on = f", going on from {recipe.starts_from}" if recipe.starts_from else ""
    balance = "as they are" if recipe.data.balance == "none" else f"balanced ({recipe.data.balance})"
    augment = "augmented" if recipe.data.augment else "not augmented"
    return (
        f"{body}{going_on}; learning rate {training.learning_rate:g}, at most {training.epochs} epochs, batches of "
        f"{training.batch_size}; training images {balance}, {augment}."
    )


def _base_model(recipe: Recipe) -> str | None:
    """The pretrained backbone's name on the Hub, None where it has none or other weights were used."""
    model = recipe.model
    if isinstance(model, ScratchRecipe) or model.weights != "auto":
        return None
    name = timm_name(model.backbone)
    if name.startswith("hf-hub:"):
        return name.removeprefix("hf-hub:")
    known = get_pretrained_cfg(name, allow_unregistered=True)
    return None if known is None else known.hf_hub_id


def _usage(project: Project, chosen: Run) -> dict[str, str]:
    folder = Path(project.root.name, "runs", chosen.model_id)
    return {
        "Command line": f"linnaeus predict {project.root.name} new-pictures/",
        "Python": f'import linnaeus\n\nlinnaeus.predict("{folder}", "new-pictures/")',
    }


def _settings(project: Project, chosen: Run) -> dict[str, str]:
    machine = chosen.provenance["machine"]
    names = project.stamp("catalogue")["inputs"]["rename"]
    settings = {
        "linnaeus": version("linnaeus"),
        "torch": torch.__version__,
        "timm": version("timm"),
        "scikit-learn": version("scikit-learn"),
        "Pillow": version("pillow"),
        "processor": f"{machine['processor'] or 'unknown'}, {machine['cores']} cores",
        "memory": f"{machine['memory_mib']} MiB",
        "system": machine["system"],
        "Python": chosen.provenance["versions"]["python"],
        "project folder": str(project.root.resolve()),
        "catalogue (SHA-256 of its inputs)": project.stamp("catalogue")["key"],
        "splits (SHA-256 of their inputs)": project.stamp("split")["key"],
    }
    renamed = ", ".join(f"{folder} -> {name}" for folder, name in names.items())
    return settings | ({f"class names ({map_name(names)})": renamed} if renamed else {})
