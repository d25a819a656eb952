"""A tiny class-folder data set: noise in three colours, and one file that is no image."""

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"amber": (230, 160, 20), "blue": (30, 60, 210), "coral": (250, 120, 100)}


def write_images(folder: Path, per_class: int = 20) -> Path:
    random = np.random.default_rng(1)
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for place in range(per_class):
            noise = random.normal(0, 60, (40, 48, 3))
            pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{place:02}.png")
    (folder / "amber" / "readme.txt").write_text("no image")
    return folder
