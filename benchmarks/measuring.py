"""What the comparisons with Keras share: a project of photographs, the deck's input pipeline in tf.data, clocks."""

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from keras_env import run_keras

import linnaeus
from linnaeus.data.sources import find_sources
from linnaeus.progress import Advance

Mark = tuple[float, float]  # seconds of the clock, and of all cores together

# Before each Keras script: sys.argv[1] is a JSON file, whose content becomes `given`. `batches` gives images and labels
# of {"paths": [...], "labels": [...]} as the deck's mk_tf_dataset does; `cached` keeps the decoded images in memory.
KERAS_IMAGES = """
import json, sys, time
import keras, tensorflow as tf

with open(sys.argv[1], encoding="utf-8") as file:
    given = json.load(file)

def decoded(path, label):
    return tf.io.decode_jpeg(tf.io.read_file(path), channels=3), label

def scaled(image, label):
    return tf.image.resize(image, (224, 224)) / 255, label

def augmented(image, label):
    image = tf.image.random_flip_up_down(tf.image.random_flip_left_right(image))
    image = tf.image.random_contrast(tf.image.random_brightness(image, 0.1), 0.8, 1.2)
    image = tf.image.random_hue(tf.image.random_saturation(image, 0.8, 1.2), 0.05)
    side = tf.cast(224 * tf.random.uniform([], 0.85, 1.0), tf.int32)
    image = tf.image.resize(tf.image.random_crop(image, [side, side, 3]), (224, 224))
    return tf.clip_by_value(image, 0, 1), label

def batches(table, augment=False, cached=False, endless=False, preprocess=None):
    images = tf.data.Dataset.from_tensor_slices((table["paths"], table["labels"]))
    if augment and not cached:
        images = images.shuffle(len(table["paths"]))
    images = images.map(decoded, tf.data.AUTOTUNE)
    if cached:
        images = images.cache().shuffle(len(table["paths"]))
    images = images.map(scaled, tf.data.AUTOTUNE)
    if augment:
        images = images.map(augmented, tf.data.AUTOTUNE)
    if preprocess:
        images = images.map(lambda image, label: (preprocess(255 * image), label), tf.data.AUTOTUNE)
    if endless:
        images = images.repeat()
    return images.batch(given["batch"]).prefetch(tf.data.AUTOTUNE)

class Clock(keras.callbacks.Callback):
    # The time after each step of training, each of validation, and each epoch.
    def __init__(self):
        super().__init__()
        self.steps, self.judged, self.epochs = [], [], []

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append((time.perf_counter(), time.process_time()))

    def on_test_batch_end(self, batch, logs=None):
        self.judged.append((time.perf_counter(), time.process_time()))

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(time.perf_counter())
"""


class EnoughError(Exception):
    """As many steps as were asked for have been taken."""


class StepClock:
    """A progress that notes the time after each step of training, and stops it after so many by EnoughError."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.marks: list[Mark] = []

    @contextmanager
    def __call__(self, description: str, total: int) -> Iterator[Advance]:
        yield self.advance if description.startswith("Training") else lambda steps: None

    def advance(self, steps: int) -> None:
        self.marks += [(time.perf_counter(), time.process_time())] * steps
        if len(self.marks) >= self.steps:
            raise EnoughError


def step_cost(marks: list[Mark], warm_up: int) -> Mark:
    """The median seconds of a step after the first ones, by the clock and of all cores together."""
    wall, cores = np.median(np.diff(marks, axis=0)[warm_up:], axis=0)
    return float(wall), float(cores)


def new_project(images: Path, folder: Path, rename: str | None, count: int | None = None) -> Path:
    """A project in a sub-folder, as far as the split; of only so many of the images, copied there, where `count` is
    given."""
    chosen = images if count is None else some_of(images, folder / "images", count)
    project = folder / "project"
    linnaeus.catalogue(chosen, project, rename=rename, progress=linnaeus.bars)
    linnaeus.clean(project, progress=linnaeus.bars)
    linnaeus.split(project)
    return project


def some_of(images: Path, target: Path, count: int) -> Path:
    """A copy of so many images, of each class about its share."""
    relpaths = sorted(source.relpath for source in find_sources(images)[0])
    for place in np.linspace(0, len(relpaths) - 1, min(count, len(relpaths))).round().astype(int):
        path = target / relpaths[place]
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(images / relpaths[place], path)
    return target


def keras_table(table: pd.DataFrame, folder: Path) -> dict[str, list[object]]:
    """Paths and labels for `batches`."""
    return {"paths": [str(folder / relpath) for relpath in table["relpath"]], "labels": table["label"].tolist()}


def run_keras_on(script: str, given: dict[str, object]) -> dict:
    """The JSON object that a script prints which goes on from KERAS_IMAGES."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "given.json"
        path.write_text(json.dumps(given), encoding="utf-8")
        return run_keras(KERAS_IMAGES + script, str(path))
