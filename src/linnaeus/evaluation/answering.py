"""From what a classifier says of an image to an answer: calibrated probabilities, and whether its class is known."""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from linnaeus.errors import PredictionError
from linnaeus.evaluation.calibration import fit_temperature, softmax
from linnaeus.evaluation.inference import Outputs, Probabilities
from linnaeus.evaluation.metrics import Labels
from linnaeus.evaluation.unknowns import (
    DEFAULT_SCORE,
    ClassDistance,
    energy,
    fit_class_distance,
    maximum_probability,
    threshold,
)
from linnaeus.files import read_json, write_json, write_with

CALIBRATION_FILE, KNOWN_FILE = "calibration.json", "known.npz"


@dataclass(frozen=True)
class Knowledge:
    """By what known images are told from others. `distance`: learned from training images. `scores`: those of the
    validation images (images,), by the name of the score; higher is more like the known classes."""

    distance: ClassDistance
    scores: dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Answering:
    """`temperature`: what logits are divided by; 1 before the classifier was evaluated. `knowledge`: None till then."""

    temperature: float = 1.0
    knowledge: Knowledge | None = None

    def probabilities(self, outputs: Outputs) -> Probabilities:
        """Calibrated ones, (images, classes)."""
        return softmax(outputs.logits, self.temperature)

    def is_known(self, outputs: Outputs, kept: float, score: str = DEFAULT_SCORE) -> NDArray[np.bool_]:
        """Whether each image is like those of the known classes, by a threshold that a share `kept` of the validation
        images reaches. Raises PredictionError where the classifier was not evaluated."""
        if self.knowledge is None:
            raise PredictionError(
                "what is unknown can be told only once the run was evaluated; run: linnaeus evaluate PROJECT"
            )
        known: NDArray[np.bool_] = knownness(self, self.knowledge.distance, outputs)[score] >= threshold(
            self.knowledge.scores[score], kept
        )
        return known


def knownness(answering: Answering, distance: ClassDistance, outputs: Outputs) -> dict[str, NDArray[np.float64]]:
    """How much each image is like those of the known classes, (images,), by the name of the score."""
    return {
        "maximum probability": maximum_probability(answering.probabilities(outputs)),
        "energy": energy(outputs.logits),
        "distance": distance.score(outputs.features),
    }


def fit_answering(validation: Outputs, labels: Labels, training: tuple[NDArray[np.float32], Labels]) -> Answering:
    """What validation and its labels say of the temperature and of what is known.

    training: features (images, width) of training images, by which distances are measured, and their labels.
    """
    calibrated = Answering(fit_temperature(validation.logits, labels))
    distance = fit_class_distance(*training)
    return Answering(calibrated.temperature, Knowledge(distance, knownness(calibrated, distance, validation)))


def save_answering(answering: Answering, folder: Path) -> None:
    """Write it beside the classifier, as JSON and as arrays."""
    assert answering.knowledge is not None
    knowledge = answering.knowledge
    scores = {f"score {name}": np.sort(values) for name, values in knowledge.scores.items()}
    arrays = asdict(knowledge.distance) | scores
    write_with(folder / KNOWN_FILE, partial(np.savez, **arrays))
    write_json(folder / CALIBRATION_FILE, {"temperature": answering.temperature, "score": DEFAULT_SCORE})


def load_answering(folder: Path) -> Answering:
    """What stands beside a classifier; probabilities as they come where it was not evaluated.

    Raises PredictionError where the files are damaged.
    """
    if not (folder / CALIBRATION_FILE).is_file():
        return Answering()
    try:
        with np.load(folder / KNOWN_FILE) as arrays:
            scores = {name.removeprefix("score "): arrays[name] for name in arrays.files if name.startswith("score ")}
            distance = ClassDistance(**{name: arrays[name] for name in arrays.files if not name.startswith("score ")})
        temperature = float(read_json(folder / CALIBRATION_FILE)["temperature"])
    except (OSError, KeyError, TypeError, ValueError, BadZipFile) as error:
        raise PredictionError(
            f"{folder}: {CALIBRATION_FILE} or {KNOWN_FILE} is damaged ({error}); run: linnaeus evaluate PROJECT --force"
        ) from None
    return Answering(temperature, Knowledge(distance, scores))
