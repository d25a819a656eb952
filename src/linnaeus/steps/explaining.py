"""Why a run says what it says: telling images with what spoke for their class, their like in training, and a map."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from linnaeus.data.decode import Pixels, encoded_jpeg, normalised_jpeg, read_bytes, rgb_pixels
from linnaeus.errors import PredictionError, ProjectError
from linnaeus.evaluation.feature_map import feature_map
from linnaeus.evaluation.saliency import Method, explain
from linnaeus.evaluation.telling import nearest, telling_images
from linnaeus.files import whole_folder, write_with
from linnaeus.networks.classifier import Classifier, load_classifier
from linnaeus.progress import Progress
from linnaeus.project import Project
from linnaeus.records import Part
from linnaeus.reporting.figures import save_figure
from linnaeus.reporting.map_figure import map_figure
from linnaeus.runs import Run
from linnaeus.steps.evaluation import outputs_of, reference_images
from linnaeus.steps.splitting import load_splits

BATCH = 8  # images whose gradients are held at once
MOST_ON_MAP = 2500
QUALITY = 85


def last_method(project: Project, model_id: str, judged: str) -> Method | None:
    """By what method the run's reasons were found, if they are of what was judged (its key) last; else None."""
    try:
        inputs = project.stamp(f"explain-{model_id}")["inputs"]
    except ProjectError:
        return None
    found: Method | None = inputs["method"] if inputs["judged"] == judged else None
    return found


def explain_afresh(project: Project, run: Run, part: Part, method: Method | None, progress: Progress) -> None:
    """Write the run's `reasons-<part>` folder: examples.csv, a picture for each of its images, map.csv and map.png.

    method: None for Grad-CAM, and integrated gradients for networks without a layer that is laid out as a picture;
    examples.csv says which it was.
    """
    classifier, table = load_classifier(run.folder), load_splits(project).part(part)
    predictions = run.predictions(part).set_index("relpath").loc[table["relpath"]].reset_index()
    references = reference_images(project)
    seen, known = (
        outputs_of(project, run.recipe, classifier, images, progress).features for images in (table, references)
    )
    examples = telling_images(predictions)
    examples = examples.join(_nearest_training(seen[examples["place"]], known, references))
    shown = examples.drop_duplicates("relpath")
    names = {relpath: f"{number:03}.jpg" for number, relpath in enumerate(shown["relpath"])}
    paths = [project.clean_folder / relpath for relpath in shown["relpath"]]
    pictures = (rgb_pixels(read_bytes(path)) for path in paths)
    with whole_folder(run.reasons(part)) as folder, progress("Explaining", len(paths)) as advance:
        explained = explained_pictures(classifier, pictures, [*shown["predicted"]], method)
        methods: list[str] = []
        for name, (_, overlay, used) in zip(names.values(), explained, strict=True):
            save_jpeg(overlay, folder / name)
            methods.append(used)
            advance(1)
        told = examples.assign(picture=examples["relpath"].map(names), method=methods[-1]).drop(columns="place")
        write_with(folder / "examples.csv", partial(told.to_csv, index=False))
        _save_map(seen, predictions, folder)


def explained_pictures(
    classifier: Classifier, pictures: Iterable[Pixels], labels: Sequence[int], method: Method | None
) -> Iterator[tuple[Pixels, Pixels, Method]]:
    """Each picture, the same under what speaks for its label, and the method that said so: see `explain_afresh`.

    A few are held at a time.
    """
    used: Method = method or "grad-cam"
    waiting, targets = iter(pictures), iter(labels)
    while some := [*islice(waiting, BATCH)]:
        wanted = [*islice(targets, len(some))]
        try:
            overlays = explain(classifier, some, wanted, used)
        except PredictionError:
            if method is not None:
                raise
            used = "integrated-gradients"
            overlays = explain(classifier, some, wanted, used)
        yield from ((picture, overlay, used) for picture, overlay in zip(some, overlays, strict=True))


def explained_files(
    classifier: Classifier, table: pd.DataFrame, folder: Path, method: Method | None, progress: Progress
) -> list[str]:
    """For each row of a prediction the path of a JPEG in `folder`: the image as the classifier sees it, and beside it
    the same under what speaks for its most probable class; empty where the file could not be read."""
    facts = classifier.facts
    readable = table[table["error"].eq("")]
    paths = [Path(path) for path in readable["path"]]
    pictures = (rgb_pixels(normalised_jpeg(read_bytes(path), facts.clean, path.suffix)) for path in paths)
    labels = [facts.classes.index(name) for name in readable["class_1"]]
    written: dict[str, str] = {}
    with progress("Explaining", len(paths)) as advance:
        explained = explained_pictures(classifier, pictures, labels, method)
        for number, (path, (picture, overlay, used)) in enumerate(zip(paths, explained, strict=True)):
            target = folder / f"{number:03}-{path.stem}-{used}.jpg"
            save_jpeg(np.concatenate([picture, overlay], axis=1), target)
            written[str(path)] = str(target)
            advance(1)
    return [written.get(path, "") for path in table["path"]]


def save_jpeg(pixels: Pixels, path: Path) -> None:
    """Write pixels as a JPEG."""
    write_with(path, lambda partial_path: partial_path.write_bytes(encoded_jpeg(pixels, QUALITY)))


def _nearest_training(features: np.ndarray, known: np.ndarray, references: pd.DataFrame) -> pd.DataFrame:
    """The training images most like each image: nearest_1, nearest_1_category, nearest_1_cosine, nearest_2 ..."""
    places, cosines = nearest(features, known)
    columns: dict[str, np.ndarray] = {}
    for number in range(places.shape[1]):
        found, name = references.iloc[places[:, number]], f"nearest_{number + 1}"
        columns[name] = found["relpath"].to_numpy()
        columns[f"{name}_category"] = found["category"].to_numpy()
        columns[f"{name}_cosine"] = cosines[:, number].round(4)
    return pd.DataFrame(columns)


def _save_map(features: np.ndarray, predictions: pd.DataFrame, folder: Path) -> None:
    """Write where the images lie in the feature space, or as many of them as a map has room for, at even distances."""
    places = np.linspace(0, len(features) - 1, min(len(features), MOST_ON_MAP)).round().astype(int)
    found, shown = feature_map(features[places]), predictions.iloc[places]
    table = shown[["relpath", "category", "predicted_category", "probability"]].assign(
        x=found.points[:, 0].round(5), y=found.points[:, 1].round(5), method=found.method, explained=found.explained
    )
    write_with(folder / "map.csv", partial(table.to_csv, index=False))
    is_wrong = table["category"].ne(table["predicted_category"]).to_numpy()
    save_figure(map_figure(found.points, [*table["category"]], is_wrong), folder / "map.png")
