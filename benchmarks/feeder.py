"""How fast batches of augmented images are made, side by side with other ways, and what memory an epoch of them takes.

    python benchmarks/feeder.py ../shared/data/animals9
    python benchmarks/feeder.py ../shared/data/animals9 --tensorflow      tf.data too (benchmarks/keras_env.py)

All ways read the same clean copy (224 pixels, JPEG) in random order, crop, flip and change colours as the deck does,
and give float32 batches of 32. Each runs in a process of its own, which makes a few batches before it is timed; the
best of the repeats counts, and ratios are to the first way. Processor time tells more than images a second where the
machine has other work to do.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from keras_env import run_keras
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import io
from torchvision.transforms import v2

from linnaeus.data.augment_device import RawImages
from linnaeus.data.balance import balanced
from linnaeus.data.catalogue import catalogue_folder
from linnaeus.data.clean import Cleaning, clean_images
from linnaeus.data.dataset import ImageDataset
from linnaeus.data.pixels import with_cached_pixels
from linnaeus.recipe_sections import AugmentRecipe
from linnaeus.records import Preprocessing
from linnaeus.scale.cores import core_count
from linnaeus.scale.device import keep_freed_memory
from linnaeus.settings import CleanRecipe

BATCH = 32
WARM_UP = 128
PREPROCESS = Preprocessing(224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
STRONG = AugmentRecipe(shift=0.1, rotate=15, rand_augment=2, magnitude=0.3, erase=0.25)
KERAS = """
import csv, json, sys, time
import tensorflow as tf
with open(sys.argv[2], encoding="utf-8") as file:
    rows = [*csv.DictReader(file)]
paths = [sys.argv[1] + "/" + row["relpath"] for row in rows]
labels = [int(row["label"]) for row in rows]
def load(path, label):
    return tf.io.decode_jpeg(tf.io.read_file(path), channels=3), label
def augment(image, label):
    image = tf.image.random_flip_up_down(tf.image.random_flip_left_right(image))
    side = tf.cast(224 * tf.random.uniform([], 0.85, 1.0), tf.int32)
    image = tf.image.resize(tf.image.random_crop(image, [side, side, 3]), [224, 224]) / 255
    image = tf.image.random_contrast(tf.image.random_brightness(image, 0.1), 0.8, 1.2)
    image = tf.image.random_hue(tf.image.random_saturation(image, 0.8, 1.2), 0.05)
    return (tf.clip_by_value(image, 0, 1) - 0.5) / 0.5, label
def pipeline(cached):
    images = tf.data.Dataset.from_tensor_slices((paths, labels)).map(load, tf.data.AUTOTUNE)
    images = images.cache() if cached else images
    images = images.shuffle(len(paths)) if cached else images
    return images.map(augment, tf.data.AUTOTUNE).batch(32).prefetch(tf.data.AUTOTUNE)
found = {}
for name, cached in (("files", False), ("cached", True)):
    images, taken = pipeline(cached), []
    for _ in range(1 + int(sys.argv[3])):
        start = time.perf_counter(), time.process_time()
        for _ in images:
            pass
        taken.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    seconds, busy = map(min, zip(*taken[1:]))
    found[name] = {"rate": len(paths) / seconds, "busy_ms": 1000 * busy / len(paths)}
print(json.dumps(found))
"""


class Photographs(Dataset[tuple[torch.Tensor, int]]):
    """The usual dataset of torchvision, decoded by Pillow or to tensors."""

    def __init__(self, table: pd.DataFrame, folder: Path, *, by_pillow: bool) -> None:
        self.paths = [str(folder / relpath) for relpath in table["relpath"]]
        self.labels = table["label"].to_list()
        self.by_pillow = by_pillow
        changes = [
            v2.RandomResizedCrop(224, scale=(0.85**2, 1.0), ratio=(1.0, 1.0)),
            v2.RandomHorizontalFlip(),
            v2.RandomVerticalFlip(),
            v2.ColorJitter(0.1, 0.2, 0.2, 0.05),
        ]
        to_tensor = [v2.ToImage()] if by_pillow else []
        normal = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(PREPROCESS.mean, PREPROCESS.std)]
        self.transform = v2.Compose([*changes, *to_tensor, *normal])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        path = self.paths[row]
        image = Image.open(path).convert("RGB") if self.by_pillow else io.decode_jpeg(io.read_file(path))
        return self.transform(image), self.labels[row]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--count", type=int, default=2048, help="images that the speed is measured on")
    parser.add_argument("--tensorflow", action="store_true")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(_measured(options.way, options.images, options.repeats)))
        return
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        _prepare(options.images, work, options.count)
        _speed(work, options.repeats, options.tensorflow)
        _memory(work)


def _prepare(images: Path, work: Path, count: int) -> None:
    """The clean copy, tables of it, and its pixels."""
    catalogue = catalogue_folder(images, {}).images
    table, _ = clean_images(catalogue, images, work / "clean", Cleaning(CleanRecipe()))
    table.sample(min(count, len(table)), random_state=0).to_csv(work / "some.csv", index=False)
    for name in ("down", "up"):
        balanced(table, name).to_csv(work / f"{name}.csv", index=False)
    start = time.perf_counter()
    with_cached_pixels(ImageDataset(table, work / "clean"), list(table["sha256"]), work / "pixels")
    rate = len(table) / (time.perf_counter() - start)
    size = sum(path.stat().st_size for path in (work / "pixels").rglob("*")) / 2**20
    print(f"{len(table)} images, {core_count()} cores; the cache is made at {rate:,.0f} images/s, {size:,.0f} MiB\n")


def _speed(work: Path, repeats: int, with_tensorflow: bool) -> None:
    torchvision = {f"torchvision v2, {kind}, two workers": f"torchvision-{kind}" for kind in ("PIL", "tensor")}
    ways = {
        "linnaeus, from the cache": "cached",
        "the same on one core": "cached-alone",
        "linnaeus, from the files": "files",
        "linnaeus, for the device": "raw",
        "linnaeus, RandAugment and erasing": "strong",
        **torchvision,
    }
    found: dict[str, dict[str, float]] = {}

    def show(name: str, measured: dict[str, float]) -> None:
        found[name] = measured
        rate, busy, first = measured["rate"], measured["busy_ms"], next(iter(found.values()))
        print(
            f"{name:36}{rate:10,.0f}{rate / first['rate']:8.2f}{busy:24.2f}{busy / first['busy_ms']:8.2f}", flush=True
        )

    print(f"{'':36}{'images/s':>10}{'ratio':>8}{'processor ms an image':>24}{'ratio':>8}", flush=True)
    for name, way in ways.items():
        show(name, _in_a_process(way, work, repeats))
    if with_tensorflow:
        others = run_keras(KERAS, str(work / "clean"), str(work / "some.csv"), str(repeats))
        for name, measured in others.items():
            show(f"tf.data, {name}", measured)
    print()


def _memory(work: Path) -> None:
    found = {name: _in_a_process(name, work, 1) for name in ("down", "up")}
    for name, measured in found.items():
        print(f"one epoch of the {name}-sampled set, {measured['images']:5} images: peak {measured['peak']:5.0f} MiB")
    print(f"ratio {found['up']['peak'] / found['down']['peak']:.3f}")


def _in_a_process(way: str, work: Path, repeats: int) -> dict[str, float]:
    command = [sys.executable, __file__, str(work), "--way", way, "--repeats", str(repeats)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _measured(way: str, work: Path, repeats: int) -> dict[str, float]:
    """What one way takes, in this process."""
    if way == "cached-alone":
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(core_count())
    keep_freed_memory()
    table = pd.read_csv(work / (f"{way}.csv" if way in {"up", "down"} else "some.csv"))
    loader = _loaders()[way](table, work)
    _read(loader, WARM_UP)
    seconds, busy = map(min, zip(*(_read(loader, len(table)) for _ in range(repeats)), strict=True))
    # Not ru_maxrss, which begins with what the parent process held.
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    rates = {"rate": len(table) / seconds, "busy_ms": 1000 * busy / len(table)}
    return rates | {"peak": int(peak.split()[1]) / 1024, "images": len(table)}


def _loaders() -> dict[str, Callable[[pd.DataFrame, Path], Iterable[Any]]]:
    cached = partial(_linnaeus, cached=True)
    return {
        **dict.fromkeys(("cached", "cached-alone", "up", "down"), cached),
        "files": partial(_linnaeus, cached=False),
        "raw": partial(_linnaeus, cached=True, raw=True),
        "strong": partial(_linnaeus, cached=True, augment=STRONG),
        "torchvision-PIL": partial(_torchvision, by_pillow=True),
        "torchvision-tensor": partial(_torchvision, by_pillow=False),
    }


def _linnaeus(
    table: pd.DataFrame, work: Path, *, cached: bool, raw: bool = False, augment: AugmentRecipe | bool = True
) -> Iterable[Any]:
    dataset = ImageDataset(table, work / "clean", augment=augment, preprocess=PREPROCESS)
    if cached:
        dataset = with_cached_pixels(dataset, list(table["sha256"]), work / "pixels")
    return RawImages(dataset).loader(BATCH) if raw else dataset.loader(BATCH)


def _torchvision(table: pd.DataFrame, work: Path, *, by_pillow: bool) -> Iterable[Any]:
    dataset = Photographs(table, work / "clean", by_pillow=by_pillow)
    return DataLoader(dataset, BATCH, shuffle=True, num_workers=2)


def _read(loader: Iterable[Any], images: int) -> tuple[float, float]:
    """Seconds of the clock and of processors, workers included, for so many images or the whole epoch."""
    started, before, seen = time.perf_counter(), os.times(), 0
    for batch in loader:
        seen += len(batch[0])
        if seen >= images:
            break
    return time.perf_counter() - started, sum(os.times()[:4]) - sum(before[:4])


if __name__ == "__main__":
    main()
