"""What trained models are for: predicting, and saying why; and what there is to train."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import overload

import pandas as pd

from linnaeus.deploy.predictor import Predictor, find_files
from linnaeus.errors import PredictionError
from linnaeus.evaluation.answering import load_answering
from linnaeus.evaluation.saliency import Method
from linnaeus.networks.classifier import load_classifier
from linnaeus.networks.pretrained import pretrained_table
from linnaeus.networks.summary import ModelSummary, recipe_table, summarise
from linnaeus.progress import Progress, silent
from linnaeus.project import open_project
from linnaeus.recipe import Recipe, load_recipe
from linnaeus.runs import Run
from linnaeus.stages import AnyProject
from linnaeus.steps.explaining import explained_files

logger = logging.getLogger(__name__)


def predict(
    model: AnyProject | Run,
    images: str | Path | Sequence[str | Path],
    *,
    top: int = 3,
    kept: float | None = None,
    progress: Progress = silent,
) -> pd.DataFrame:
    """A row a file with its most probable classes, or with the reason why it cannot be read.

    model: a run, a run folder, or a project, whose best model by validation is taken. images: files, folders, globs.
    kept: an image may also be "none of these", so that of images of the known classes this share keeps its class.
    Probabilities are calibrated once the run was evaluated.
    """
    if kept is not None and not 0 <= kept <= 1:
        raise PredictionError(f"kept is a share between 0 and 1, not {kept}")
    inputs = [images] if isinstance(images, str | Path) else list(images)
    folder = _model_folder(model)
    predictor = Predictor(load_classifier(folder), load_answering(folder))
    if predictor.answering.knowledge is None:
        logger.warning("%s was never evaluated, so its probabilities are not calibrated", folder)
    return predictor.predict(find_files(inputs), top, kept=kept, progress=progress)


def explain_files(
    model: AnyProject | Run,
    images: str | Path | Sequence[str | Path],
    folder: str | Path,
    *,
    method: Method | None = None,
    progress: Progress = silent,
) -> pd.DataFrame:
    """A row a file with its most probable class, and `picture`: a JPEG in `folder` with the image as the model sees it,
    beside it under what speaks for that class. Files that cannot be read have their reason, and no picture.

    method: "grad-cam" or "integrated-gradients"; None for the first, where the network allows it.
    """
    table = predict(model, images, top=1, progress=progress)
    classifier = load_classifier(_model_folder(model))
    pictures = explained_files(classifier, table, Path(folder), method, progress)
    return table.assign(picture=pictures)


@overload
def models(*, pretrained: str | None = None) -> pd.DataFrame:
    """The recipes, or the pretrained backbones that match a pattern, as a table."""


@overload
def models(recipe: Recipe | str | Path, *, classes: int = 10, size: int = 224) -> ModelSummary:
    """One recipe's layers, output shapes and parameters."""


def models(
    recipe: Recipe | str | Path | None = None, *, pretrained: str | None = None, classes: int = 10, size: int = 224
) -> pd.DataFrame | ModelSummary:
    """The recipes that come with Linnaeus, as a table; or one recipe's layers, output shapes and parameters; or the
    pretrained backbones whose names match a pattern such as "efficientnet*"."""
    if pretrained is not None:
        return pretrained_table(pretrained)
    if recipe is None:
        return recipe_table()
    return summarise(recipe if isinstance(recipe, Recipe) else load_recipe(recipe), classes, size)


def _model_folder(model: AnyProject | Run) -> Path:
    """The run folder that is meant: a run's own, or that of a project's best run."""
    if isinstance(model, Run):
        return model.folder
    project = open_project(model)
    if not project.leaderboard.is_file():
        if (project.root / "stages").is_dir():
            raise PredictionError(f"{project.root} has no compared models; run: linnaeus compare {project.root}")
        return project.root
    return project.runs / str(pd.read_parquet(project.leaderboard)["model_id"].iloc[0])
