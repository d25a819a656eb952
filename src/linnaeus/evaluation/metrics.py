"""Figures from labels and predictions; arrays in, values out."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import classification_report, confusion_matrix, precision_recall_fscore_support

from linnaeus.records import Scores

Labels = NDArray[np.int64]
CONFUSION_INDEX = "true / predicted"  # no class is called so, since it could not be a folder's name


def scores(labels: Labels, predicted: Labels) -> Scores:
    """Accuracy, and precision, recall and F1 weighted by class size, as scikit-learn defines them.

    A class that is never predicted has precision 0.
    """
    precision, recall, f1_score, _ = precision_recall_fscore_support(
        labels, predicted, average="weighted", zero_division=0
    )
    return Scores(float(np.mean(labels == predicted)), float(precision), float(recall), float(f1_score))


def class_report(labels: Labels, predicted: Labels, classes: Sequence[str]) -> pd.DataFrame:
    """Per class (rows): precision, recall, f1-score, support; then macro and weighted averages."""
    report = classification_report(
        labels,
        predicted,
        labels=range(len(classes)),
        target_names=list(classes),
        output_dict=True,
        zero_division=0,
    )
    rows = {name: row for name, row in report.items() if isinstance(row, dict) and name != "micro avg"}
    table = pd.DataFrame(rows).T.rename_axis("class")
    return table.astype({"support": int})


def confusion_counts(labels: Labels, predicted: Labels, classes: Sequence[str]) -> pd.DataFrame:
    """Images by true class (rows) and predicted class (columns)."""
    counts = confusion_matrix(labels, predicted, labels=range(len(classes)))
    return pd.DataFrame(counts, index=pd.Index(classes, name=CONFUSION_INDEX), columns=list(classes))
