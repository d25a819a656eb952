"""The normalised copy: every image as an RGB square JPEG, in a folder of its own."""

import unicodedata
from collections import Counter
from functools import partial
from hashlib import sha256
from pathlib import Path, PurePosixPath

import pandas as pd

from linnaeus.data.catalogue import Catalogue, catalogue_sources
from linnaeus.data.decode import normalised_jpeg, read_bytes
from linnaeus.data.sources import Source
from linnaeus.errors import DecodeError
from linnaeus.progress import Progress, silent
from linnaeus.recipe import CleanRecipe
from linnaeus.records import Exclusion
from linnaeus.scale.cores import map_images


def clean_images(
    table: pd.DataFrame, images: Path, target: Path, recipe: CleanRecipe, progress: Progress = silent
) -> list[Exclusion]:
    """Write `target`/class/name.jpg for every row of a catalogue; what could not be read any more comes back.

    `images` is only read. The class folder is the row's category, the name the source's, kept apart by
    `clean_relpaths` where two would meet.
    """
    jobs = [*zip(table["relpath"], clean_relpaths(table), strict=True)]
    for folder in {(target / relpath).parent for _, relpath in jobs}:
        folder.mkdir(parents=True, exist_ok=True)
    with progress("Cleaning images", len(jobs)) as advance:
        outcomes = map_images(partial(_clean_one, images, target, recipe), jobs, advance)
        return [outcome for outcome in outcomes if outcome is not None]


def clean_catalogue(table: pd.DataFrame, target: Path, progress: Progress = silent) -> Catalogue:
    """The catalogue of a clean copy, sorted by path; `source` is the path of the image that each was made from."""
    pairs = sorted(zip(clean_relpaths(table), table["relpath"], table["category"], strict=True))
    present = [pair for pair in pairs if (target / pair[0]).is_file()]
    sources = [Source(relpath, category, None) for relpath, _, category in present]
    found = catalogue_sources(target, sources, [], {}, progress)
    images = found.images.assign(source=found.images["relpath"].map({clean: source for clean, source, _ in present}))
    if "given_split" in table:
        given = table.set_index("relpath")["given_split"]
        images["given_split"] = images["source"].map(given)
    return Catalogue(images, found.excluded)


def clean_relpaths(table: pd.DataFrame) -> list[str]:
    """Where each row's clean copy goes: `category/folders below the class/name.jpg`.

    Names that would meet (a.png and a.jpg, or two class folders renamed to one class) get a few digits of the hash
    of their source path. They also count as meeting where they differ in case or Unicode form only, as on macOS.
    """
    class_depth = 2 if "given_split" in table else 1
    pairs = zip(table["relpath"], table["category"], strict=True)
    plain = [_plain_relpath(relpath, category, class_depth) for relpath, category in pairs]
    uses = Counter(_folded(relpath) for relpath in plain)
    uses.update({_folded(str(folder)) for relpath in plain for folder in PurePosixPath(relpath).parents})
    return [
        _told_apart(relpath, source) if uses[_folded(relpath)] > 1 else relpath
        for relpath, source in zip(plain, table["relpath"], strict=True)
    ]


def _told_apart(relpath: str, source: str) -> str:
    """The path with digits of its source's hash; a long name is cut, since file systems allow 255 bytes."""
    path = PurePosixPath(relpath)
    stem = path.stem.encode()[:240].decode("utf-8", "ignore")
    return str(path.with_name(f"{stem}-{sha256(source.encode()).hexdigest()[:8]}.jpg"))


def _plain_relpath(relpath: str, category: str, class_depth: int) -> str:
    source = PurePosixPath(relpath)
    return str(PurePosixPath(category, *source.parts[class_depth:-1], f"{source.stem}.jpg"))


def _folded(relpath: str) -> str:
    return unicodedata.normalize("NFC", relpath).casefold()


def _clean_one(images: Path, target: Path, recipe: CleanRecipe, job: tuple[str, str]) -> Exclusion | None:
    source, relpath = job
    path = images / source
    try:
        jpeg = normalised_jpeg(read_bytes(path), recipe, path.suffix)
    except DecodeError as error:
        return Exclusion(source, error.reason, error.detail)
    (target / relpath).write_bytes(jpeg)
    return None
