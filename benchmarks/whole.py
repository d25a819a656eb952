"""From a folder of as many photographs as the deck's to evaluated classifiers, by stage; and the deck's way in Keras.

    python benchmarks/whole.py IMAGES [--rename animals10] [--keras] [--images 26179 | --times N] [--check]

The photographs at hand are repeated to the deck's number, in the proportions of the deck's classes where all classes
are the deck's; `--times` repeats each so many times instead. A repeat is a random part of its photograph, mirrored or
not, at the deck's most common size, 300 x 225, as JPEG of quality 85 to 95: so other bytes, other pixels, and rarely a
near-duplicate; how many pairs are found is told. Repeats of one photograph stay in one part (`group_pattern`), or else
the accuracies would be those of remembering; they still are of fewer photographs than they seem to be. Making the
folder is not counted.

Ours: catalogue (every file decoded, hashed and measured, near-duplicates found), clean, split, features of the frozen
EfficientNet-Lite0 with a probe, lite0-dense256 on the same features, both evaluated on validation and test, and the
report, whose size is told.
`--check` adds the checks for odd images and wrong labels.

With `--keras` the deck's own way on the same folder: catalogue with Pillow (headers only), clean with Pillow, split,
and mobnet2-dense256, a frozen MobileNetV2 (random weights, which are as fast) trained for 13 epochs from the clean
files with augmentation, mid-sampled, validated after each epoch and tested at the end. That would take hours, so only
some steps of training and of validation are run, and the rest is extrapolated from their median, which the table says.
"""

import argparse
import math
import tempfile
from collections import defaultdict
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
from measuring import run_keras_on, step_cost
from PIL import Image, ImageOps

import linnaeus
from linnaeus.data.catalogue import rename_map
from linnaeus.data.sources import find_sources
from linnaeus.records import PARTS, StageCost
from linnaeus.scale.cores import core_count, map_images

DECK_SIZES = {
    "butterfly": 2112,
    "cat": 1668,
    "chicken": 3098,
    "cow": 1866,
    "dog": 4863,
    "elephant": 1446,
    "horse": 2623,
    "sheep": 1820,
    "spider": 4821,
    "squirrel": 1862,
}
SIZE, BATCH = (300, 225), 32
MODELS = ("lite0-probe", "lite0-dense256")
REPEATS = r"(\d+)-\d+\.jpg$"  # the photograph's number, in the name of each of its repeats
EPOCHS = 13
KERAS_WAY = """
import collections, pathlib, random
from PIL import Image

images, cleaned = pathlib.Path(given["images"]), pathlib.Path(given["clean"])

def catalogue():
    rows = []
    for path in sorted(images.glob("*/*")):
        with Image.open(path) as image:
            rows.append((path, path.parent.name, image.format, image.size, image.mode, len(image.getbands())))
    return rows

def clean(rows):
    for path, category, *_ in rows:
        (cleaned / category).mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            image.convert("RGB").resize((224, 224)).save(cleaned / category / (path.stem + ".jpg"), quality=90)

def split():
    random.seed(5)
    parts = {part: {"paths": [], "labels": []} for part in ("train", "val", "test")}
    for label, category in enumerate(sorted(cleaned.iterdir())):
        paths = sorted(map(str, category.iterdir()))
        random.shuffle(paths)
        ends = [0, round(0.7 * len(paths)), round(0.9 * len(paths)), len(paths)]
        for part, start, end in zip(parts.values(), ends, ends[1:]):
            part["paths"] += paths[start:end]
            part["labels"] += [label] * (end - start)
    return parts

def mid_sampled(table):
    by_label = collections.defaultdict(list)
    for path, label in zip(table["paths"], table["labels"]):
        by_label[label].append(path)
    size = len(table["paths"]) // len(by_label)
    rows = [(path, label) for label, paths in by_label.items() for path in random.choices(paths, k=size)]
    return {"paths": [path for path, _ in rows], "labels": [label for _, label in rows]}

marks = [time.perf_counter()]
rows = catalogue()
marks.append(time.perf_counter())
clean(rows)
marks.append(time.perf_counter())
parts = split()
train = mid_sampled(parts["train"])
marks.append(time.perf_counter())

backbone = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(224, 224, 3))
backbone.trainable = False
model = keras.Sequential([
    backbone,
    keras.layers.GlobalAveragePooling2D(),
    keras.layers.Dense(256, activation="relu"),
    keras.layers.Dense(max(train["labels"]) + 1, activation="softmax"),
])
model.compile(keras.optimizers.Adam(0.0005), "sparse_categorical_crossentropy", metrics=["accuracy"])
preprocess, clock = keras.applications.mobilenet_v2.preprocess_input, Clock()
some = batches(train, augment=True, endless=True, preprocess=preprocess)
model.fit(some, steps_per_epoch=given["steps"], verbose=0, callbacks=[clock])
some = batches(parts["val"], endless=True, preprocess=preprocess)
model.evaluate(some, steps=given["steps"], verbose=0, callbacks=[clock])
print(json.dumps({
    "stages": [end - start for start, end in zip(marks, marks[1:])],
    "training": clock.steps,
    "judging": clock.judged,
    "counts": [len(table["paths"]) for table in (train, parts["val"], parts["test"])],
}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="IMAGES", type=Path)
    parser.add_argument("--rename")
    number = parser.add_mutually_exclusive_group()
    number.add_argument("--images", type=int, default=sum(DECK_SIZES.values()))
    number.add_argument("--times", type=int)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--keras", action="store_true")
    parser.add_argument("--steps", type=int, default=60, help="of Keras, from which the rest is extrapolated")
    parser.add_argument("--warm-up", type=int, default=10)
    options = parser.parse_args()
    linnaeus.keep_freed_memory()
    with tempfile.TemporaryDirectory() as temporary:
        raw = Path(temporary) / "raw"
        started = perf_counter()
        count = repeated(options.folder, raw, options)
        print(f"{count} pictures made in {perf_counter() - started:.1f} s; {core_count()} cores", flush=True)
        ours = our_way(raw, Path(temporary) / "project", check=options.check)
        theirs = keras_way(raw, Path(temporary) / "clean", options) if options.keras else {}
    show(ours, theirs, count)


def repeated(folder: Path, target: Path, options: argparse.Namespace) -> int:
    """How many pictures were made, by class, of the photographs in a folder."""
    names = rename_map(options.rename)
    by_class = defaultdict(list)
    for number, source in enumerate(find_sources(folder)[0]):
        category = names.get(source.class_folder, source.class_folder)
        by_class[category].append((number, folder / source.relpath))
    sizes = class_sizes({category: len(photographs) for category, photographs in by_class.items()}, options)
    wanted = [
        (*photographs[place % len(photographs)], place // len(photographs), target / category)
        for category, photographs in by_class.items()
        for place in range(sizes[category])
    ]
    with linnaeus.bars("Making pictures", len(wanted)) as advance:
        for _ in map_images(write_repeat, wanted, advance):
            pass
    return len(wanted)


def class_sizes(own: dict[str, int], options: argparse.Namespace) -> dict[str, int]:
    """Pictures of each class, which sum to what was asked for."""
    if options.times is not None:
        return {category: options.times * size for category, size in own.items()}
    sizes = {category: DECK_SIZES[category] for category in own} if own.keys() <= DECK_SIZES.keys() else own
    ends = np.cumsum([*sizes.values()]) / sum(sizes.values()) * options.images
    return dict(zip(sizes, np.diff(ends.round().astype(int), prepend=0).tolist(), strict=True))


def write_repeat(wanted: tuple[int, Path, int, Path]) -> None:
    number, photograph, repeat, folder = wanted
    random = np.random.default_rng((number, repeat))
    with Image.open(photograph) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    shares = random.uniform(0.6, 0.85, 2)
    left, top = random.uniform(0, 1 - shares)
    box = np.array([left, top, left + shares[0], top + shares[1]]) * (upright.size * 2)
    part = upright.resize(SIZE, Image.Resampling.BICUBIC, tuple(box))
    folder.mkdir(parents=True, exist_ok=True)
    changed = ImageOps.mirror(part) if random.random() < 0.5 else part
    changed.save(folder / f"{number:06}-{repeat:03}.jpg", quality=int(random.integers(85, 96)))


def our_way(raw: Path, project: Path, *, check: bool) -> tuple[StageCost, ...]:
    """What each stage took."""
    linnaeus.catalogue(raw, project, progress=linnaeus.bars)
    linnaeus.clean(project, progress=linnaeus.bars)
    if check:
        linnaeus.check(project, progress=linnaeus.bars)
    splits = linnaeus.split(project, linnaeus.SplitRecipe(group_pattern=REPEATS))
    for model in MODELS:
        linnaeus.train(project, model, progress=linnaeus.bars)
    evaluations = linnaeus.evaluate(project, MODELS, final=True, progress=linnaeus.bars)
    page = linnaeus.report(project, progress=linnaeus.bars)
    print(f"the report has {page.stat().st_size / 1e6:.2f} MB")
    opened = linnaeus.open_project(project)
    shares = splits.table["split"].value_counts(normalize=True)
    print(f"{len(pd.read_parquet(opened.duplicates))} pairs of near-duplicates; parts: ", end="")
    print(", ".join(f"{name} {shares[name]:.1%}" for name in PARTS))
    for found in evaluations:
        metrics = found.metrics
        print(f"{found.run.model_id}: validation {metrics['acc_val']:.1%}, test {metrics['accuracy']:.1%}")
    return opened.costs()


def keras_way(raw: Path, clean: Path, options: argparse.Namespace) -> dict[str, float]:
    """Seconds of each stage of the deck's way; the names of those that are extrapolated say so."""
    steps = options.steps + options.warm_up
    given = {"images": str(raw), "clean": str(clean), "batch": BATCH, "steps": steps}
    found = run_keras_on(KERAS_WAY, given)
    step, judging = (step_cost(found[kind], options.warm_up)[0] for kind in ("training", "judging"))
    train, val, test = (math.ceil(count / BATCH) for count in found["counts"])
    catalogue, clean_seconds, split = found["stages"]
    return {
        "catalogue": catalogue,
        "clean": clean_seconds,
        "split": split,
        f"{EPOCHS} epochs, extrapolated": EPOCHS * (train * step + val * judging),
        "test, extrapolated": test * judging,
    }


def show(ours: tuple[StageCost, ...], theirs: dict[str, float], count: int) -> None:
    total = sum(cost.seconds for cost in ours)
    print(f"\n{'ours':32}{'seconds':>9}{'share':>8}{'pictures/s':>12}{'peak MiB so far':>17}")
    for cost in ours:
        print(f"{cost.stage:32}{cost.seconds:9.1f}{cost.seconds / total:8.1%}", end="")
        print(f"{count / cost.seconds:12.0f}{cost.peak_memory_mib:17.0f}")
    print(f"{'all':32}{total:9.1f}")
    if theirs:
        whole = sum(theirs.values())
        print(f"\n{'the deck in Keras':32}{'seconds':>9}{'share':>8}")
        for stage, seconds in theirs.items():
            print(f"{stage:32}{seconds:9.1f}{seconds / whole:8.1%}")
        print(f"{'all, extrapolated':32}{whole:9.1f}    {whole / total:.1f} times as long as ours with both models")


if __name__ == "__main__":
    main()
