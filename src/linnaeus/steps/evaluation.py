"""Evaluating one run on one part: from its classifier to predictions, figures with intervals, tables and pictures."""

from dataclasses import asdict
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd

from linnaeus.data.catalogue import read_catalogue
from linnaeus.data.dataset import ImageDataset, TensorTable
from linnaeus.errors import ProjectError
from linnaeus.evaluation.answering import fit_answering, load_answering, save_answering
from linnaeus.evaluation.calibration import softmax
from linnaeus.evaluation.inference import Outputs, Probabilities, network_outputs
from linnaeus.evaluation.judge import BATCH, Judgement, image_outputs, judgement
from linnaeus.evaluation.running_cost import latencies, macs
from linnaeus.evaluation.slices import left_out, slices
from linnaeus.evaluation.unknowns import MOST_REFERENCES, spread_over_classes
from linnaeus.files import read_text_table, write_json, write_table, write_with
from linnaeus.networks.classifier import Classifier, load_classifier
from linnaeus.progress import Progress
from linnaeus.project import Project, now
from linnaeus.recipe import Recipe
from linnaeus.recipe_sections import FITTED_HEADS
from linnaeus.records import Part
from linnaeus.reporting.figures import confusion_figure, save_figure
from linnaeus.reporting.judged_figures import curves_figure, reliability_figure, slices_figure
from linnaeus.runs import Run, log_result
from linnaeus.steps.image_facts import described, independent_groups
from linnaeus.steps.splitting import load_splits
from linnaeus.training.features import cached_activations, trunks_of
from linnaeus.training.train import divide, is_cached

# The parts that a run is judged on, each with the stage in which it is.
JUDGED_PARTS: dict[Part, str] = {"val": "evaluate", "test": "final"}
PICTURES = ("confusion.png", "reliability.png", "curves.png", "slices.png")
TIMED_IMAGES = 2 * BATCH
TIMED_SECONDS = 0.5  # for each of a backend's two figures


def evaluate_afresh(
    project: Project, evaluated: Run, part: Part, progress: Progress, *, has_pictures: bool = True
) -> None:
    """Judge a run on a part, and write down its predictions, figures and tables, and pictures of them.

    On validation its probabilities are calibrated, and what it costs to use it is measured.
    """
    classifier = load_classifier(evaluated.folder)
    table = load_splits(project).part(part)
    outputs = outputs_of(project, evaluated.recipe, classifier, table, progress)
    if part == "val":
        known = reference_images(project)
        seen = outputs_of(project, evaluated.recipe, classifier, known, progress)
        training = (seen.features, known["label"].to_numpy())
        save_answering(fit_answering(outputs, table["label"].to_numpy(), training), evaluated.folder)
    probabilities = load_answering(evaluated.folder).probabilities(outputs)
    judged = judgement(table, probabilities, classifier.facts.classes)
    _save_tables(evaluated, part, judged, _tables(project, judged, table, softmax(outputs.logits)))
    if has_pictures:
        draw_pictures(evaluated, part)
    metrics: dict[str, Any] = asdict(judged.scores())  # the deck's log has these of the test part
    if part == "val":
        metrics = _about_training(evaluated) | {"acc_val": metrics["accuracy"]}
        metrics |= _about_use(project, evaluated, classifier, table)
    write_json(evaluated.of(part, "metrics.json"), metrics)
    log_result(project.results, evaluated.metrics)


def reference_images(project: Project) -> pd.DataFrame:
    """Training images that others are held against, as rows of the splits: all, or some thousands, the same number of
    each class as far as it has them."""
    train = load_splits(project).train
    return train.iloc[spread_over_classes(train["label"].to_numpy(), MOST_REFERENCES)].reset_index(drop=True)


def outputs_of(
    project: Project, recipe: Recipe, classifier: Classifier, table: pd.DataFrame, progress: Progress
) -> Outputs:
    """What a classifier, trained by a recipe, says of a table's images.

    What its frozen part makes of an image is computed once, whoever asks.
    """
    trunk, network = divide(classifier)
    if trunk is None or not is_cached(trunk, classifier, recipe, len(table)):
        return image_outputs(classifier, table, project.clean_folder, progress)
    hashes = read_catalogue(project.clean_catalogue).set_index("relpath")["sha256"][table["relpath"]]
    preprocess = classifier.facts.preprocessing
    images = ImageDataset(table, project.clean_folder, shuffle=False, preprocess=preprocess)
    activations = cached_activations(trunks_of(trunk), images, [*hashes], project.features, progress=progress)
    kept = TensorTable([activations], np.arange(len(table)), table["label"].to_numpy(), shuffle=False)
    with progress("Evaluating", len(table)) as advance:
        return network_outputs(network, (inputs for inputs, _ in kept.loader(BATCH)), advance)


def _tables(
    project: Project, judged: Judgement, table: pd.DataFrame, uncalibrated: Probabilities
) -> dict[str, pd.DataFrame]:
    """What there is to say of a part, by the name of its file. table: its rows of the splits."""
    known = described(project, table)
    return {
        "measures.csv": judged.measures(independent_groups(project, table)),
        "curves.csv": judged.curves(),
        "reliability.csv": judged.reliability(uncalibrated),
        "slices.csv": slices(judged.is_right, known),
        "unsliced.csv": left_out(known),
        "report.csv": judged.class_report().reset_index(),
        "confusion.csv": judged.confusion().reset_index(),
    }


def _save_tables(run: Run, part: Part, judged: Judgement, tables: dict[str, pd.DataFrame]) -> None:
    for name in PICTURES:
        run.of(part, name).unlink(missing_ok=True)
    write_table(judged.predictions, run.of(part, "predictions.parquet"))
    for name, table in tables.items():
        write_with(run.of(part, name), partial(table.to_csv, index=False))


def draw_pictures(run: Run, part: Part) -> None:
    """Draw a part's tables, as far as that was not done yet."""
    if all(run.of(part, name).is_file() for name in PICTURES):
        return
    save_figure(confusion_figure(run.confusion(part)), run.of(part, "confusion.png"))
    save_figure(reliability_figure(pd.read_csv(run.of(part, "reliability.csv"))), run.of(part, "reliability.png"))
    predictions = run.predictions(part)
    accuracy = float(predictions["label"].eq(predictions["predicted"]).mean())
    save_figure(slices_figure(run.slices(part), accuracy), run.of(part, "slices.png"))
    save_figure(curves_figure(read_text_table(run.of(part, "curves.csv"), "class")), run.of(part, "curves.png"))


def _about_training(run: Run) -> dict[str, Any]:
    """What the log says of a run before it is tried."""
    recipe, facts = run.recipe, run.training
    has_epochs = getattr(recipe.model, "head", "") not in FITTED_HEADS
    return {
        "time": now(),
        "model_id": run.model_id,
        "learning_rate": recipe.training.learning_rate if has_epochs else None,
        "epochs": facts.epochs if has_epochs else None,
        "batchsize": recipe.training.batch_size if has_epochs else None,
        "acc_train": facts.acc_train,
        "parameters": facts.parameters,
        "size_mb": round(facts.size_mb, 3),
        "train_seconds": round(facts.train_seconds, 1),
        "train_joules": facts.train_joules,
    }


def _about_use(project: Project, run: Run, classifier: Classifier, table: pd.DataFrame) -> dict[str, Any]:
    """What it costs to use a run on this machine; the fastest way to run it for single images gives the latency."""
    size = classifier.facts.preprocessing.size
    some = ImageDataset(
        table[:BATCH].reset_index(drop=True),
        project.clean_folder,
        shuffle=False,
        preprocess=classifier.facts.preprocessing,
    )
    ((images, _),) = some.loader(BATCH)
    ways = latencies(classifier, size, images=images, seconds=TIMED_SECONDS)
    write_with(run.folder / "latency.csv", partial(ways.to_csv, index=False))
    fastest = ways.sort_values("p50_ms").iloc[0]
    return {
        "macs": macs(classifier, size),
        "predict_ms_per_image": round(_milliseconds_an_image(project, classifier, table), 2),
        "backend": fastest["backend"],
        "latency_p50_ms": round(fastest["p50_ms"], 3),
        "latency_p99_ms": round(fastest["p99_ms"], 3),
        "images_per_second": round(ways["images_per_second"].max(), 1),
    }


def _milliseconds_an_image(project: Project, classifier: Classifier, table: pd.DataFrame) -> float:
    """From the files of some images to probabilities by the whole classifier: the faster of two passes."""
    some = table[:TIMED_IMAGES].reset_index(drop=True)
    seconds = []
    for _ in range(2):
        started = perf_counter()
        image_outputs(classifier, some, project.clean_folder)
        seconds.append(perf_counter() - started)
    return 1000 * min(seconds) / len(some)


def is_evaluated_on_current(project: Project, model_id: str, part: Part = "val") -> bool:
    """Whether a run was trained and judged on the images and splits that the project has now."""
    current = project.current_inputs()
    try:
        trained, judged = project.stamp(f"train-{model_id}"), project.stamp(f"{JUDGED_PARTS[part]}-{model_id}")
    except ProjectError:
        return False
    is_judged = Run(project.runs / model_id).is_judged(part) and project.is_trained_on_current(model_id)
    return is_judged and bool(judged["inputs"] == {"trained": trained["key"], **current})
