"""The one evaluation: a classifier's predictions for one part, and every figure that follows from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from linnaeus.data.dataset import ImageDataset
from linnaeus.evaluation.inference import Probabilities, predict_probabilities
from linnaeus.evaluation.metrics import Labels, class_report, confusion_counts, scores
from linnaeus.networks.classifier import Classifier
from linnaeus.progress import Progress, silent
from linnaeus.records import Scores

BATCH = 32


@dataclass(frozen=True)
class Judgement:
    """`predictions`: relpath, category, label, predicted (label), predicted_category, probability (of that class) and
    `p_<class>` for each class, a row an image."""

    predictions: pd.DataFrame
    classes: Sequence[str]

    def __len__(self) -> int:
        return len(self.predictions)

    def scores(self) -> Scores:
        """Accuracy and weighted precision, recall and F1."""
        return scores(*self._labels())

    def class_report(self) -> pd.DataFrame:
        """Precision, recall, f1-score and support by class."""
        return class_report(*self._labels(), self.classes)

    def confusion(self) -> pd.DataFrame:
        """Images by true and predicted class."""
        return confusion_counts(*self._labels(), self.classes)

    def _labels(self) -> tuple[Labels, Labels]:
        return self.predictions["label"].to_numpy(), self.predictions["predicted"].to_numpy()


def image_probabilities(
    classifier: Classifier, table: pd.DataFrame, images: Path, progress: Progress = silent
) -> Probabilities:
    """The classifier's probabilities (images, classes), from the files of a table's images."""
    dataset = ImageDataset(table, images, shuffle=False, preprocess=classifier.facts.preprocessing)
    with progress("Evaluating", len(dataset)) as advance:
        batches = (inputs for inputs, _ in dataset.loader(BATCH))
        return predict_probabilities(classifier, batches, advance, images=len(dataset))


def judgement(table: pd.DataFrame, probabilities: Probabilities, classes: Sequence[str]) -> Judgement:
    """What probabilities (images, classes) say of the images of a table, in its order."""
    predicted = probabilities.argmax(axis=1)
    predictions = table[["relpath", "category", "label"]].assign(
        predicted=predicted,
        predicted_category=np.array(classes)[predicted],
        probability=probabilities.max(axis=1),
    )
    by_class = pd.DataFrame(probabilities, columns=[f"p_{name}" for name in classes])
    return Judgement(pd.concat([predictions, by_class], axis=1), classes)
