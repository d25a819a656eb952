"""The deck's head of 256 on frozen features: Keras and ours, at batch 32 and 512; and scikit-learn's probe.

    python benchmarks/heads.py [IMAGES] [--rows 18000] [--epochs 12] [--rounds 3]

Synthetic features of 1,280 columns: easy ones, whose classes hardly touch, and hard ones. With IMAGES also those that
EfficientNet-Lite0 makes of the photographs, four in five of which, repeated to as many rows, are trained on. Seconds
are of the whole training with validation after each epoch, Keras' tracing included, medians of the rounds; `core s` is
what all cores together spend. The probe tries one C after the other (fit_probe); its seconds hold all of them.
Accuracies are on rows that were not trained on. Keras runs in an environment of its own (keras_env.py).
"""

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import torch
from keras_env import run_keras
from measuring import new_project
from torch import nn

import linnaeus
from linnaeus.data.dataset import ImageDataset, TensorTable
from linnaeus.evaluation.inference import Forward
from linnaeus.networks.backbone import backbone_preprocessing, build_backbone
from linnaeus.networks.classifier import Network
from linnaeus.networks.head import build_head
from linnaeus.training.features import cached_activations
from linnaeus.training.fit import Fitted, fit
from linnaeus.training.fitted_heads import Features, fit_probe

WIDTH, CLASSES = 1280, 10
BATCHES = (32, 512)
Found = tuple[float, float, float]  # seconds, those of all cores together, accuracy on rows that were not trained on
KERAS_TRAINING = """
import json, sys, time
import keras, numpy as np

arrays, batch, epochs = np.load(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
train, val = ((arrays[part + "_inputs"], arrays[part + "_labels"]) for part in ("train", "val"))
model = keras.Sequential([
    keras.Input((train[0].shape[1],)),
    keras.layers.Dense(256, activation="relu"),
    keras.layers.Dense(int(train[1].max()) + 1, activation="softmax"),
])
model.compile(keras.optimizers.Adam(0.0005), "sparse_categorical_crossentropy", metrics=["accuracy"])
wall, cores = time.perf_counter(), time.process_time()
history = model.fit(*train, batch_size=batch, epochs=epochs, validation_data=val, verbose=0).history
seconds = [time.perf_counter() - wall, time.process_time() - cores]
best = int(np.argmin(history["val_loss"]))
print(json.dumps({"found": [*seconds, history["val_accuracy"][best]]}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, nargs="?")
    parser.add_argument("--rename")
    parser.add_argument("--count", type=int, help="use so many of the images only")
    parser.add_argument("--rows", type=int, default=18_000)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    linnaeus.keep_freed_memory()
    sets = {"easy": partial(synthetic, options.rows, 0.5), "hard": partial(synthetic, options.rows, 0.1)}
    if options.images is not None:
        sets["photographs"] = partial(photographs, options.images, options.rename, options.count, options.rows)
    for name, make in sets.items():
        compare(name, *make(), epochs=options.epochs, rounds=options.rounds)


def synthetic(rows: int, apart: float, seed: int = 0) -> tuple[Features, Features]:
    """Training rows and a quarter as many others: rectified noise around each class's own mean, as pooled ReLUs are."""
    random = np.random.default_rng(seed)
    means = random.normal(0, apart, (CLASSES, WIDTH))

    def some(count: int) -> Features:
        labels = random.integers(CLASSES, size=count)
        inputs = random.standard_normal((count, WIDTH), dtype=np.float32)
        return Features(np.maximum(inputs + means[labels], 0).astype(np.float32), labels)

    return some(rows), some(rows // 4)


def photographs(images: Path, rename: str | None, count: int | None, rows: int) -> tuple[Features, Features]:
    """EfficientNet-Lite0's features of four photographs in five, repeated to so many rows, and of the others."""
    with tempfile.TemporaryDirectory() as folder:
        project = linnaeus.open_project(new_project(images, Path(folder), rename, count))
        table = linnaeus.clean(project).images
        backbone = build_backbone(linnaeus.TransferRecipe(), pretrained=True)
        preprocess = backbone_preprocessing(backbone, None)
        dataset = ImageDataset(table, project.clean_folder, shuffle=False, preprocess=preprocess)
        seen = cached_activations(
            [Forward(backbone)], dataset, [*table["sha256"]], project.features, progress=linnaeus.bars
        )
        inputs, labels = seen[np.arange(len(table))], table["label"].to_numpy(np.int64)
    order = np.random.default_rng(0).permutation(len(table))
    trained = np.resize(order[len(order) // 5 :], rows)
    others = order[: len(order) // 5]
    return Features(inputs[trained], labels[trained]), Features(inputs[others], labels[others])


def compare(name: str, train: Features, val: Features, *, epochs: int, rounds: int) -> None:
    """Prints the table of one set of features."""
    ways: dict[str, Callable[[], Found]] = {}
    for batch in BATCHES:
        ways[f"Keras, batch {batch}"] = partial(by_keras, train, val, batch, epochs)
        ways[f"ours, batch {batch}"] = partial(by_us, train, val, batch, epochs)
    ways["probe"] = partial(by_probe, train, val)
    found: dict[str, list[Found]] = defaultdict(list)
    for _ in range(rounds):
        for way, measure in ways.items():
            found[way].append(measure())
    medians = {way: np.median(each, axis=0) for way, each in found.items()}
    keras = medians[f"Keras, batch {BATCHES[0]}"][0]
    print(f"\n{name}: {len(train.labels)} rows of {train.inputs.shape[1]}, {epochs} epochs, best of them by validation")
    print(f"{'':20}{'seconds':>9}{'lowest':>9}{'highest':>9}{'to Keras 32':>13}{'core s':>9}{'accuracy':>10}")
    for way, (seconds, cores, accuracy) in medians.items():
        low, high = min(found[way])[0], max(found[way])[0]
        print(f"{way:20}{seconds:9.2f}{low:9.2f}{high:9.2f}{keras / seconds:13.2f}{cores:9.2f}", end="")
        print(f"{accuracy:10.4f}", flush=True)


def by_keras(train: Features, val: Features, batch: int, epochs: int) -> Found:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features.npz"
        parts = (("train", train), ("val", val))
        np.savez(path, **{f"{part}_{kind}": each for part, both in parts for kind, each in both._asdict().items()})
        found = run_keras(KERAS_TRAINING, str(path), str(batch), str(epochs))
    return tuple(found["found"])


def by_us(train: Features, val: Features, batch: int, epochs: int) -> Found:
    recipe = linnaeus.TrainingRecipe(epochs=epochs, patience=None, batch_size=batch)
    torch.manual_seed(0)
    network = Network(nn.Identity(), build_head(train.inputs.shape[1], (256,), (), int(train.labels.max()) + 1))
    started = perf_counter(), process_time()
    loaders = (loader(train, batch, shuffle=True), loader(val, batch, shuffle=False))
    fitted = fit(network, loaders, recipe)
    return perf_counter() - started[0], process_time() - started[1], kept_accuracy(fitted)


def loader(part: Features, batch: int, *, shuffle: bool) -> torch.utils.data.DataLoader:
    return TensorTable([part.inputs], np.arange(len(part.labels)), part.labels, shuffle=shuffle).loader(batch)


def by_probe(train: Features, val: Features) -> Found:
    head = build_head(train.inputs.shape[1], (), (), int(train.labels.max()) + 1)
    started = perf_counter(), process_time()
    fitted = fit_probe(head, train, val)
    return perf_counter() - started[0], process_time() - started[1], kept_accuracy(fitted)


def kept_accuracy(fitted: Fitted) -> float:
    return float(fitted.history["val_accuracy"].iloc[fitted.best_epoch - 1])


if __name__ == "__main__":
    main()
