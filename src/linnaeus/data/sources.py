"""Which files of an image folder are whose: class folders, split folders, and everything that is neither."""

import os
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from linnaeus.errors import CatalogueError, MissingExtraError
from linnaeus.records import Exclusion, Part

SPLIT_FOLDERS: dict[str, Part] = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}

RENAMES: dict[str, dict[str, str]] = {
    "animals10": {
        "cane": "dog",
        "cavallo": "horse",
        "elefante": "elephant",
        "farfalla": "butterfly",
        "gallina": "chicken",
        "gatto": "cat",
        "mucca": "cow",
        "pecora": "sheep",
        "ragno": "spider",
        "scoiattolo": "squirrel",
    }
}

KAGGLE_SETS = {"animals10": ("alessiocorrado99/animals10", "raw-img")}

# Unicode's general categories of what breaks a line of a table or a terminal, or is no Unicode: controls, surrogates,
# line and paragraph separators. Invisible joiners and odd spaces, as in emoji and macOS's screenshots, do neither.
UNWRITABLE = frozenset(("Cc", "Cs", "Zl", "Zp"))
MOST_LINKS = 3  # to folders, one within the other; more could multiply a few folders into millions


@dataclass(frozen=True, slots=True)
class Source:
    """A file below a class folder: its path relative to the image folder, its class folder's name, and the split
    folder it was found in, if any."""

    relpath: str
    class_folder: str
    given_split: Part | None


def find_sources(images: Path) -> tuple[list[Source], list[Exclusion]]:
    """Every regular file below a class folder, and every other thing with the reason why it is left out.

    Both are sorted by path. Accepted are `class/...` and `{train,val|valid|validation,test}/class/...`, with any
    folders below a class. Raises CatalogueError where `images` is no folder or mixes the two layouts.
    """
    if not images.is_dir():
        raise CatalogueError(
            f"{images} is no folder; give the folder that holds one sub-folder per class, or the name of a public "
            f"set ({', '.join(KAGGLE_SETS)})"
        )
    if "Cs" in map(unicodedata.category, str(images.resolve())):
        raise CatalogueError(f"the path {str(images)!a} is no Unicode and cannot be written down; rename it")
    exclusions: list[Exclusion] = []
    files = _walk(images, exclusions)
    folders = _folders_in(images)
    has_splits = _has_split_folders(images, folders)
    depth = 2 if has_splits else 1
    sources: list[Source] = []
    for relpath in files:
        parts = relpath.split("/")
        if len(parts) <= depth:
            exclusions.append(Exclusion(relpath, "not in a class folder"))
        else:
            given_split = SPLIT_FOLDERS[parts[0].lower()] if has_splits else None
            sources.append(Source(relpath, parts[depth - 1], given_split))
    exclusions += _empty_classes(images, folders, depth, {source.relpath for source in sources})
    return sources, sorted(exclusions, key=lambda exclusion: exclusion.relpath)


def folder_state(
    images: Path, sources: Sequence[Source], exclusions: Sequence[Exclusion]
) -> list[tuple[str, int, int]]:
    """Path, bytes and time of change (ns) of everything found, by which an unchanged folder is recognised."""
    state = []
    for relpath in sorted([*(s.relpath for s in sources), *(e.relpath for e in exclusions)]):
        try:
            facts = (images / relpath).stat()
            state.append((relpath, facts.st_size, facts.st_mtime_ns))
        except (OSError, ValueError):
            state.append((relpath.encode("utf-8", "backslashreplace").decode(), -1, -1))
    return state


def image_folder(images: str | Path) -> tuple[Path, str | None]:
    """The folder that is meant, downloaded where it is a public set's name, and the names its classes get by default.

    A folder of that name on disk goes before the public set.
    """
    if Path(images).exists() or str(images) not in KAGGLE_SETS:
        return Path(images), None
    return download(str(images)), str(images)


def download(name: str) -> Path:
    """The folder of a public data set, fetched by kagglehub into its cache.

    Raises CatalogueError where the network does not allow it, and MissingExtraError.
    """
    handle, folder = KAGGLE_SETS[name]
    try:
        import kagglehub
    except ImportError:
        raise MissingExtraError(f"downloading {name}", "kaggle") from None
    try:
        return Path(kagglehub.dataset_download(handle)) / folder
    except Exception as error:  # whatever its HTTP client raises
        reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise CatalogueError(
            f"{name} could not be downloaded ({reason}). Where the network allows it, fetch "
            f"https://www.kaggle.com/datasets/{handle} in a browser, unpack it, and run: linnaeus run {folder} "
            f"--rename {name}. To see the whole job without any data: linnaeus demo"
        ) from None


def _walk(images: Path, exclusions: list[Exclusion]) -> list[str]:
    """The relative paths of the regular files below a folder, sorted; whatever else there is goes to `exclusions`.

    Not recursive, since folders can be nested deeper than calls.
    """
    files: list[str] = []
    # Each with what identifies the folders above it, and how many of them are links.
    waiting: list[tuple[str, tuple[tuple[int, int], ...], int]] = [("", (), 0)]
    while waiting:
        prefix, above, links = waiting.pop()
        try:
            facts = (images / prefix).stat()
            entries = [*os.scandir(images / prefix)]
        except OSError as error:
            exclusions.append(Exclusion(prefix, "cannot be opened", error.strerror or str(error)))
            continue
        identity = (facts.st_dev, facts.st_ino)
        if identity in above:
            exclusions.append(Exclusion(prefix, "link that leads back to a folder above it"))
            continue
        if links > MOST_LINKS:
            exclusions.append(Exclusion(prefix, "link within too many links"))
            continue
        for entry in entries:
            relpath = f"{prefix}{entry.name}"
            if not _is_writable(entry.name):
                printable = entry.name.encode("utf-8", "backslashreplace").decode()
                exclusions.append(Exclusion(prefix + repr(printable)[1:-1], "name cannot be written down"))
            elif _is_hidden(entry.name):
                exclusions.append(Exclusion(relpath, "hidden"))
            elif _is(entry.is_dir):
                waiting.append((f"{relpath}/", (*above, identity), links + entry.is_symlink()))
            elif _is(entry.is_file):
                files.append(relpath)
            else:
                exclusions.append(Exclusion(relpath, "not a regular file"))
    return sorted(files, key=lambda relpath: relpath.split("/"))


def _folders_in(folder: Path) -> list[str]:
    """The names of the folders that can hold classes or images; none where it cannot be opened."""
    try:
        entries = [*os.scandir(folder)]
    except OSError:
        return []
    names = [entry.name for entry in entries if _is(entry.is_dir)]
    return sorted(name for name in names if _is_writable(name) and not _is_hidden(name))


def _has_split_folders(images: Path, folders: list[str]) -> bool:
    splits = [name for name in folders if name.lower() in SPLIT_FOLDERS]
    parts = [SPLIT_FOLDERS[name.lower()] for name in splits]
    if "train" not in parts or len(splits) < 2 or not any((images / name).is_dir() for name in splits):
        return False
    if len(parts) > len(set(parts)):
        raise CatalogueError(f"{images} has {' and '.join(splits)}: two folders for one part; keep one of them")
    if others := [name for name in folders if name not in splits]:
        raise CatalogueError(
            f"{images} mixes split folders ({', '.join(splits)}) with others ({', '.join(others[:5])}); "
            "expected either class folders alone, or train, val and test with class folders in each"
        )
    return True


def _empty_classes(images: Path, folders: list[str], depth: int, used: set[str]) -> Iterator[Exclusion]:
    """One exclusion for each class folder that gives no file at all."""
    prefixes = [f"{name}/" for name in folders]
    if depth == 2:
        prefixes = [f"{split}{name}/" for split in prefixes for name in _folders_in(images / split)]
    for prefix in prefixes:
        if not any(relpath.startswith(prefix) for relpath in used):
            yield Exclusion(prefix, "empty class folder")


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in {"Thumbs.db", "desktop.ini", "__MACOSX"}


def _is_writable(name: str) -> bool:
    return name.isprintable() or not any(unicodedata.category(character) in UNWRITABLE for character in name)


def _is(question: Callable[[], bool]) -> bool:
    """The answer about a folder's entry; no where there is none, as of a link that leads to itself."""
    try:
        return question()
    except OSError:
        return False
