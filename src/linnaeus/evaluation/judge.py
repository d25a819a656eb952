"""The one evaluation: a classifier's predictions for one part, and every figure that follows from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from linnaeus.data.dataset import ImageDataset
from linnaeus.evaluation.calibration import reliability
from linnaeus.evaluation.inference import Outputs, Probabilities, network_outputs
from linnaeus.evaluation.measures import curves, measures
from linnaeus.evaluation.metrics import Labels, class_report, confusion_counts, scores
from linnaeus.networks.classifier import Classifier
from linnaeus.progress import Progress, silent
from linnaeus.records import Scores

BATCH = 32


@dataclass(frozen=True)
class Judgement:
    """What a classifier says of a part's images, whose labels are known.

    `predictions`: relpath, category, label, predicted (label), predicted_category, probability (of that class) and
    `p_<class>` for each class, a row an image.
    """

    predictions: pd.DataFrame
    classes: Sequence[str]

    def __len__(self) -> int:
        return len(self.predictions)

    @property
    def probabilities(self) -> Probabilities:
        """(images, classes)."""
        return self.predictions[[f"p_{name}" for name in self.classes]].to_numpy(np.float64)

    @property
    def is_right(self) -> NDArray[np.bool_]:
        """Whether each image got the class of its label."""
        return self.predictions["label"].eq(self.predictions["predicted"]).to_numpy()

    def scores(self) -> Scores:
        """Accuracy and weighted precision, recall and F1."""
        return scores(*self._labels())

    def class_report(self) -> pd.DataFrame:
        """Precision, recall, f1-score and support by class."""
        return class_report(*self._labels(), self.classes)

    def confusion(self) -> pd.DataFrame:
        """Images by true and predicted class."""
        return confusion_counts(*self._labels(), self.classes)

    def measures(self, groups: NDArray[np.int64]) -> pd.DataFrame:
        """Every figure with its interval, see `measures`. groups: of images that tell one thing."""
        return measures(self._labels()[0], self.probabilities, self.classes, groups)

    def curves(self) -> pd.DataFrame:
        """ROC and precision-recall curves, each class against the rest, see `curves`."""
        return curves(self._labels()[0], self.probabilities, self.classes)

    def reliability(self, uncalibrated: Probabilities) -> pd.DataFrame:
        """How often the predicted class is right at which probability (see `reliability`), before and after
        calibration: is_calibrated says which."""
        labels, _ = self._labels()
        both = {False: reliability(labels, uncalibrated), True: reliability(labels, self.probabilities)}
        return pd.concat([table.assign(is_calibrated=after) for after, table in both.items()], ignore_index=True)

    def _labels(self) -> tuple[Labels, Labels]:
        return self.predictions["label"].to_numpy(), self.predictions["predicted"].to_numpy()


def image_outputs(classifier: Classifier, table: pd.DataFrame, images: Path, progress: Progress = silent) -> Outputs:
    """What the classifier says of a table's images, from their files."""
    dataset = ImageDataset(table, images, shuffle=False, preprocess=classifier.facts.preprocessing)
    with progress("Evaluating", len(dataset)) as advance:
        batches = (inputs for inputs, _ in dataset.loader(BATCH))
        return network_outputs(classifier, batches, advance, images=len(dataset))


def judgement(table: pd.DataFrame, probabilities: Probabilities, classes: Sequence[str]) -> Judgement:
    """What probabilities (images, classes) say of the images of a table, in its order."""
    predicted = probabilities.argmax(axis=1)
    predictions = table[["relpath", "category", "label"]].assign(
        predicted=predicted,
        predicted_category=np.array(classes)[predicted],
        probability=probabilities.max(axis=1),
    )
    by_class = pd.DataFrame(probabilities, columns=[f"p_{name}" for name in classes], index=predictions.index)
    return Judgement(pd.concat([predictions, by_class], axis=1), classes)
