"""Evaluating one run: from its classifier to predictions, tables, pictures and a row of the log."""

from dataclasses import asdict
from time import perf_counter

import numpy as np
import pandas as pd

from linnaeus.data.catalogue import read_catalogue
from linnaeus.data.dataset import ImageDataset, TensorTable
from linnaeus.evaluation.inference import Probabilities, predict_probabilities
from linnaeus.evaluation.judge import BATCH, image_probabilities, judgement
from linnaeus.networks.classifier import Classifier, load_classifier
from linnaeus.progress import Progress
from linnaeus.project import Project, now
from linnaeus.recipe import Recipe
from linnaeus.reporting.figures import confusion_figure, save_figure
from linnaeus.runs import Run, log_result
from linnaeus.steps.splitting import load_splits
from linnaeus.training.features import cached_activations, trunks_of
from linnaeus.training.train import divide, is_cached

TIMED_IMAGES = 2 * BATCH


def evaluate_afresh(project: Project, evaluated: Run, progress: Progress) -> None:
    """Judge a run on validation and test, and write down its predictions, tables, pictures and scores."""
    splits = load_splits(project)
    classifier = load_classifier(evaluated.folder)
    both = pd.concat([splits.val, splits.test], ignore_index=True)
    probabilities = _probabilities(project, evaluated.recipe, classifier, both, progress)
    val = judgement(splits.val, probabilities[: len(splits.val)], classifier.facts.classes)
    test = judgement(splits.test, probabilities[len(splits.val) :], classifier.facts.classes)
    evaluated.save_predictions("val", val.predictions)
    evaluated.save_predictions("test", test.predictions)
    report_table, confusion = test.class_report(), test.confusion()
    recipe, facts = evaluated.recipe, evaluated.training
    metrics = {
        "time": now(),
        "model_id": evaluated.model_id,
        "learning_rate": recipe.training.learning_rate,
        "epochs": facts.epochs,
        "batchsize": recipe.training.batch_size,
        "acc_train": facts.acc_train,
        "acc_val": val.scores().accuracy,
        **asdict(test.scores()),
        "parameters": facts.parameters,
        "size_mb": round(facts.size_mb, 3),
        "train_seconds": round(facts.train_seconds, 1),
        "predict_ms_per_image": round(_milliseconds_an_image(project, classifier, splits.test), 2),
    }
    evaluated.save_evaluation(report_table, confusion, metrics)
    save_figure(confusion_figure(confusion), evaluated.confusion_picture)
    log_result(project.results, metrics)


def _probabilities(
    project: Project, recipe: Recipe, classifier: Classifier, table: pd.DataFrame, progress: Progress
) -> Probabilities:
    """The classifier's, (images, classes). What its frozen part makes of an image is computed once, whoever asks."""
    trunk, network = divide(classifier)
    if trunk is None or not is_cached(trunk, classifier, recipe, len(table)):
        return image_probabilities(classifier, table, project.clean_folder, progress)
    hashes = read_catalogue(project.clean_catalogue).set_index("relpath")["sha256"][table["relpath"]]
    preprocess = classifier.facts.preprocessing
    images = ImageDataset(table, project.clean_folder, shuffle=False, preprocess=preprocess)
    activations = cached_activations(trunks_of(trunk), images, [*hashes], project.features, progress=progress)
    kept = TensorTable([activations], np.arange(len(table)), table["label"].to_numpy(), shuffle=False)
    with progress("Evaluating", len(table)) as advance:
        return predict_probabilities(network, (inputs for inputs, _ in kept.loader(BATCH)), advance)


def _milliseconds_an_image(project: Project, classifier: Classifier, table: pd.DataFrame) -> float:
    """From the files of some images to probabilities by the whole classifier: the faster of two passes."""
    some = table[:TIMED_IMAGES].reset_index(drop=True)
    seconds = []
    for _ in range(2):
        started = perf_counter()
        image_probabilities(classifier, some, project.clean_folder)
        seconds.append(perf_counter() - started)
    return 1000 * min(seconds) / len(some)


def is_evaluated_on_current(project: Project, model_id: str) -> bool:
    """Whether a run was trained and evaluated on the images and splits that the project has now."""
    current = project.current_inputs()
    if not project.is_trained_on_current(model_id) or not Run(project.runs / model_id).metrics_file.is_file():
        return False
    trained, evaluated = project.stamp(f"train-{model_id}"), project.stamp(f"evaluate-{model_id}")
    return bool(evaluated["inputs"] == {"trained": trained["key"], **current})
