"""Training one model: from the splits to a run folder."""

from pathlib import Path
from time import perf_counter

from linnaeus.data.catalogue import read_catalogue
from linnaeus.errors import ProjectError
from linnaeus.files import file_hash, whole_folder
from linnaeus.networks.classifier import (
    build_classifier,
    continue_from,
    load_classifier,
    save_classifier,
    saved_megabytes,
)
from linnaeus.progress import Progress
from linnaeus.project import Project
from linnaeus.recipe import Recipe
from linnaeus.reporting.figures import history_figure, save_figure
from linnaeus.runs import Run
from linnaeus.settings import CleanRecipe
from linnaeus.steps.splitting import load_splits
from linnaeus.training.record import continued_history, training_facts
from linnaeus.training.train import TrainingImages, train_classifier


def weights_hash(weights: str) -> str | None:
    """The hash of the weights file that a recipe names, by which a changed one is noticed; None for none."""
    return file_hash(Path(weights)) if Path(weights).is_file() else None


def train_afresh(project: Project, recipe: Recipe, earlier: Run | None, progress: Progress) -> None:
    """Train a model by its recipe, from where an earlier run ended if there is one, and write its run folder."""
    images = training_images(project)
    clean_recipe = CleanRecipe(**project.stamp("clean")["inputs"]["recipe"])
    seed = recipe.training.seed
    started = perf_counter()
    classifier = build_classifier(
        recipe.model, images.splits.classes, clean_recipe, pretrained=earlier is None, seed=seed
    )
    if earlier is not None:
        continue_from(classifier, load_classifier(earlier.folder), earlier.model_id)
    fitted = train_classifier(classifier, recipe, images, progress)
    seconds = perf_counter() - started
    with whole_folder(project.runs / recipe.name) as folder:
        save_classifier(classifier, folder)
        history = continued_history(fitted.history.assign(model_id=recipe.name), earlier)
        facts = training_facts(classifier, fitted, seconds, saved_megabytes(folder))
        made = Run(folder)
        made.save_training(recipe, history, facts)
        save_figure(history_figure(history), made.history_picture)


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
    return TrainingImages(splits, project.clean_folder, cleaned["sha256"], project.features)
