"""One row for every image of a folder, and one for everything that was left out."""

from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePath, PurePosixPath

import numpy as np
import pandas as pd

from linnaeus.data.decode import MAX_PIXELS
from linnaeus.data.scan import WHOLE_COLUMNS, scan_files
from linnaeus.data.sources import RENAMES, Source, find_sources
from linnaeus.errors import CatalogueError, RecipeError
from linnaeus.files import read_json
from linnaeus.progress import Progress, silent
from linnaeus.records import Exclusion

COLUMNS = ["relpath", "name", "format", "category", "width", "height", "mode", "channels", "label", "bytes", "sha256"]
UNWANTED = ["mtime_ns", "scanned_by", "reason", "detail"]  # columns of a scan that say nothing of an image
PAIR_COLUMNS = ["first", "second", "kind", "distance", "similarity"]
EXCLUSION_COLUMNS = ["relpath", "reason", "detail"]
SUSPECT = r"^/|\.\.|[\\:\x00]"  # in a path that may lead out of its folder, here or on Windows


@dataclass(frozen=True)
class Catalogue:
    """A folder's images and what was left out of it, as tables.

    `images`: a row an image, in the order of sorted paths: the deck's columns (relpath, name, format, category, width,
    height, mode, channels, label), bytes, sha256, and what the scan measured (`docs/catalogue.md` has each column's
    unit and range); `given_split` as well where the folder has train, val and test folders. A clean copy's catalogue
    has the first eleven columns and `source`.
    `excluded`: relpath, reason, detail. `pairs`: of the same or nearly the same image (`data/duplicates.py`).
    """

    images: pd.DataFrame
    excluded: pd.DataFrame
    pairs: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=PAIR_COLUMNS))

    @property
    def classes(self) -> list[str]:
        """The class names; a name's place is its label."""
        return sorted(self.images["category"].unique())

    def by_class(self) -> pd.Series:
        """The number of images of each class, by class name."""
        return self.images.groupby("category").size().rename("count")

    def by_format(self) -> pd.DataFrame:
        """The number of images of each format and number of channels."""
        return self.images.groupby(["format", "channels"]).size().rename("count").reset_index()

    def sizes(self, side: str) -> pd.Series:
        """How often each width or height (`side`) occurs, most frequent first; equal counts by size."""
        counts = self.images.groupby(side).size().rename("count").reset_index()
        ordered = counts.sort_values(["count", side], ascending=[False, True])
        return ordered.set_index(side)["count"]

    def by_reason(self) -> pd.Series:
        """The number of exclusions for each reason, most frequent first."""
        return self.excluded["reason"].value_counts()


def rename_map(wish: str | Path | dict[str, str] | None) -> dict[str, str]:
    """A map from folder name to class name: a built-in one by name, or from a .json or .csv file (two columns).

    Raises RecipeError where there is no such map, where it is not readable, or for a class name that is no folder name.
    """
    if wish is None or isinstance(wish, dict):
        names = dict(wish or {})
    else:
        names = RENAMES[str(wish)] if str(wish) in RENAMES else _read_names(Path(wish))
    for folder, category in names.items():
        check_class_name(category, folder)
    return names


def _read_names(path: Path) -> dict[str, str]:
    try:
        if path.suffix.lower() == ".csv":
            table = pd.read_csv(path, header=None, dtype=str, keep_default_na=False)
            if table.shape[1] != 2:
                raise RecipeError(f"{path}: expected two columns, folder name and class name, not {table.shape[1]}")
            return dict(zip(table[0], table[1], strict=True))
        names = read_json(path)
    except (OSError, ValueError) as error:
        raise RecipeError(
            f"--rename {path}: neither a built-in map ({', '.join(RENAMES)}) nor a readable .json or .csv: {error}"
        ) from None
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise RecipeError(f'{path}: expected an object such as {{"cane": "dog"}}')
    return names


def catalogue_folder(
    images: Path, rename: dict[str, str], *, max_pixels: int = MAX_PIXELS, progress: Progress = silent
) -> Catalogue:
    """The catalogue of an image folder; each file is read and decoded once, on all cores. Raises CatalogueError."""
    sources, excluded = find_sources(images)
    relpaths = [source.relpath for source in sources]
    scanned = scan_files(images, relpaths, scanned_by="", max_pixels=max_pixels, progress=progress)
    return build_catalogue(images, sources, excluded, scanned, rename)


def build_catalogue(
    images: Path, sources: list[Source], excluded: list[Exclusion], scanned: pd.DataFrame, rename: dict[str, str]
) -> Catalogue:
    """The catalogue of files that were found (`find_sources`) and read (`scan_files`, a row for each of `sources`).

    What could not be read, class folders without an image and names in `rename` that no folder has are listed among
    what was left out. Raises CatalogueError where there is no image at all.
    """
    is_read = scanned["reason"].isna()
    read = scanned[is_read].astype(WHOLE_COLUMNS).drop(columns=UNWANTED)
    folders = pd.Series([source.class_folder for source in sources], index=scanned.index, dtype=object)
    failed = scanned.loc[~is_read, ["relpath", "reason", "detail"]].itertuples(index=False)
    without = sorted(set(folders) - set(folders[is_read]))
    excluded = [
        *excluded,
        *(Exclusion(relpath, reason, detail) for relpath, reason, detail in failed),
        *(Exclusion(f"{name}/", "class without a readable image") for name in without),
        *(Exclusion(f"{name}/", "renamed, but no class folder of that name") for name in _unmatched(sources, rename)),
    ]
    if read.empty:
        reasons = ", ".join(sorted({exclusion.reason for exclusion in excluded})) or "it is empty"
        raise CatalogueError(
            f"{images} holds no usable image ({reasons}); expected class folders such as {images.name}/cat/ "
            "with .jpg or .png files"
        )
    paths = [PurePosixPath(relpath) for relpath in read["relpath"]]
    table = read.assign(
        name=[path.name for path in paths],
        format=[path.suffix.lstrip(".").lower() for path in paths],
        category=folders[is_read].map(lambda folder: rename.get(folder, folder)),
    )
    given = pd.Series([source.given_split for source in sources], index=scanned.index, dtype=object)[is_read]
    if given.notna().any():
        table["given_split"] = given
    table = with_labels(table).reset_index(drop=True)
    return Catalogue(table[[*COLUMNS, *table.columns.drop(COLUMNS)]], exclusion_table(excluded))


def _unmatched(sources: list[Source], rename: dict[str, str]) -> list[str]:
    if rename in RENAMES.values():  # a built-in map may name more classes than a folder has
        return []
    return sorted(rename.keys() - {source.class_folder for source in sources})


def check_class_name(category: str, folder: str) -> None:
    """Raise RecipeError unless the class name can be a folder's name on every system."""
    if not category.strip() or category in {".", ".."} or any(sign in category for sign in '/\\:*?"<>|\0'):
        raise RecipeError(f"class name {category!r} for {folder!r} cannot be a folder's name; choose another")


def read_catalogue(path: Path) -> pd.DataFrame:
    """Any catalogue table, .csv or .parquet, in its own row order; the user's own ones too.

    It needs `relpath` and `category`; `label` is by sorted class name. Raises CatalogueError, also for a path that
    leads out of the image folder.
    """
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
        texts = {name: str for name in ("relpath", "category") if name in table}
        is_empty = table[[*texts]].isna().any(axis=None)
        table = table.astype(texts)
    except (OSError, ValueError) as error:
        raise CatalogueError(f"{path} is no readable table: {str(error).strip()}") from None
    missing = [column for column in ("relpath", "category") if column not in table]
    if missing:
        raise CatalogueError(f"{path} lacks the column {' and '.join(missing)}; it has {', '.join(table.columns)}")
    if table.empty:
        raise CatalogueError(f"{path} has no rows")
    if is_empty:
        raise CatalogueError(f"{path}: a relpath or category is empty")
    for place in np.flatnonzero(table["relpath"].str.contains(SUSPECT)):
        relpath = table["relpath"].iloc[place]
        if _leads_out(relpath):
            raise CatalogueError(
                f"{path}, line {place + 2}: {relpath!r} leads out of the image folder; paths are relative to it"
            )
    return with_labels(table)


def _leads_out(relpath: str) -> bool:
    path = PurePath(relpath)
    return bool(path.anchor) or ".." in path.parts or "\0" in relpath


def _read_csv(path: Path) -> pd.DataFrame:
    """A CSV whose classes may be called 007, NA or null, which are names here and nothing else."""
    texts = dict.fromkeys(["relpath", "name", "category"], str)
    table = pd.read_csv(path, dtype=texts, keep_default_na=False, na_values=[""])
    if not isinstance(table.index, pd.RangeIndex):  # pandas has shifted the columns
        raise ValueError("its rows have more cells than its first line")
    return table


def with_labels(table: pd.DataFrame) -> pd.DataFrame:
    """The table with `label`, the place of its category among the sorted class names."""
    places = {name: place for place, name in enumerate(sorted(table["category"].unique()))}
    return table.assign(label=table["category"].map(places))


def exclusion_table(excluded: list[Exclusion]) -> pd.DataFrame:
    """Exclusions as a table, sorted by path."""
    rows = [asdict(exclusion) for exclusion in sorted(excluded, key=lambda exclusion: exclusion.relpath)]
    return pd.DataFrame(rows, columns=EXCLUSION_COLUMNS, dtype="str")
