"""Judging a recipe by folds, where the validation part is too small to choose by."""

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from linnaeus.data.folds import draw_fold
from linnaeus.data.split import Splits
from linnaeus.errors import SplitError
from linnaeus.evaluation.calibration import softmax
from linnaeus.evaluation.judge import judgement
from linnaeus.files import write_json, write_table
from linnaeus.networks.classifier import Classifier
from linnaeus.progress import Progress
from linnaeus.project import Project
from linnaeus.recipe import Recipe
from linnaeus.runs import Run
from linnaeus.settings import SplitRecipe
from linnaeus.steps.evaluation import outputs_of
from linnaeus.steps.image_facts import independent_groups
from linnaeus.steps.splitting import load_splits
from linnaeus.steps.training import training_images, untrained_classifier
from linnaeus.training.fit import Watch
from linnaeus.training.train import TrainingImages, train_classifier

FEWEST_TO_CHOOSE_BY = 100  # validation images; of fewer, one more or less right moves the accuracy by a point and more
USUAL_FOLDS = 5
FEWEST_FOLDS = 3


def folds_needed(project: Project) -> int | None:
    """How many folds choosing takes: None where validation is large enough, or the images cannot be divided so."""
    if len(load_splits(project).val) >= FEWEST_TO_CHOOSE_BY:
        return None
    for folds in range(USUAL_FOLDS, FEWEST_FOLDS - 1, -1):
        try:
            _drawn(project, folds)
        except SplitError:
            continue
        return folds
    return None


def judge_by_folds(project: Project, run: Run, folds: int, progress: Progress) -> None:
    """Train by the run's recipe on all but one of the folds of training and validation together, in turn, and write
    down what each image got from the classifier that was trained without it.

    The test part is not read. As with the validation part, the fold that is left out chooses the epoch. Runs that the
    recipe starts from are trained anew on the same folds. Raises SplitError where a class cannot be divided so.
    """
    images, (table, fold_of) = training_images(project), _drawn(project, folds)
    judged = []
    for number in range(folds):
        is_out = fold_of == number
        splits = Splits(table.assign(split=np.where(is_out, "val", "train")))
        classifier = _trained(project, run.recipe, replace(images, splits=splits), progress)
        left_out = table[is_out].reset_index(drop=True)
        outputs = outputs_of(project, run.recipe, classifier, left_out, progress)
        predictions = judgement(left_out, softmax(outputs.logits), classifier.facts.classes).predictions
        judged.append(predictions.assign(fold=number))
    predictions = pd.concat(judged, ignore_index=True)
    write_table(predictions, run.folder / "predictions-folds.parquet")
    accuracy = float(predictions["label"].eq(predictions["predicted"]).mean())
    write_json(run.folds_file, {"acc_folds": accuracy, "folds": folds, "images": len(predictions)})


def _drawn(project: Project, folds: int) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """Training and validation together, as rows of the splits, and the fold of each image. Raises SplitError."""
    every = load_splits(project).table
    table = every[every["split"].ne("test")].reset_index(drop=True)
    groups = np.unique(independent_groups(project, table), return_inverse=True)[1]
    drawn = draw_fold(table, groups, SplitRecipe(method="kfold", folds=folds))
    return table, drawn["fold"].to_numpy(np.int64)


def _trained(project: Project, recipe: Recipe, images: TrainingImages, progress: Progress) -> Classifier:
    earlier = None
    if recipe.starts_from is not None:
        earlier = _trained(project, Run(project.runs / recipe.starts_from).recipe, images, progress)
    classifier = untrained_classifier(project, recipe, images, earlier)
    train_classifier(classifier, recipe, images, Watch(progress=progress))
    return classifier
