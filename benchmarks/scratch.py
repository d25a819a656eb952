"""Training conv4invto128-dense256 from image files: Keras as the deck wrote it, Keras tuned, and ours, side by side.

    python benchmarks/scratch.py IMAGES [--rename animals10] [--steps 40] [--rounds 3] [--batch 32]

Images a second of training steps, decoding and augmentation included: the median step after the warm-up, the median of
the rounds, in each of which all ways take turns. `core ms` is what all cores together spend on an image, which other
work on the machine disturbs less. Keras runs in an environment of its own (keras_env.py).

"as the deck wrote it": 32-bit floats, ReLU in the convolutions, every image decoded and augmented by tf.data in each
epoch. "tuned": decoded images kept in memory as uint8, max-pooling before ReLU (the same function, with a quarter of
the work), mixed bfloat16 only where ours uses it too, since processors without such arithmetic emulate it and are
slower; channels last, as TensorFlow has them anyway, and no XLA, which was slower. Ours is the recipe, through the
project's cache of decoded images, its loader and its loop. What the loader costs is told by a constant batch in its
place.
"""

import argparse
import tempfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
import torch
from measuring import EnoughError, Mark, StepClock, keras_table, new_project, run_keras_on, step_cost
from torch.utils.data import DataLoader, Dataset

import linnaeus
from linnaeus.data.balance import balanced
from linnaeus.data.dataset import Batch, EpochSampler, as_it_is
from linnaeus.data.split import Splits
from linnaeus.scale.device import best_device, training_precision
from linnaeus.steps.training import training_images
from linnaeus.training.fit import Watch, fit
from linnaeus.training.train import Prepared, TrainingImages, prepare

RECIPE = "conv4invto128-dense256"
DECK, TUNED, OURS, CONSTANT = "Keras as the deck wrote it", "Keras tuned", "ours", "ours, a constant batch"
KERAS_TRAINING = """
from keras import layers
if given["precision"] == "bf16-mixed":
    keras.mixed_precision.set_global_policy("mixed_bfloat16")

def convolution(width):
    if given["tuned"]:
        return [layers.Conv2D(width, 3), layers.MaxPooling2D(2), layers.ReLU()]
    return [layers.Conv2D(width, 3, activation="relu"), layers.MaxPooling2D(2)]

model = keras.Sequential([
    keras.Input((224, 224, 3)),
    *(layer for width in (16, 32, 64, 128) for layer in convolution(width)),
    layers.Flatten(),
    layers.Dense(256, activation="relu"),
    layers.Dropout(0.3),
    layers.Dense(given["classes"], activation="softmax", dtype="float32"),
])
model.compile(keras.optimizers.Adam(0.0005), "sparse_categorical_crossentropy", metrics=["accuracy"])
clock = Clock()
images = batches(given["train"], augment=True, cached=given["tuned"], endless=True)
model.fit(images, steps_per_epoch=given["steps"], verbose=0, callbacks=[clock])
print(json.dumps({"marks": clock.steps}))
"""


class Repeated(Dataset[Batch]):
    """One batch, whatever is asked for."""

    def __init__(self, batch: Batch, rows: int) -> None:
        self.kept = batch
        self.rows = rows

    def __len__(self) -> int:
        return self.rows

    def __getitems__(self, indices: object) -> Batch:
        return self.kept

    def loader(self) -> DataLoader[Batch]:
        sampler = EpochSampler(self.rows, shuffle=False, seed=0)
        return DataLoader(self, len(self.kept[1]), sampler=sampler, collate_fn=as_it_is)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--rename")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--warm-up", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--count", type=int, help="use so many of the images only")
    options = parser.parse_args()
    linnaeus.keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        project = linnaeus.open_project(new_project(options.images, Path(folder), options.rename, options.count))
        images = in_whole_batches(training_images(project), options.batch)
        changes = {"training.batch_size": options.batch, "training.epochs": 10**6, "data.balance": "none"}
        recipe = linnaeus.load_recipe(RECIPE).changed(changes, name=RECIPE)
        fill_pixel_cache(recipe, images)
        costs: dict[str, list[Mark]] = defaultdict(list)
        for _ in range(options.rounds):
            for way, measure in ((DECK, keras_marks), (TUNED, keras_marks), (OURS, our_marks), (CONSTANT, our_marks)):
                marks = measure(way, recipe, images, options.steps + options.warm_up)
                costs[way].append(step_cost(marks, options.warm_up))
    show(costs, options.batch)


def in_whole_batches(images: TrainingImages, batch: int) -> TrainingImages:
    """Training images mid-sampled as the deck's, without those of a smaller last batch, whose step would be short."""
    splits = images.splits
    train = balanced(splits.train, "mid").sample(frac=1, random_state=0)
    kept = train[: len(train) // batch * batch]
    return replace(images, splits=Splits(pd.concat([kept, splits.val], ignore_index=True)))


def fill_pixel_cache(recipe: linnaeus.Recipe, images: TrainingImages) -> None:
    """What a first epoch decodes; it is left out of the steps."""
    started = perf_counter()
    prepared(recipe, images)
    seconds, seen = perf_counter() - started, images.splits.table["relpath"].nunique()
    print(f"{seen} images decoded once, in {seconds:.1f} s, which the steps do not hold", flush=True)


def prepared(recipe: linnaeus.Recipe, images: TrainingImages) -> Prepared:
    classifier = linnaeus.build_classifier(recipe.model, images.splits.classes, linnaeus.CleanRecipe())
    return prepare(classifier, recipe, images)


def our_marks(way: str, recipe: linnaeus.Recipe, images: TrainingImages, steps: int) -> list[Mark]:
    ready = prepared(recipe, images)
    train, val = ready.loaders
    if way == CONSTANT:
        train = Repeated(next(iter(train)), len(train.dataset)).loader()
    clock = StepClock(steps + 1)
    try:
        fit(ready.network, (train, val), recipe.training, plan=ready.plan, watch=Watch(clock))
    except EnoughError:
        return clock.marks[1:]
    raise RuntimeError("training ended before enough steps")


def keras_marks(way: str, recipe: linnaeus.Recipe, images: TrainingImages, steps: int) -> list[Mark]:
    is_tuned = way == TUNED
    given = {
        "train": keras_table(images.splits.train, images.folder),
        "batch": recipe.training.batch_size,
        "steps": steps,
        "classes": len(images.splits.classes),
        "tuned": is_tuned,
        "precision": our_precision() if is_tuned else "32-true",
    }
    return run_keras_on(KERAS_TRAINING, given)["marks"]


def our_precision() -> str:
    return training_precision("auto", best_device())


def show(costs: dict[str, list[Mark]], batch: int) -> None:
    table = pd.DataFrame({way: np.median(costs[way], axis=0) for way in costs}, index=["wall", "cores"]).T
    rates = {way: batch / np.array(costs[way])[:, 0] for way in costs}
    print(f"\n{RECIPE}, batch {batch}, {torch.get_num_threads()} threads; ours and Keras tuned in {our_precision()}")
    print(f"{'':28}{'images/s':>10}{'lowest':>9}{'highest':>9}{'to deck':>9}{'to tuned':>10}{'core ms':>9}")
    for way, (wall, cores) in table.iterrows():
        ratios = f"{table['wall'][DECK] / wall:9.2f}{table['wall'][TUNED] / wall:10.2f}"
        print(f"{way:28}{batch / wall:10.1f}{rates[way].min():9.1f}{rates[way].max():9.1f}{ratios}", end="")
        print(f"{1000 * cores / batch:9.2f}")
    wall, cores = (1 - table[kind][CONSTANT] / table[kind][OURS] for kind in ("wall", "cores"))
    print(f"the feeder takes {wall:.1%} of our training's time, and {cores:.1%} of what the cores spend")


if __name__ == "__main__":
    main()
