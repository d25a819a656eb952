"""Fine-tuning the last 20 layers of MobileNetV2 for some epochs: Keras, ours through the whole network each epoch, and
ours with the frozen part's activations kept; and what keeping them does to accuracy.

    python benchmarks/finetune.py IMAGES [--rename animals10] [--epochs 15] [--views 4] [--timed-epochs 3]

Speed: random weights, and the deck's mobnet2-small-tune20, mid-sampled, at batch 32, with validation after each epoch.
The seconds are from image files to the last epoch, the pass that fills the cache and the compiling of graphs included;
`images/s` is training images times epochs by them. Where nothing is kept, each epoch costs the same, so only the first
`--timed-epochs` are run, and the median of those after the first stands for the others; where views are kept, all are.
Keras runs in an environment of its own (keras_env.py).

Accuracy: EfficientNet-Lite0 with its ImageNet weights, first under a trained head (lite0-dense256), then its last 25
layers for some epochs on new views each epoch and on the same views in turn (lite0-dense256-finetune-views). The
intervals of both on validation are Wilson's, 95 %; that of the difference is of paired shares.
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
from measuring import keras_table, new_project, run_keras_on

import linnaeus
from linnaeus.data.balance import balanced
from linnaeus.evaluation.intervals import wilson_interval
from linnaeus.evaluation.paired import compare_pairs, sentence
from linnaeus.steps.training import training_images
from linnaeus.training.fit import fit
from linnaeus.training.train import TrainingImages, prepare

DECK = "mobnet2-small-tune20-1e-4"
LITE0 = "lite0-dense256-finetune-views"
KERAS_TRAINING = """
from keras import layers
backbone = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(224, 224, 3))
for layer in backbone.layers[:-20]:
    layer.trainable = False
model = keras.Sequential([
    backbone,
    layers.GlobalAveragePooling2D(),
    layers.Dense(128, activation="relu"),
    layers.Dense(given["classes"], activation="softmax"),
])
model.compile(keras.optimizers.Adam(1e-4), "sparse_categorical_crossentropy", metrics=["accuracy"])
clock, preprocess = Clock(), keras.applications.mobilenet_v2.preprocess_input
started = time.perf_counter()
train, val = (batches(given[part], part == "train", preprocess=preprocess) for part in ("train", "val"))
model.fit(train, validation_data=val, epochs=given["epochs"], verbose=0, callbacks=[clock])
marks = [started, *clock.epochs]
print(json.dumps({"epochs": [end - start for start, end in zip(marks, marks[1:])]}))
"""


@dataclass(frozen=True)
class Timed:
    """Seconds before the first epoch, and of each epoch that was run."""

    before: float
    epochs: list[float]

    def total(self, epochs: int) -> float:
        """Seconds of so many epochs; those that were not run are taken to be as long as the median after the first."""
        later = self.epochs[1:] or self.epochs
        return self.before + sum(self.epochs) + (epochs - len(self.epochs)) * float(np.median(later))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--rename")
    parser.add_argument("--epochs", type=int, default=15, help="the deck's, over two runs")
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--timed-epochs", type=int, default=3, help="of the ways in which nothing is kept")
    parser.add_argument("--count", type=int, help="use so many of the images only")
    parser.add_argument("--accuracy-epochs", type=int, default=8, help="0 leaves accuracy out")
    parser.add_argument("--no-speed", action="store_true")
    options = parser.parse_args()
    linnaeus.keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        project = new_project(options.images, Path(folder), options.rename, options.count)
        if not options.no_speed:
            images = training_images(linnaeus.open_project(project))
            speed(images, options.epochs, options.views, min(options.timed_epochs, options.epochs))
        if options.accuracy_epochs:
            accuracy(project, options.accuracy_epochs, options.views)


def speed(images: TrainingImages, epochs: int, views: int, timed: int) -> None:
    """Prints the table of seconds."""
    recipe = linnaeus.load_recipe(DECK)
    random = {"starts_from": None, "model.weights": "random", "training.patience": None}
    kept = random | {"training.epochs": epochs}
    passing = random | {"training.epochs": timed}
    ways: dict[str, Callable[[], Timed]] = {
        "Keras": partial(cost_of_keras, recipe, images, timed),
        "ours, whole network": partial(cost, recipe.changed(passing | {"data.augment": {}}), images),
        f"ours, {views} views kept": partial(
            cost, recipe.changed(kept | {"data.augment": {}, "data.views": views}), images
        ),
        "ours, not augmented, kept": partial(cost, recipe.changed(kept), images),
    }
    train = len(balanced(images.splits.train, recipe.data.balance))
    print(f"{train} training images, {len(images.splits.val)} of validation, {epochs} epochs")
    print(f"{'':28}{'before':>9}{'an epoch':>10}{'seconds':>9}{'images/s':>10}{'to Keras':>10}   of which run")
    first = 0.0
    for way, measure in ways.items():
        found = measure()
        seconds, an_epoch = found.total(epochs), np.median(found.epochs[1:] or found.epochs)
        first = first or seconds
        rate = train * epochs / seconds
        print(f"{way:28}{found.before:9.1f}{an_epoch:10.1f}{seconds:9.1f}{rate:10.1f}{first / seconds:10.2f}", end="")
        print(f"{len(found.epochs):6} of {epochs} epochs", flush=True)


def cost(recipe: linnaeus.Recipe, images: TrainingImages) -> Timed:
    """Ours, with nothing kept from before."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = replace(images, cache=Path(folder) / "features", pixels=Path(folder) / "pixels")
        started = perf_counter()
        classifier = linnaeus.build_classifier(recipe.model, images.splits.classes, linnaeus.CleanRecipe())
        ready = prepare(classifier, recipe, fresh)
        before = perf_counter() - started
        history = fit(ready.network, ready.loaders, recipe.training, plan=ready.plan).history
    return Timed(before, history["seconds"].tolist())


def cost_of_keras(recipe: linnaeus.Recipe, images: TrainingImages, epochs: int) -> Timed:
    given = {
        "train": keras_table(balanced(images.splits.train, recipe.data.balance), images.folder),
        "val": keras_table(images.splits.val, images.folder),
        "batch": recipe.training.batch_size,
        "classes": len(images.splits.classes),
        "epochs": epochs,
    }
    return Timed(0.0, run_keras_on(KERAS_TRAINING, given)["epochs"])


def accuracy(project: Path, epochs: int, views: int) -> None:
    """Prints the validation accuracy of both ways, and how far they may be apart."""
    recipe = linnaeus.load_recipe(LITE0)
    changes = {"training.epochs": epochs, "training.patience": None}
    ways = {
        "a new view each epoch": recipe.changed(changes | {"data.views": None}, name="new-views"),
        f"{views} views in turn": recipe.changed(changes | {"data.views": views}, name="kept-views"),
    }
    print(f"\nEfficientNet-Lite0, its last {recipe.model.unfrozen_last_layers} layers for {epochs} epochs")
    rights = []
    for way, each in ways.items():
        run = linnaeus.train(project, each, progress=linnaeus.bars)
        linnaeus.evaluate(project, [run.model_id], progress=linnaeus.bars)
        predictions = run.predictions("val")
        rights.append(predictions["label"].eq(predictions["predicted"]).to_numpy())
        low, high = wilson_interval(int(rights[-1].sum()), len(predictions))
        print(f"{way:28}{run.training.train_seconds:9.1f} s   validation {rights[-1].mean():.2%}", end="")
        print(f" ({low:.1%} to {high:.1%}), best epoch {run.training.best_epoch}", flush=True)
    (pair,) = compare_pairs(pd.DataFrame(dict(zip(ways, rights, strict=True)))).pairs
    print(sentence(pair))


if __name__ == "__main__":
    main()
