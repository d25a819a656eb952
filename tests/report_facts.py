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
from linnaeus.evaluation.metrics import class_report, confusion_counts, scores
from linnaeus.records import StageCost
from linnaeus.reporting.facts import Division, ModelFacts, ReportFacts
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
    row = {"acc_val": 0.95, "acc_train": 0.96, "parameters": 1000, "size_mb": 4.5, "train_seconds": 75.0}
    row |= {"predict_ms_per_image": 2.5, **vars(scores(labels, predicted))}
    table = leaderboard(pd.DataFrame([row | {"model_id": f"model-{place}"} for place in range(models)]), len(labels))
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
        leaderboard=table,
        models=tuple(model(row, labels, predicted, names) for row in table.to_dict("records")),
        searches=(),
        predictions=splits.test.assign(
            predicted=[names[place] for place in predicted], probability=np.linspace(0.5, 0.8, len(labels))
        ),
        read_thumbnail=thumbnail,
        costs=(StageCost("catalogue", 75, 200), StageCost("split", 1, 210)),
        usage={"Command line": "linnaeus predict pets photo.jpg"},
        commands=("linnaeus run /photos/pets",),
        settings={"torch": "2.0"},
    )


def model(row: dict[Any, Any], labels: Any, predicted: Any, names: tuple[str, ...]) -> ModelFacts:
    """A model that was never trained."""
    history = pd.DataFrame(columns=["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "model_id"])
    report, confusion = class_report(labels, predicted, names), confusion_counts(labels, predicted, names)
    return ModelFacts(row["model_id"], "A small model.", row, history, report, confusion, b"png", b"png")


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
