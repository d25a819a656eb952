"""Near-duplicates: recall by kind of copy and precision on photographs, and how finding close hashes scales.

    python benchmarks/duplicates.py IMAGES [--most-hashes 1000000]

For each kind every photograph gets a copy of that kind, JPEG again, and both are searched together. A pair is right
where its photographs are the same, or near-duplicates among the photographs themselves; those are printed, to be looked
at.
Where imagededup is installed (pip install imagededup), its PHash at its default threshold of 10 bits runs on the same.
"""

import argparse
import hashlib
import io
import logging
import resource
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

from linnaeus.data.duplicates import duplicate_pairs, group_numbers
from linnaeus.data.hamming import MOST_PARTNERS, close_pairs
from linnaeus.data.perceptual import hash_columns
from linnaeus.data.sources import find_sources
from linnaeus.settings import DuplicateRecipe

THUMBNAIL_SIDE = 128
BLOCK = 64


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


def half_size(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC)


def watermarked(image: Image.Image) -> Image.Image:
    layer = Image.new("RGBA", image.size)
    font = ImageFont.load_default(size=image.height * 0.11)
    ImageDraw.Draw(layer).text(
        (image.width * 0.45, image.height * 0.82), "(c) PHOTO", fill=(255, 255, 255, 150), font=font
    )
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


def cropped(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    width, height = image.size
    return image.crop(
        (round(width * left), round(height * top), round(width * (1 - right)), round(height * (1 - bottom)))
    )


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG 60": lambda image: jpeg(image, 60),
    "JPEG 30": lambda image: jpeg(image, 30),
    "half size": half_size,
    "brighter by 20 %": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "darker by 20 %": lambda image: ImageEnhance.Brightness(image).enhance(0.8),
    "watermark": watermarked,
    "mirrored": ImageOps.mirror,
    "5 % off each side": lambda image: cropped(image, 0.05, 0.05, 0.05, 0.05),
    "5 % off the left": lambda image: cropped(image, 0.05, 0, 0, 0),
    "5 % off the bottom": lambda image: cropped(image, 0, 0, 0, 0.05),
    "3 % off each side": lambda image: cropped(image, 0.03, 0.03, 0.03, 0.03),
    "8 % off each side": lambda image: cropped(image, 0.08, 0.08, 0.08, 0.08),
}


@dataclass(frozen=True)
class Pictures:
    """Hashes and small grey copies, a row a picture; `others` are imagededup's hashes by name, if it is installed."""

    table: pd.DataFrame
    lumas: dict[str, np.ndarray]
    others: dict[str, str]

    def __add__(self, more: "Pictures") -> "Pictures":
        table = pd.concat([self.table, more.table], ignore_index=True)
        return Pictures(table, self.lumas | more.lumas, self.others | more.others)


def prepare(paths: list[Path], name: str, change: Callable[[Image.Image], Image.Image], other: object) -> Pictures:
    tables, lumas, others = [], {}, {}
    for start in range(0, len(paths), BLOCK):
        greys, rows = [], []
        for number, path in enumerate(paths[start : start + BLOCK], start):
            relpath = f"{number}/{name}"
            image = change(Image.open(path).convert("RGB"))
            grey = image.convert("L")
            digest = hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()
            rows.append({"relpath": relpath, "sha256": digest, "pixels_sha256": digest})
            greys.append(np.asarray(grey))
            if other is not None:
                others[relpath] = other.encode_image(image_array=np.asarray(image))
            grey.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
            lumas[relpath] = np.asarray(grey)
        tables.append(pd.DataFrame(rows).assign(**hash_columns(greys)))
    return Pictures(pd.concat(tables, ignore_index=True), lumas, others)


def score(pairs: pd.DataFrame, names: pd.Series, truth: np.ndarray) -> tuple[float, int, int]:
    """The share of copies that are in their photograph's group, the number of pairs, and of those that are wrong."""
    groups = pd.Series(group_numbers(pairs, names), index=names)
    count = len(truth)
    recall = float((groups.to_numpy()[:count] == groups.to_numpy()[count:]).mean())
    first, second = (pairs[side].str.partition("/")[0].astype(int).to_numpy() for side in ("first", "second"))
    return recall, len(pairs), int((truth[first] != truth[second]).sum())


def pairs_of_imagededup(other: object, hashes: dict[str, str]) -> pd.DataFrame:
    found = other.find_duplicates(encoding_map=hashes, max_distance_threshold=10, num_enc_workers=0, num_dist_workers=0)
    rows = {(min(name, twin), max(name, twin)) for name, twins in found.items() for twin in twins}
    return pd.DataFrame(sorted(rows), columns=["first", "second"], dtype=str)


def photographs(folder: Path) -> None:
    other = None
    if find_spec("imagededup"):
        from imagededup.methods import PHash

        logging.disable(logging.INFO)
        other = PHash(verbose=False)
    else:
        print("imagededup is not installed: no comparison (pip install imagededup)")
    paths = [folder / source.relpath for source in find_sources(folder)[0]]
    recipe = DuplicateRecipe()
    originals = prepare(paths, "original", lambda image: image, other)
    started = perf_counter()
    own = duplicate_pairs(originals.table, lambda name: originals.lumas[name], recipe)
    print(f"{len(paths)} photographs, {len(own)} pairs among them, {perf_counter() - started:.1f} s; {recipe}\n")
    for pair in own.itertuples():
        first, second = (paths[int(name.partition("/")[0])].relative_to(folder) for name in (pair.first, pair.second))
        print(f"  {pair.kind:11} {pair.distance:3} bits {pair.similarity:6.3f}  {first}  {second}")
    truth = group_numbers(own, originals.table["relpath"])
    print(f"\n{'copy':20} {'recall':>7} {'pairs':>6} {'wrong':>6} {'seconds':>8}    imagededup: recall, pairs, wrong")
    for name, change in COPIES.items():
        both = originals + prepare(paths, name, lambda image, change=change: jpeg(change(image), 90), other)
        started = perf_counter()
        pairs = duplicate_pairs(both.table, both.lumas.__getitem__, recipe)
        seconds = perf_counter() - started
        recall, count, wrong = score(pairs, both.table["relpath"], truth)
        line = f"{name:20} {recall:7.4f} {count:6} {wrong:6} {seconds:8.1f}"
        if other is not None:
            theirs = score(pairs_of_imagededup(other, both.others), both.table["relpath"], truth)
            line += "    {:7.4f} {:6} {:6}".format(*theirs)
        print(line, flush=True)


def scaling(most: int, radius: int, seed: int = 0) -> None:
    print(f"\n{'images':>9} {'seconds':>8} {'ratio':>6} {'pairs':>9} {'planted':>8} {'found':>7} {'peak MiB':>9}")
    before = 0.0
    for count in [number for number in (10_000, 100_000, 1_000_000) if number <= most]:
        hashes, planted = synthetic(count, radius, seed)
        started = perf_counter()
        pairs = close_pairs(hashes, radius, count)
        seconds = perf_counter() - started
        found = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
        recall = sum(pair in found for pair in planted) / len(planted)
        ratio = f"{seconds / before:6.1f}" if before else f"{'':6}"
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{count:9} {seconds:8.1f} {ratio} {len(found):9} {len(planted):8} {recall:7.4f} {peak:9.0f}", flush=True)
        before = seconds


def synthetic(count: int, radius: int, seed: int) -> tuple[np.ndarray, set[tuple[int, int]]]:
    """Three hashes an image: random ones, 100 pairs at each distance up to the radius, 1 % the same, 1 % nearly so."""
    generator = np.random.default_rng(seed)
    hashes = generator.integers(0, 2**64, 3 * count, dtype=np.uint64)
    planted = set()
    for place in range(100 * (radius + 1)):
        hashes[2 * place + 1] = hashes[2 * place] ^ changes(generator, place // 100)
        planted.add((2 * place, 2 * place + 1))
    block = count // 100
    hashes[count - 2 * block : count] = hashes[count - 1]
    for place in range(count - block, count):
        hashes[place] ^= changes(generator, 2)
    return hashes, planted


def changes(generator: np.random.Generator, bits: int) -> np.uint64:
    return np.uint64(sum(1 << int(bit) for bit in generator.choice(64, bits, replace=False)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--most-hashes", type=int, default=1_000_000)
    parser.add_argument("--radius", type=int, default=DuplicateRecipe().radius, help="of the scaling table, bits")
    parser.add_argument("--no-photographs", action="store_true", help="the scaling table alone")
    options = parser.parse_args()
    if not options.no_photographs:
        photographs(options.images)
    print(f"\nHashes with at most {MOST_PARTNERS} partners each:")
    scaling(options.most_hashes, options.radius)


if __name__ == "__main__":
    main()
