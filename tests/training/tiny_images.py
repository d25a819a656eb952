"""A few small images of noise to train on, and the recipes' models that are quick on them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from linnaeus.data.catalogue import with_labels
from linnaeus.data.split import split_table
from linnaeus.files import file_hash
from linnaeus.training.train import TrainingImages

SCRATCH: dict[str, object] = {"kind": "scratch", "conv_widths": [4], "pool_sizes": [4], "dense_widths": [8]}


def transfer_of(side: int) -> dict[str, object]:
    """A frozen backbone with random weights under a small dense head, for images with so many pixels a side."""
    return FITTED | {"input_size": side, "dense_widths": [8]}


FITTED: dict[str, object] = {"kind": "transfer", "backbone": "test_resnet", "weights": "random"}
# The grey levels from which the classes' pixels are drawn.
APART = {"dark": (20, 100), "light": (150, 230)}


def tiny_images(
    root: Path,
    counts: Mapping[str, int],
    side: int,
    *,
    levels: Mapping[str, tuple[int, int]] = APART,
    keeps_test: bool = False,
) -> TrainingImages:
    """Images of noise, so many of each class, with their splits; unless `keeps_test` the test part's files are deleted,
    so that nothing can read them."""
    folder = root / "clean"
    rows: list[tuple[str, str]] = []
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = np.random.default_rng(number).integers(*levels[name], (side, side, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
            rows.append((f"{name}/{number}.png", name))
    splits = split_table(with_labels(pd.DataFrame(rows, columns=["relpath", "category"])))
    hashes = pd.Series({relpath: file_hash(folder / relpath) for relpath, _ in rows})
    if not keeps_test:
        for relpath in splits.test["relpath"]:
            (folder / relpath).unlink()
    return TrainingImages(splits, folder, hashes, root / "cache", root / "pixels")
