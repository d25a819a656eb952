"""Training one model: from the splits to a run folder."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from shutil import rmtree
from time import perf_counter

import pandas as pd

from linnaeus.data.catalogue import read_catalogue
from linnaeus.errors import ProjectError
from linnaeus.files import file_hash, whole_folder, write_with
from linnaeus.networks.classifier import (
    Classifier,
    build_classifier,
    continue_from,
    load_classifier,
    save_classifier,
    saved_megabytes,
)
from linnaeus.progress import Progress, silent
from linnaeus.project import Project, now
from linnaeus.provenance import provenance
from linnaeus.recipe import Recipe, load_recipe
from linnaeus.reporting.figures import history_figure, save_figure
from linnaeus.runs import Run
from linnaeus.scale.device import best_device, training_precision
from linnaeus.scale.energy import measured_energy
from linnaeus.scale.processes import this_shard, wait_for_all
from linnaeus.settings import CleanRecipe
from linnaeus.steps.splitting import load_splits
from linnaeus.training.checkpoint import Checkpoints, Resume
from linnaeus.training.fit import Watch
from linnaeus.training.loggers import reporting_to
from linnaeus.training.record import continued_history, training_facts
from linnaeus.training.train import TrainingImages, train_classifier


@dataclass(frozen=True)
class Manner:
    """How a training runs, which never changes its result.

    resume: go on from the checkpoint of one that was cut short, if there is one; one of other images, splits or
    settings is an error, or with "if-it-fits" left aside. checkpoint_seconds: at most so much
    work is lost with a kill. loggers: "tensorboard", "mlflow", "wandb", beside the history that is always kept.
    """

    resume: Resume = False
    checkpoint_seconds: float = 30.0
    loggers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Training:
    """A training's manner, the key of all that it is made from, and how it shows how far it is."""

    manner: Manner
    key: str
    progress: Progress = silent


def weights_hash(weights: str) -> str | None:
    """The hash of the weights file that a recipe names, by which a changed one is noticed; None for none."""
    return file_hash(Path(weights)) if Path(weights).is_file() else None


def recipe_called(project: Project, name: str) -> Recipe:
    """By which the run of that name was trained; where there is none yet, by that of the run with another seed, or
    else by ours."""
    plain = re.sub(r"-seed\d+$", "", name)
    for known in (name, plain):
        if (project.runs / known).is_dir():
            recipe = Run(project.runs / known).recipe
            return recipe if known == name else recipe.seeded(int(name.removeprefix(f"{plain}-seed")))
    return load_recipe(name)


def train_afresh(project: Project, recipe: Recipe, earlier: Run | None, training: Training) -> None:
    """Train a model by its recipe, from where an earlier run ended if there is one, and write its run folder.

    While it runs, its history and its checkpoint lie in the project's `checkpoints`.
    """
    images = training_images(project)
    started = perf_counter()
    started_from = None if earlier is None else load_classifier(earlier.folder)
    classifier = untrained_classifier(project, recipe, images, started_from)
    with _watch(project, recipe, training) as watch, measured_energy() as energy:
        fitted = train_classifier(classifier, recipe, images, watch)
    # The epochs of one that goes on were trained by more than this process.
    seconds = max(perf_counter() - started, float(fitted.history["seconds"].sum()))
    if not this_shard().is_first:
        wait_for_all()
        return
    with whole_folder(project.runs / recipe.name) as folder:
        save_classifier(classifier, folder)
        history = continued_history(fitted.history.assign(model_id=recipe.name), earlier)
        facts = training_facts(classifier, fitted, seconds, saved_megabytes(folder))
        facts = replace(facts, train_joules=energy.joules)
        made = Run(folder)
        made.save_training(recipe, history, facts)
        made.save_provenance(_origin(project, recipe))
        save_figure(history_figure(history), made.history_picture)
    rmtree(project.checkpoints / recipe.name, ignore_errors=True)
    wait_for_all()


def untrained_classifier(
    project: Project, recipe: Recipe, images: TrainingImages, earlier: Classifier | None
) -> Classifier:
    """What training by a recipe starts with: fresh, or with the weights of an earlier classifier."""
    clean_recipe = CleanRecipe(**project.stamp("clean")["inputs"]["recipe"])
    classifier = build_classifier(
        recipe.model,
        images.splits.classes,
        clean_recipe,
        pretrained=earlier is None,
        seed=recipe.training.seed,
    )
    if earlier is not None:
        continue_from(classifier, earlier, str(recipe.starts_from))
    return classifier


@contextmanager
def _watch(project: Project, recipe: Recipe, training: Training) -> Iterator[Watch]:
    """A bar, checkpoints, the history so far as a table, and the loggers."""
    manner, folder = training.manner, project.checkpoints / recipe.name
    checkpoints = Checkpoints(folder, training.key, manner.checkpoint_seconds, manner.resume)
    logs = project.root / "logs"
    with reporting_to(manner.loggers, logs, recipe.name, recipe.model_dump(mode="json")) as report:

        def on_epoch(rows: Sequence[dict[str, float]]) -> None:
            if not this_shard().is_first:
                return
            write_with(folder / "history.csv", partial(pd.DataFrame(rows).to_csv, index=False))
            report(rows[-1])

        yield Watch(training.progress, on_epoch, checkpoints)


def _origin(project: Project, recipe: Recipe) -> dict[str, object]:
    """What the run was made from, and with."""
    device = best_device()
    return {
        "time": now(),
        "seed": recipe.training.seed,
        "recipe": recipe.name,
        "images_sha256": file_hash(project.clean_catalogue),
        "splits_sha256": file_hash(project.splits),
        "device": device.type,
        "precision": training_precision(recipe.training.precision, device),
        **provenance(),
    }


def training_images(project: Project) -> TrainingImages:
    """What the project has to train on. Raises ProjectError where the splits name images that it does not have."""
    splits = load_splits(project)
    cleaned = read_catalogue(project.clean_catalogue).set_index("relpath")
    unknown = set(splits.table["relpath"]) - set(cleaned.index)
    if unknown:
        raise ProjectError(
            f"the splits name {len(unknown)} images that are not in {project.clean_folder}, such as "
            f"{min(unknown)}; paths must be relative to that folder, or run: linnaeus split {project.root}"
        )
    return TrainingImages(splits, project.clean_folder, cleaned["sha256"], project.features, project.pixels)
