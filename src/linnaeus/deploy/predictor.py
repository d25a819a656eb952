"""Predictions for image files, through the same cleaning, preprocessing and inference as evaluation."""

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from linnaeus.data.dataset import preprocessed
from linnaeus.data.decode import Pixels, normalised_jpeg, read_bytes, resized, rgb_pixels
from linnaeus.errors import DecodeError, PredictionError
from linnaeus.evaluation.answering import Answering
from linnaeus.evaluation.inference import Outputs, outputs_in_batches
from linnaeus.networks.classifier import Classifier, ClassifierFacts
from linnaeus.progress import Progress, silent
from linnaeus.scale.cores import map_images

BATCH = 32
NONE_OF_THESE = "none of these"


def find_files(inputs: Sequence[str | Path]) -> list[Path]:
    """The files that paths, folders (whole, hidden files excepted) and globs stand for, each once, in their order.

    A path that leads nowhere stays in the list, since its row says so. Raises PredictionError for a glob or a folder
    without a file.
    """
    return list(dict.fromkeys(chain.from_iterable(_expand(str(item)) for item in inputs)))


@dataclass(frozen=True)
class Predictor:
    """A classifier with the way from its outputs to answers."""

    classifier: Classifier
    answering: Answering

    def predict(
        self, paths: Sequence[Path], top: int = 3, *, kept: float | None = None, progress: Progress = silent
    ) -> pd.DataFrame:
        """A row a file: path, error (empty where it could be read), then class_1, probability_1, class_2 ... for the
        `top` most probable classes, best first. A file that cannot be read has its reason in `error`, and no classes.

        kept: the share of images of the known classes that must get their class as the answer; then `answer` comes
        before class_1, and is "none of these" for what is less like the known classes.
        """
        facts = self.classifier.facts
        top = max(1, min(top, len(facts.classes)))
        errors: list[str] = []
        with progress("Predicting", len(paths)) as advance:
            batches = _batches(facts, map_images(partial(_pixels, facts), paths, advance), errors)
            outputs = outputs_in_batches(self.classifier, batches, images=len(paths))
            found = iter([row for batch in outputs for row in self._rows(batch, top, kept)])
        rows = [
            {"path": str(path), "error": error, **({} if error else next(found))}
            for path, error in zip(paths, errors, strict=True)
        ]
        columns = [f"{name}_{place}" for place in range(1, top + 1) for name in ("class", "probability")]
        return pd.DataFrame(rows, columns=["path", "error", *(["answer"] if kept is not None else []), *columns])

    def _rows(self, outputs: Outputs, top: int, kept: float | None) -> Iterator[dict[str, object]]:
        classes = self.classifier.facts.classes
        is_known = self.answering.is_known(outputs, kept) if kept is not None else [True] * len(outputs)
        for probabilities, known in zip(self.answering.probabilities(outputs), is_known, strict=True):
            best = _best(probabilities, classes, top)
            yield {"answer": best["class_1"] if known else NONE_OF_THESE, **best}


def _expand(item: str) -> Iterator[Path]:
    path = Path(item)
    if path.is_dir():
        files = sorted(found for found in path.rglob("*") if found.is_file())
        shown = [file for file in files if not any(part.startswith(".") for part in file.relative_to(path).parts)]
        if not shown:
            raise PredictionError(f"{path} holds no file to predict")
        yield from shown
    elif path.exists() or not glob.has_magic(item):
        yield path
    else:
        matches = sorted(glob.glob(item, recursive=True))  # noqa: PTH207  # Path.glob takes no absolute pattern
        if not matches:
            raise PredictionError(f"nothing matches {item}")
        for match in matches:
            yield from _expand(match)


def _pixels(facts: ClassifierFacts, path: Path) -> Pixels | DecodeError:
    try:
        jpeg = normalised_jpeg(read_bytes(path), facts.clean, path.suffix)
    except DecodeError as error:
        return error
    side = facts.preprocessing.size
    return resized(rgb_pixels(jpeg), side, side)


def _batches(
    facts: ClassifierFacts, outcomes: Iterator[Pixels | DecodeError], errors: list[str]
) -> Iterator[torch.Tensor]:
    """Batches of what could be read; for each outcome its error, or an empty text, is added to `errors`."""
    waiting: list[Pixels] = []
    for outcome in outcomes:
        errors.append(str(outcome) if isinstance(outcome, DecodeError) else "")
        if not isinstance(outcome, DecodeError):
            waiting.append(outcome)
        if len(waiting) == BATCH:
            yield preprocessed(np.stack(waiting), facts.preprocessing)
            waiting = []
    if waiting:
        yield preprocessed(np.stack(waiting), facts.preprocessing)


def _best(probabilities: np.ndarray, classes: Sequence[str], top: int) -> dict[str, object]:
    best: dict[str, object] = {}
    for place, label in enumerate(np.argsort(-probabilities, kind="stable")[:top], start=1):
        best |= {f"class_{place}": classes[label], f"probability_{place}": float(probabilities[label])}
    return best
