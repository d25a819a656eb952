"""One row for every image of a folder, and one for everything that was left out."""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from linnaeus.data.decode import ImageFacts, inspect
from linnaeus.data.sources import RENAMES, Source, find_sources
from linnaeus.errors import CatalogueError, DecodeError, RecipeError
from linnaeus.files import read_json
from linnaeus.progress import Progress, silent
from linnaeus.records import Exclusion
from linnaeus.scale.cores import map_images

COLUMNS = ["relpath", "name", "format", "category", "width", "height", "mode", "channels", "label", "bytes", "sha256"]
EXCLUSION_COLUMNS = ["relpath", "reason", "detail"]


@dataclass(frozen=True)
class Catalogue:
    """A folder's images and what was left out of it, as tables.

    `images`: a row an image, in the order of sorted paths. relpath (from the image folder), name, format (the file
    name's ending, as the deck has it), category (class name), width and height (pixels, as stored), mode (Pillow's),
    channels, label (0 to classes - 1, by sorted class name), bytes, sha256 (of the file); `given_split` as well
    where the folder has train, val and test folders; `source` in a clean copy's catalogue.
    `excluded`: relpath, reason, detail.
    """

    images: pd.DataFrame
    excluded: pd.DataFrame

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

    def duplicates(self) -> pd.DataFrame:
        """The images whose bytes occur more than once, with a group number, sorted by group."""
        repeated = self.images[self.images.duplicated("sha256", keep=False)].copy()
        repeated["group"] = repeated.groupby("sha256", sort=False).ngroup()
        return repeated.sort_values(["group", "relpath"], kind="stable")


def rename_map(wish: str | Path | dict[str, str] | None) -> dict[str, str]:
    """A map from folder name to class name: a built-in one by name, or from a .json or .csv file (two columns).

    Raises RecipeError where there is no such map or it is not readable.
    """
    if wish is None or isinstance(wish, dict):
        return dict(wish or {})
    if str(wish) in RENAMES:
        return RENAMES[str(wish)]
    path = Path(wish)
    try:
        if path.suffix.lower() == ".csv":
            table = pd.read_csv(path, header=None, dtype=str, keep_default_na=False)
            if table.shape[1] != 2:
                raise RecipeError(f"{path}: expected two columns, folder name and class name, not {table.shape[1]}")
            return dict(zip(table[0], table[1], strict=True))
        names = read_json(path)
    except (OSError, ValueError) as error:
        raise RecipeError(
            f"--rename {wish}: neither a built-in map ({', '.join(RENAMES)}) nor a readable .json or .csv: {error}"
        ) from None
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise RecipeError(f'{path}: expected an object such as {{"cane": "dog"}}')
    return names


def catalogue_folder(images: Path, rename: dict[str, str], progress: Progress = silent) -> Catalogue:
    """The catalogue of an image folder; each file is decoded once, on all cores.

    Raises CatalogueError where the folder holds no image, and RecipeError for a class name that is no folder name.
    """
    for folder, category in rename.items():
        check_class_name(category, folder)
    sources, excluded = find_sources(images)
    if rename not in RENAMES.values():  # a built-in map may name more classes than a folder has
        unmatched = rename.keys() - {source.class_folder for source in sources}
        excluded += [Exclusion(f"{folder}/", "renamed, but no class folder of that name") for folder in unmatched]
    return catalogue_sources(images, sources, excluded, rename, progress)


def catalogue_sources(
    images: Path,
    sources: list[Source],
    excluded: list[Exclusion],
    rename: dict[str, str],
    progress: Progress = silent,
) -> Catalogue:
    """The catalogue of known files, in their order, with `excluded` and what proves unreadable left out."""
    with progress("Reading images", len(sources)) as advance:
        outcomes = [*map_images(partial(_row, images, rename), sources, advance)]
    rows = [outcome for outcome in outcomes if not isinstance(outcome, Exclusion)]
    without = {source.class_folder for source in sources} - {row["class_folder"] for row in rows}
    excluded = [
        *excluded,
        *(outcome for outcome in outcomes if isinstance(outcome, Exclusion)),
        *(Exclusion(f"{name}/", "class without a readable image") for name in without),
    ]
    if not rows:
        reasons = ", ".join(sorted({exclusion.reason for exclusion in excluded})) or "it is empty"
        raise CatalogueError(
            f"{images} holds no usable image ({reasons}); expected class folders such as {images.name}/cat/ "
            "with .jpg or .png files"
        )
    return Catalogue(_table(rows), exclusion_table(excluded))


def check_class_name(category: str, folder: str) -> None:
    """Raise RecipeError unless the class name can be a folder's name on every system."""
    if not category.strip() or category in {".", ".."} or any(sign in category for sign in '/\\:*?"<>|\0'):
        raise RecipeError(f"class name {category!r} for {folder!r} cannot be a folder's name; choose another")


def read_catalogue(path: Path) -> pd.DataFrame:
    """Any catalogue table, .csv or .parquet, in its own row order; the user's own ones too.

    It needs `relpath` and `category`; `label` is by sorted class name. Raises CatalogueError.
    """
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
    except (OSError, ValueError) as error:
        raise CatalogueError(f"{path} is no readable table: {error}") from None
    missing = [column for column in ("relpath", "category") if column not in table]
    if missing:
        raise CatalogueError(f"{path} lacks the column {' and '.join(missing)}; it has {', '.join(table.columns)}")
    if table.empty:
        raise CatalogueError(f"{path} has no rows")
    if table["relpath"].isna().any() or table["category"].isna().any():
        raise CatalogueError(f"{path}: a relpath or category is empty")
    table["category"] = table["category"].astype(str)
    return with_labels(table)


def _read_csv(path: Path) -> pd.DataFrame:
    """A CSV whose classes may be called 007, NA or null, which are names here and nothing else."""
    texts = dict.fromkeys(["relpath", "name", "category"], str)
    return pd.read_csv(path, dtype=texts, keep_default_na=False, na_values=[""])


def with_labels(table: pd.DataFrame) -> pd.DataFrame:
    """The table with `label`, the place of its category among the sorted class names."""
    places = {name: place for place, name in enumerate(sorted(table["category"].unique()))}
    return table.assign(label=table["category"].map(places))


def exclusion_table(excluded: list[Exclusion]) -> pd.DataFrame:
    """Exclusions as a table, sorted by path."""
    rows = [asdict(exclusion) for exclusion in sorted(excluded, key=lambda exclusion: exclusion.relpath)]
    return pd.DataFrame(rows, columns=EXCLUSION_COLUMNS, dtype="str")


def _row(images: Path, rename: dict[str, str], source: Source) -> dict[str, object] | Exclusion:
    path = images / source.relpath
    try:
        facts: ImageFacts = inspect(path)
    except DecodeError as error:
        return Exclusion(source.relpath, error.reason, error.detail)
    return {
        "relpath": source.relpath,
        "name": path.name,
        "format": path.suffix.lstrip(".").lower(),
        "category": rename.get(source.class_folder, source.class_folder),
        **asdict(facts),
        "given_split": source.given_split,
        "class_folder": source.class_folder,
    }


def _table(rows: list[dict[str, object]]) -> pd.DataFrame:
    table = with_labels(pd.DataFrame(rows))
    has_splits = table["given_split"].notna().any()
    return table[[*COLUMNS, "given_split"] if has_splits else COLUMNS]
