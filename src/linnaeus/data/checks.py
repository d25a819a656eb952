"""The checks that images are held against: each a line in a table, with its score and its yes or no.

A score lies between 0 (as bad as can be) and 1, and an image has the oddity where its score is below 0.5, the value
that the score has at the check's threshold. So thresholds keep their own unit, and scores of all checks compare.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from linnaeus.settings import CheckRecipe

Scores = NDArray[np.float64]
ODD_BELOW = 0.5

# File name endings by Pillow's name of the content. What is not here is never called wrong.
ENDINGS = {
    "AVIF": {"avif", "avifs"},
    "BMP": {"bmp", "dib"},
    "GIF": {"gif"},
    "ICO": {"ico"},
    "JPEG": {"jpg", "jpeg", "jpe", "jfif"},
    "JPEG2000": {"jp2", "j2k", "jpc", "jpf", "jpx", "j2c"},
    "MPO": {"mpo", "jpg", "jpeg"},
    "PNG": {"png", "apng"},
    "PPM": {"ppm", "pgm", "pbm", "pnm", "pfm"},
    "TGA": {"tga", "icb", "vda", "vst"},
    "TIFF": {"tif", "tiff"},
    "WEBP": {"webp"},
    "HEIF": {"heic", "heif", "hif"},
}


@dataclass(frozen=True)
class Check:
    """One check of a catalogue's images.

    name: of its columns, `<name>_score` and `is_<name>`. says: what an image that has the oddity is, for a reader.
    is_harm: whether it may harm a classifier; the others are converted well, and only worth knowing.
    """

    name: str
    says: str
    score: Callable[[pd.DataFrame, CheckRecipe], Scores]
    is_harm: bool = True


def least(values: pd.Series, threshold: float) -> Scores:
    """The score of values that should be at least `threshold`; 0 at 0, 0.5 at the threshold."""
    found = values.to_numpy(dtype=float)
    scores: Scores = found / (found + threshold)
    return scores


def most(values: pd.Series, threshold: float) -> Scores:
    """The score of values that should be at most `threshold`; 1 at 0, 0.5 at the threshold."""
    return 1 - least(values, threshold)


def _no(is_odd: pd.Series) -> Scores:
    return 1 - is_odd.to_numpy(dtype=float)


def _aspect(images: pd.DataFrame, recipe: CheckRecipe) -> Scores:
    return most(images["aspect"].where(images["aspect"] >= 1, 1 / images["aspect"]), recipe.aspect)


def _odd_size(images: pd.DataFrame, recipe: CheckRecipe) -> Scores:
    """How many times larger or smaller a side (the root of the area) is than the set's median."""
    side = (images["width"] * images["height"]).astype(float) ** 0.5
    ratio = side / side.median()
    return most(ratio.where(ratio >= 1, 1 / ratio), recipe.size)


def _grey_among_colour(images: pd.DataFrame, recipe: CheckRecipe) -> Scores:
    scores = least(images["colourfulness"], recipe.grey)
    is_colour_set = np.median(scores) >= ODD_BELOW
    return scores if is_colour_set else np.ones_like(scores)


def _wrong_extension(images: pd.DataFrame, recipe: CheckRecipe) -> Scores:
    pairs = zip(images["content_format"], images["format"], strict=True)
    return np.array([float(ending in ENDINGS.get(kind, {ending})) for kind, ending in pairs])


CHECKS = (
    Check("dark", "so dark that little can be seen", lambda t, r: least(t["luma_p95"], r.dark)),
    Check("bright", "so bright that little can be seen", lambda t, r: least(1 - t["luma_p5"], 1 - r.bright)),
    Check("blurry", "out of focus, or enlarged from something small", lambda t, r: least(t["sharpness"], r.blurry)),
    Check("low_information", "nearly empty", lambda t, r: least(t["entropy"], r.information)),
    Check("grey_among_colour", "grey, while most of the set is in colour", _grey_among_colour),
    Check("extreme_aspect", "very long or very tall, and squeezed when it is made a square", _aspect),
    Check("odd_size", "of a size far from the rest of the set", _odd_size),
    Check("wrong_extension", "of another format than its name says", _wrong_extension, is_harm=False),
    Check("animated", "an animation or several pages, of which the first is used", lambda t, r: _no(t["frames"] > 1)),
    Check("sixteen_bit", "of more than 8 bits a channel", lambda t, r: _no(t["bit_depth"] > 8), is_harm=False),
    Check("cmyk", "CMYK, made for print", lambda t, r: _no(t["mode"] == "CMYK"), is_harm=False),
    Check(
        "palette_transparency",
        "a palette image with transparency; laid over white",
        lambda t, r: _no(t["has_transparency"] & t["mode"].eq("P")),
        is_harm=False,
    ),
    Check("grey_alpha", "grey with transparency; laid over white", lambda t, r: _no(t["mode"].eq("LA")), is_harm=False),
    Check(
        "transparent",
        "partly transparent; laid over white",
        lambda t, r: _no(t["has_transparency"] & ~t["mode"].isin(["P", "LA"])),
        is_harm=False,
    ),
)


def check_images(images: pd.DataFrame, recipe: CheckRecipe) -> pd.DataFrame:
    """relpath and category of every image of a catalogue, then `<name>_score` and `is_<name>` for each of CHECKS."""
    columns: dict[str, object] = {"relpath": images["relpath"], "category": images["category"]}
    for check in CHECKS:
        columns |= scored(check.name, check.score(images, recipe))
    return pd.DataFrame(columns)


def scored(name: str, scores: Scores) -> dict[str, NDArray[np.generic]]:
    """A check's two columns: its score, and whether an image has the oddity."""
    return {f"{name}_score": scores.round(4), f"is_{name}": scores < ODD_BELOW}
