"""A small project's facts, as the report gets them, with whatever oddities a test asks for."""

import io
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from linnaeus.data.catalogue import PAIR_COLUMNS, Catalogue, exclusion_table
from linnaeus.data.issues import FINDING_COLUMNS, Issues
from linnaeus.data.leaks import find_leaks
from linnaeus.data.split import Splits
from linnaeus.decisions import COLUMNS, Decisions
from linnaeus.evaluation.comparison import leaderboard
from linnaeus.evaluation.judge import judgement
from linnaeus.evaluation.measures import measures
from linnaeus.evaluation.metrics import class_report, confusion_counts, scores
from linnaeus.evaluation.paired import compare_pairs
from linnaeus.evaluation.slices import slices
from linnaeus.evaluation.telling import telling_images
from linnaeus.looks import Looks
from linnaeus.records import StageCost
from linnaeus.reporting.facts import ComparisonFacts, Division, ModelFacts, ReportFacts, TrustFacts
from linnaeus.settings import CleanRecipe, SplitRecipe

PARTS = ["train"] * 6 + ["val"] * 2 + ["test"] * 2


def thumbnail(folder: str, relpath: str) -> bytes:
    """A green square."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "green").save(buffer, "JPEG")
    return buffer.getvalue()


def facts(
    names: tuple[str, ...] = ("cat", "dog"),
    *,
    each: int = 10,
    wrong: int = 0,
    models: int = 1,
    pairs: list[tuple[str, str, str]] | None = None,
) -> ReportFacts:
    """A project with `each` images a class, 6 of 10 for training and 2 of 10 for the test, `wrong` of them failed.

    pairs: copies: first, second, kind. All images were checked, and nothing was found.
    """
    rows = [(f"{name}/{place}.jpg", name, label) for label, name in enumerate(names) for place in range(each)]
    images = pd.DataFrame(rows, columns=["relpath", "category", "label"])
    images = images.assign(format="jpg", channels=3, width=300, height=225)
    splits = Splits(images[["relpath", "category", "label"]].assign(split=PARTS * (len(images) // 10)))
    labels = splits.test["label"].to_numpy()
    predicted = labels.copy()
    predicted[:wrong] = (labels[:wrong] + 1) % len(names)
    row: dict[str, Any] = {
        "acc_val": 0.95,
        "acc_train": 0.96,
        "parameters": 1000,
        "size_mb": 4.5,
        "train_seconds": 75.0,
    }
    row |= {"predict_ms_per_image": 2.5, "latency_p50_ms": 1.5, "macs": 2e6, "train_joules": None}
    row |= vars(scores(labels, predicted)) | {"seed": 0}
    named = [row | {"model_id": f"model-{place}", "family": str(place)} for place in range(models)]
    table = leaderboard(pd.DataFrame(named), val_images=len(splits.val), test_images=len(labels))
    said = pd.DataFrame({name: (labels == predicted).astype(float) for name in table["model_id"]})
    seeds = {name: [name] for name in table["model_id"]}
    copies = pair_table(pairs or [])
    return ReportFacts(
        title="Pets",
        image_folder="/photos/pets",
        created="2026-01-02",
        version="0.1",
        catalogue=Catalogue(images, exclusion_table([]), copies),
        issues=issues(images),
        decisions=decisions(),
        clean=CleanRecipe(size=224, quality=90),
        clean_excluded=exclusion_table([]),
        splits=splits,
        division=Division(SplitRecipe(), None, False, find_leaks(splits.table, copies)),
        in_use=splits.table.set_index("relpath")[["category", "split"]],
        comparison=ComparisonFacts(table, compare_pairs(said), "test", looks(*table["model_id"]), seeds),
        trust=trust(splits, labels, predicted),
        models=tuple(model(row, labels, predicted, names) for row in table.to_dict("records")),
        searches=(),
        predictions=splits.test.assign(
            predicted=[names[place] for place in predicted], probability=np.linspace(0.5, 0.8, len(labels))
        ),
        read_thumbnail=thumbnail,
        costs=(StageCost("catalogue", 75, 200), StageCost("split", 1, 210)),
        base_model=None,
        usage={"Command line": "linnaeus predict pets photo.jpg"},
        commands=("linnaeus run /photos/pets",),
        settings={"torch": "2.0", "processor": "a small one, 2 cores"},
    )


def model(row: dict[Any, Any], labels: Any, predicted: Any, names: tuple[str, ...]) -> ModelFacts:
    """A model that was never trained."""
    history = pd.DataFrame(columns=["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "model_id"])
    report, confusion = class_report(labels, predicted, names), confusion_counts(labels, predicted, names)
    return ModelFacts(row["model_id"], "A small model.", row, "test", history, report, confusion, b"png", b"png")


def looks(*model_ids: str) -> Looks:
    """One look at the test part with these runs."""
    rows = [("2026-01-02T03:04:05+00:00", 1, name, name) for name in model_ids]
    return Looks(pd.DataFrame(rows, columns=["time", "look", "model_id", "key"]))


def trust(splits: Splits, labels: Any, predicted: Any) -> TrustFacts:
    """What follows from predictions that are all as probable."""
    classes = splits.classes
    probabilities = np.where(np.arange(len(classes)) == predicted[:, None], 0.98, 0.02 / max(len(classes) - 1, 1))
    table = judgement(splits.test, probabilities, classes)
    examples = telling_images(table.predictions).assign(picture="000.jpg", method="grad-cam")
    near = splits.train["relpath"].iloc[0]
    examples = examples.assign(nearest_1=near, nearest_1_category=splits.train["category"].iloc[0])
    places = table.predictions[["relpath", "category", "predicted_category", "probability"]]
    return TrustFacts(
        measures=measures(labels, probabilities, classes),
        reliability=table.reliability(probabilities),
        slices=slices(table.is_right, splits.test[["category"]], fewest=2),
        unsliced=pd.DataFrame([("channels", "constant")], columns=["column", "reason"]),
        latency=pd.DataFrame(
            [("torch, cpu", 1.5, 2.5, 700.0, 30, ""), ("ONNX Runtime", np.nan, np.nan, np.nan, 0, "not installed")],
            columns=["backend", "p50_ms", "p99_ms", "images_per_second", "passes", "reason"],
        ),
        curves_png=b"png",
        temperature=1.2,
        examples=examples,
        places=places.assign(x=np.linspace(0, 1, len(places)), y=0.5, method="pca", explained=0.5),
        read_picture=lambda name: thumbnail("reasons", name),
    )


def pair_table(pairs: list[tuple[str, str, str]]) -> pd.DataFrame:
    """Pairs of copies with a similarity of 0.995, or 1 for exact ones."""
    table = pd.DataFrame(pairs, columns=["first", "second", "kind"], dtype="str")
    similarity = table["kind"].str.startswith("same").map({True: 1.0, False: 0.995}).astype(float)
    return table.assign(distance=0, similarity=similarity)[PAIR_COLUMNS]


def issues(images: pd.DataFrame, *findings: dict[str, Any]) -> Issues:
    """What was found in checked images; what a finding lacks is empty."""
    blank = {"category": "cat", "score": 0.1, "detail": "", "other": "", "suggested": "", "suggested_label": ""}
    found = pd.DataFrame([blank | finding for finding in findings], columns=FINDING_COLUMNS)
    return Issues(found, images[["relpath", "category"]].assign(is_label_issue=False))


def decisions(*rows: tuple[str, str, str]) -> Decisions:
    """Decisions: relpath, decision, relabel_to."""
    return Decisions(pd.DataFrame([(*row, "") for row in rows], columns=COLUMNS, dtype="str"))
