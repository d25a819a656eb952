"""Predictions for image files, through the same cleaning, preprocessing and inference as evaluation."""

import glob
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd

from linnaeus.data.dataset import preprocessed
from linnaeus.data.decode import Pixels, normalised_jpeg, read_bytes, resized, rgb_pixels
from linnaeus.errors import DecodeError, PredictionError
from linnaeus.evaluation.inference import Probabilities, predict_probabilities
from linnaeus.networks.classifier import Classifier, ClassifierFacts
from linnaeus.progress import Progress, silent
from linnaeus.scale.cores import map_images

BATCH = 32


def find_files(inputs: Sequence[str | Path]) -> list[Path]:
    """The files that paths, folders (whole, hidden files excepted) and globs stand for, each once, in their order.

    A path that leads nowhere stays in the list, since its row says so. Raises PredictionError for a glob or a folder
    without a file.
    """
    return list(dict.fromkeys(chain.from_iterable(_expand(str(item)) for item in inputs)))


def predict_files(
    classifier: Classifier, paths: Sequence[Path], top: int = 3, progress: Progress = silent
) -> pd.DataFrame:
    """A row a file: path, error (empty where it could be read), then class_1, probability_1, class_2 ... for the
    `top` most probable classes, best first. A file that cannot be read has its reason in `error`, and no classes."""
    facts = classifier.facts
    top = max(1, min(top, len(facts.classes)))
    rows: list[dict[str, object]] = []
    with progress("Predicting", len(paths)) as advance:
        for start in range(0, len(paths), BATCH):
            chunk = paths[start : start + BATCH]
            outcomes = [*map_images(partial(_pixels, facts), chunk)]
            readable = [outcome for outcome in outcomes if not isinstance(outcome, DecodeError)]
            found = iter(_probabilities(classifier, readable))
            for path, outcome in zip(chunk, outcomes, strict=True):
                is_error = isinstance(outcome, DecodeError)
                best = {} if is_error else _best(next(found), facts.classes, top)
                rows.append({"path": str(path), "error": str(outcome) if is_error else "", **best})
            advance(len(chunk))
    columns = [f"{name}_{place}" for place in range(1, top + 1) for name in ("class", "probability")]
    return pd.DataFrame(rows, columns=["path", "error", *columns])


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


def _probabilities(classifier: Classifier, pixels: list[Pixels]) -> Probabilities:
    if not pixels:
        return np.empty((0, len(classifier.facts.classes)), np.float32)
    return predict_probabilities(classifier, [preprocessed(np.stack(pixels), classifier.facts.preprocessing)])


def _best(probabilities: np.ndarray, classes: Sequence[str], top: int) -> dict[str, object]:
    best: dict[str, object] = {}
    for place, label in enumerate(np.argsort(-probabilities, kind="stable")[:top], start=1):
        best |= {f"class_{place}": classes[label], f"probability_{place}": float(probabilities[label])}
    return best
