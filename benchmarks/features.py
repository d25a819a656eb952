"""Images a second from JPEG files to a frozen network's features: Keras predict and ours, side by side; and agreement.

    python benchmarks/features.py IMAGES [--count 256] [--rounds 3] [--models NAME ...] [--no-agreement]

Batches of 32 at 224 pixels, medians of the rounds; in each round Keras (tf.data, in an environment of its own that is
made once, see keras_env.py) and ours take turns on the same files. EfficientNet-Lite0 has its ImageNet weights, the
others random ones; that may decide which precision agrees with 32 bits. `prepared in` is what converting and compiling
takes, which is not in the rate; `worth it from` is how many images make up for it. `per core` is images for each second
that a core has worked, which a machine that is busy with other things disturbs less. The agreement is of
EfficientNet-Lite0 on all of the images, between the fastest engine and torch in 32 bits; its probe is a logistic
regression that is fitted on torch's features of one half and judges the other half.
"""

import argparse
import json
import logging
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import pandas as pd
import torch
from keras_env import run_keras
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import linnaeus
from linnaeus.data.dataset import ImageDataset
from linnaeus.data.sources import find_sources
from linnaeus.networks.backbone import backbone_preprocessing, build_backbone
from linnaeus.recipe_sections import TransferRecipe
from linnaeus.records import Preprocessing
from linnaeus.scale.ahead import ahead
from linnaeus.scale.engine import FEWEST_IMAGES, Engine, fastest_engine

BATCH, SIZE = 32, 224
Cost = tuple[float, float]  # seconds, and seconds of all cores together
# Ours, and the Keras model that it is held against.
MODELS = {
    "mobilenetv2_100": "MobileNetV2",
    "tf_efficientnetv2_s": "EfficientNetV2S",
    "tf_efficientnet_lite0": "MobileNetV2",
}
KERAS_PASS = """
import json, sys, time
import keras, tensorflow as tf

name, size, batch, file = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
paths = json.load(open(file))
model = getattr(keras.applications, name)(weights=None, include_top=False, pooling="avg", input_shape=(size, size, 3))
scale = keras.applications.mobilenet_v2.preprocess_input if name == "MobileNetV2" else lambda image: image

def image(path):
    return scale(tf.image.resize(tf.io.decode_jpeg(tf.io.read_file(path), channels=3), (size, size)))

def features(paths):
    images = tf.data.Dataset.from_tensor_slices(paths).map(image, num_parallel_calls=tf.data.AUTOTUNE)
    return model.predict(images.batch(batch).prefetch(tf.data.AUTOTUNE), verbose=0)

features(paths[:batch])
wall, cores = time.perf_counter(), time.process_time()
features(paths)
print(json.dumps({"seconds": time.perf_counter() - wall, "core_seconds": time.process_time() - cores}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--count", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models", nargs="*", default=[*MODELS], choices=MODELS)
    parser.add_argument("--no-agreement", action="store_true")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="    %(message)s")
    linnaeus.keep_freed_memory()
    table = photographs(options.images)
    speed(options.models, table.sample(options.count, random_state=0), options.rounds)
    if not options.no_agreement:
        agreement(table)


def photographs(folder: Path) -> pd.DataFrame:
    """relpath (absolute) and label of the folder's JPEG files."""
    paths = [folder.resolve() / source.relpath for source in find_sources(folder)[0]]
    paths = [path for path in paths if path.suffix.lower() in {".jpg", ".jpeg"}]
    table = pd.DataFrame({"relpath": [str(path) for path in paths], "category": [path.parent.name for path in paths]})
    return table.assign(label=table["category"].astype("category").cat.codes)


def batches(table: pd.DataFrame, preprocess: Preprocessing) -> Iterable[torch.Tensor]:
    loader = ImageDataset(table, "/", shuffle=False, preprocess=preprocess).loader(BATCH)
    return (images for images, _ in loader)


def speed(models: Iterable[str], table: pd.DataFrame, rounds: int) -> None:
    """Prints the table of rates."""
    ways: dict[str, dict[str, Callable[[], Cost]]] = {}
    preparing = {}
    for name in models:
        engines, preparing[name] = engines_of(name, table)
        ways[name] = {f"Keras {MODELS[name]}": partial(cost_of_keras, MODELS[name], table)}
        ways[name] |= {way: partial(cost, engine, table) for way, engine in engines.items()}
    costs = defaultdict(list)
    for _ in range(rounds):
        for name in models:
            for way, measure in ways[name].items():
                costs[name, way].append(measure())
    for name in models:
        medians = {way: np.median(costs[name, way], axis=0) for way in ways[name]}
        keras, _, torch_cost, fastest = medians.values()
        print(f"\n{name:30} {'images/s':>9} {'lowest':>8} {'highest':>8} {'to Keras':>9} {'per core':>9} {'to it':>9}")
        for way, (seconds, core_seconds) in medians.items():
            low, *_, high = sorted(len(table) / wall for wall, _ in costs[name, way] * 2)
            print(f"    {way:26} {len(table) / seconds:9.1f} {low:8.1f} {high:8.1f} {keras[0] / seconds:9.2f}", end="")
            print(f" {len(table) / core_seconds:9.1f} {keras[1] / core_seconds:9.2f}")
        gain = (torch_cost[0] - fastest[0]) / len(table)
        worth = f"{preparing[name] / gain:.0f} images" if gain > 0 else "never"
        print(f"    prepared in {preparing[name]:.1f} s, worth it from: {worth}", flush=True)


def engines_of(name: str, table: pd.DataFrame) -> tuple[dict[str, Engine], float]:
    """The ways to run a backbone, and the seconds that the last, the fastest, took to prepare."""
    backbone = build_backbone(TransferRecipe(backbone=name), pretrained=name == TransferRecipe().backbone)
    example = next(iter(batches(table[:BATCH], backbone_preprocessing(backbone, SIZE))))

    def eager(batch: torch.Tensor) -> np.ndarray:
        with torch.inference_mode():
            return backbone(batch.contiguous()).numpy()

    engines = {"torch fp32, channels first": eager, "torch fp32, channels last": fastest_engine(backbone, example)}
    started = perf_counter()
    fastest = fastest_engine(backbone, example, FEWEST_IMAGES)
    seconds = perf_counter() - started
    return engines | {"ours for many images": fastest}, seconds


def cost(engine: Engine, table: pd.DataFrame) -> Cost:
    preprocess = Preprocessing(SIZE, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    engine(next(iter(batches(table[:BATCH], preprocess))))
    wall, cores = perf_counter(), process_time()
    for batch in ahead(batches(table, preprocess)):
        engine(batch)
    return perf_counter() - wall, process_time() - cores


def cost_of_keras(name: str, table: pd.DataFrame) -> Cost:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump([*table["relpath"]], file)
        file.flush()
        found = run_keras(KERAS_PASS, name, str(SIZE), str(BATCH), file.name)
    return found["seconds"], found["core_seconds"]


def agreement(table: pd.DataFrame) -> None:
    backbone = build_backbone(TransferRecipe(), pretrained=True)
    preprocess = backbone_preprocessing(backbone, None)
    example = next(iter(batches(table[:BATCH], preprocess)))
    exact, fast = (fastest_engine(backbone, example, images) for images in (None, len(table)))
    found = [(exact(batch), fast(batch)) for batch in ahead(batches(table, preprocess))]
    expected, features = (np.concatenate(outputs) for outputs in zip(*found, strict=True))
    lengths = np.linalg.norm(expected.astype(float), axis=1) * np.linalg.norm(features.astype(float), axis=1)
    cosines = (expected.astype(float) * features).sum(axis=1) / lengths
    fitted = np.random.default_rng(0).permutation(len(table)) % 2 == 0
    labels = table["label"].to_numpy()
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(expected[fitted], labels[fitted])
    first, second = (probe.predict(rows[~fitted]) for rows in (expected, features))
    print(
        f"\n{len(table)} images, EfficientNet-Lite0: lowest cosine {cosines.min():.7f}, mean {cosines.mean():.7f}, ",
        end="",
    )
    print(f"at least 0.999 for {(cosines >= 0.999).mean():.2%}")
    print(f"largest difference {np.abs(expected - features).max():.2e}, features up to {expected.max():.2f}")
    print(f"same top-1 of the probe on {(first == second).mean():.4%} of {len(first)} images that it was not fitted on")
    print(f"its accuracy: {(first == labels[~fitted]).mean():.4f} and {(second == labels[~fitted]).mean():.4f}")


if __name__ == "__main__":
    main()
