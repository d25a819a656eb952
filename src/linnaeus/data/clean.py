"""The normalised copy: every image as an RGB square JPEG, in a folder of its own."""

import unicodedata
from collections import Counter
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path, PurePosixPath

import pandas as pd

from linnaeus.data.catalogue import COLUMNS, with_labels
from linnaeus.data.decode import MAX_PIXELS, normalised_jpeg, read_bytes
from linnaeus.errors import DecodeError
from linnaeus.progress import Progress, silent
from linnaeus.records import Exclusion
from linnaeus.scale.cores import map_images
from linnaeus.settings import CleanRecipe

LONGEST_NAME = 255  # bytes, on most file systems
LONGEST_PATH = 512  # bytes below the clean folder; systems allow 1,024 and more, this leaves room for what is above


@dataclass(frozen=True)
class Cleaning:
    """How an image is cleaned: to what, and how many pixels it may have before it is taken for a bomb."""

    recipe: CleanRecipe
    max_pixels: int = MAX_PIXELS


def clean_images(
    table: pd.DataFrame, images: Path, target: Path, how: Cleaning, progress: Progress = silent
) -> tuple[pd.DataFrame, list[Exclusion]]:
    """Write `target`/class/name.jpg for every row of a catalogue.

    Comes back: the catalogue of the copy, sorted by path, where `source` is the image that each was made from; and what
    could not be read any more. `images` is only read. The class folder is the row's category, the name the source's,
    kept apart by `clean_relpaths` where two would meet.
    """
    jobs = sorted(zip(clean_relpaths(table), table["relpath"], table["category"], strict=True))
    for folder in {(target / relpath).parent for relpath, _, _ in jobs}:
        folder.mkdir(parents=True, exist_ok=True)
    with progress("Cleaning images", len(jobs)) as advance:
        outcomes = [*map_images(partial(_clean_one, images, target, how), jobs, advance)]
    rows = [outcome for outcome in outcomes if not isinstance(outcome, Exclusion)]
    cleaned = with_labels(pd.DataFrame(rows, columns=[*COLUMNS, "source"]))
    if "given_split" in table:
        cleaned["given_split"] = cleaned["source"].map(table.set_index("relpath")["given_split"])
    return cleaned, [outcome for outcome in outcomes if isinstance(outcome, Exclusion)]


def clean_relpaths(table: pd.DataFrame) -> list[str]:
    """Where each row's clean copy goes: `category/folders below the class/name.jpg`.

    Names that would meet (a.png and a.jpg, or two class folders renamed to one class) get a few digits of the hash
    of their source path. They also count as meeting where they differ in case or Unicode form only, as on macOS.
    Names that are too long are cut, and get the digits too; paths that are too long lose the folders below the class.
    """
    class_depth = 2 if "given_split" in table else 1
    pairs = zip(table["relpath"], table["category"], strict=True)
    plain = [_plain_relpath(relpath, category, class_depth) for relpath, category in pairs]
    uses = Counter(_folded(relpath) for relpath in plain)
    uses.update({_folded(str(folder)) for relpath in plain for folder in PurePosixPath(relpath).parents})
    return [
        _told_apart(relpath, source) if uses[_folded(relpath)] > 1 or _is_too_long(relpath) else relpath
        for relpath, source in zip(plain, table["relpath"], strict=True)
    ]


def _told_apart(relpath: str, source: str) -> str:
    """The path with digits of its source's hash, and short enough."""
    path = PurePosixPath(relpath)
    folder = path.parts[0] if len(relpath.encode()) > LONGEST_PATH else path.parent
    stem = path.stem.encode()[:240].decode("utf-8", "ignore")
    return str(PurePosixPath(folder, f"{stem}-{sha256(source.encode()).hexdigest()[:8]}.jpg"))


def _is_too_long(relpath: str) -> bool:
    path = relpath.encode()
    return len(path) > LONGEST_PATH or len(path.rpartition(b"/")[2]) > LONGEST_NAME


def _plain_relpath(relpath: str, category: str, class_depth: int) -> str:
    source = PurePosixPath(relpath)
    return str(PurePosixPath(category, *source.parts[class_depth:-1], f"{source.stem}.jpg"))


def _folded(relpath: str) -> str:
    return unicodedata.normalize("NFC", relpath).casefold()


def _clean_one(images: Path, target: Path, how: Cleaning, job: tuple[str, str, str]) -> dict[str, object] | Exclusion:
    relpath, source, category = job
    path = images / source
    try:
        jpeg = normalised_jpeg(read_bytes(path), how.recipe, path.suffix, max_pixels=how.max_pixels)
    except DecodeError as error:
        return Exclusion(source, error.reason, error.detail)
    (target / relpath).write_bytes(jpeg)
    size = how.recipe.size
    facts = {"format": "jpg", "width": size, "height": size, "mode": "RGB", "channels": 3, "bytes": len(jpeg)}
    names = {"relpath": relpath, "name": PurePosixPath(relpath).name, "category": category, "source": source}
    return names | facts | {"sha256": sha256(jpeg).hexdigest()}
