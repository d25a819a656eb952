"""What the project knows of images in a part: which belong together, and by what they can be sliced."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from linnaeus.data.catalogue import read_catalogue
from linnaeus.data.duplicates import group_numbers
from linnaeus.project import Project
from linnaeus.steps.splitting import as_decided, known_pairs

MEASURED = ("brightness", "contrast", "sharpness", "colourfulness")
STORED = ("content_format", "channels")
# Columns of the splits and of a clean copy's catalogue that say nothing by which images could be sliced.
OF_THE_COPY = {"relpath", "name", "format", "width", "height", "mode", "channels", "label", "bytes", "sha256", "source"}
OF_THE_SPLIT = {"split", "group", "fold", "given_split"}


def independent_groups(project: Project, table: pd.DataFrame) -> NDArray[np.int64]:
    """The group of each image of a table of the splits: those that are near-duplicates of one another, or that the
    split keeps together for another reason, tell one thing and not several."""
    ties = known_pairs(project, table)[["first", "second"]]
    if "group" in table:
        first = table.drop_duplicates("group").set_index("group")["relpath"][table["group"]].to_numpy()
        ties = pd.concat([ties, pd.DataFrame({"first": first, "second": table["relpath"].to_numpy()})])
    return group_numbers(ties, table["relpath"])


def described(project: Project, table: pd.DataFrame) -> pd.DataFrame:
    """By what a part's images can be sliced, a row an image of `table` (rows of the splits).

    category; smaller_side (pixels) and aspect (longer by shorter side) of the original; its brightness, contrast,
    sharpness and colourfulness; content_format, channels; near_duplicate_in_training; and every further column of the
    table that was split.
    """
    own = _split_table(project).set_index("relpath").reindex(table["relpath"]).reset_index()
    columns = {"category": table["category"].to_numpy()}
    if "source" in own:
        raw = read_catalogue(project.catalogue).set_index("relpath").reindex(own["source"])
        columns["smaller_side"] = raw[["width", "height"]].min(axis=1).to_numpy()
        columns["aspect"] = np.maximum(raw["aspect"].to_numpy(), 1 / raw["aspect"].to_numpy())
        columns |= {name: raw[name].to_numpy() for name in (*MEASURED, *STORED)}
    columns["near_duplicate_in_training"] = _has_copy_in_training(project, table)
    further = own.columns.difference([*OF_THE_COPY, *OF_THE_SPLIT, *columns], sort=False)
    return pd.DataFrame(columns | {name: own[name].to_numpy() for name in further})


def _split_table(project: Project) -> pd.DataFrame:
    """The table that was split, as far as it is still there, with `source` where the project knows the originals."""
    cleaned = read_catalogue(project.clean_catalogue)
    own_table = project.stamp("split")["inputs"]["own_table"]
    if own_table is None or not Path(own_table).is_file():
        return cleaned
    own = as_decided(project, read_catalogue(Path(own_table)))
    return own if "source" in own else own.merge(cleaned[["relpath", "source"]], on="relpath", how="left")


def _has_copy_in_training(project: Project, table: pd.DataFrame) -> NDArray[np.bool_]:
    leaks = pd.read_parquet(project.leaks)
    second = leaks.loc[leaks["first_split"].eq("train"), "second"]
    first = leaks.loc[leaks["second_split"].eq("train"), "first"]
    return table["relpath"].isin([*first, *second]).to_numpy()
