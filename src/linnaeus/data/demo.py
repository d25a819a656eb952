"""A small class-folder data set of real images, with the kinds of mess that real folders have."""

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
SIDE = 96
UPSIDE_DOWN = 3  # the EXIF orientation of a camera held upside down
ORIENTATION = 0x0112


def write_demo_images(folder: Path, images_per_class: int = 60, seed: int = 0) -> dict[str, int]:
    """Write scikit-learn's handwritten digits (UCI, 8 x 8 grey) enlarged to 96 pixels, a folder a digit, with mess.

    Returns how many of each kind of mess there are. The images are real handwriting; the mess is planted: alpha,
    grey, CMYK, palette, a rotated EXIF, a truncated file, a text file, an empty class, duplicates and wrong labels.
    """
    digits = load_digits()
    random = np.random.default_rng(seed)
    for digit, name in enumerate(NAMES):
        (folder / name).mkdir(parents=True, exist_ok=True)
        rows = random.permutation(np.flatnonzero(digits.target == digit))[:images_per_class]
        for row in rows:
            _enlarged(digits.images[row]).save(folder / name / f"{row:04}.png")
    return _plant_mess(folder)


def _enlarged(image: np.ndarray) -> Image.Image:
    """Dark ink on white paper, RGB."""
    grey = Image.fromarray((255 - image * (255 / 16)).astype(np.uint8))
    return grey.resize((SIDE, SIDE), Image.Resampling.BICUBIC).convert("RGB")


def _plant_mess(folder: Path) -> dict[str, int]:
    first = {name: sorted((folder / name).glob("*.png")) for name in NAMES}
    _resave(first["zero"][0], "RGBA")
    _resave(first["one"][0], "L")
    _resave(first["two"][0], "P")
    cmyk = first["three"][0]
    Image.open(cmyk).convert("CMYK").save(cmyk.with_suffix(".jpg"), quality=95)
    cmyk.unlink()
    _turn_by_exif(first["four"][0])
    whole = first["five"][0]
    whole.with_name("broken.png").write_bytes(whole.read_bytes()[:400])
    (folder / "six" / "notes.txt").write_text("Written with a blue pen.\n", encoding="utf-8")
    (folder / "ten").mkdir(exist_ok=True)
    (folder / "seven" / ".hidden.png").write_bytes(first["seven"][0].read_bytes())
    duplicates = [*first["seven"][:3], first["eight"][0]]
    for path in duplicates:
        path.with_name(f"copy of {path.name}").write_bytes(path.read_bytes())
    wrong = [(first["one"][-1], "seven"), (first["eight"][-1], "three"), (first["nine"][-1], "four")]
    for path, other in wrong:
        path.rename(folder / other / path.name)
    kinds = ["alpha", "grey", "palette", "CMYK", "rotated", "truncated", "text", "hidden"]
    return dict.fromkeys(kinds, 1) | {
        "empty class": 1,
        "duplicates": len(duplicates),
        "wrong labels": len(wrong),
    }


def _resave(path: Path, mode: str) -> None:
    Image.open(path).convert(mode).save(path)


def _turn_by_exif(path: Path) -> None:
    """Replace an image by a JPEG stored upside down, with the EXIF tag that sets it upright."""
    image = Image.open(path).rotate(180)
    exif = Image.Exif()
    exif[ORIENTATION] = UPSIDE_DOWN
    image.save(path.with_suffix(".jpg"), quality=95, exif=exif)
    path.unlink()
