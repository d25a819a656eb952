"""Pictures that tell of their points: a drawn figure, where its points lie on it, and small pictures of them.

The page keeps the PNG, which is all that paper needs; hover.js adds the rest where there is a pointer, a finger or a
keyboard. hover.html has the markup.
"""

import io
import math
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from PIL import Image, ImageOps

from linnaeus.reporting.pictures import Picture

TILE_QUALITY = 70  # of the atlas's JPEG
NO_TILE = "#dddddd"


@dataclass(frozen=True)
class Hotspot:
    """A point of a picture: shares of its width from the left and of its height from the top, and what it is.

    The label's first line is its headline; `tile` is the number of its picture in the atlas.
    """

    x: float
    y: float
    label: str
    tile: int | None = None


@dataclass(frozen=True)
class Atlas:
    """Small pictures in one: a JPEG of square tiles, row by row, and how many columns and pixels a tile it has."""

    jpeg: bytes
    columns: int
    side: int

    @property
    def uri(self) -> str:
        """The JPEG as a data URI."""
        return f"data:image/jpeg;base64,{b64encode(self.jpeg).decode('ascii')}"


@dataclass(frozen=True)
class HoverPicture:
    """A drawn figure with its hotspots, and their pictures where they have some."""

    picture: Picture
    hotspots: Sequence[Hotspot]
    atlas: Atlas | None = None

    @property
    def rows(self) -> list[list[float | str]]:
        """What the page holds of each hotspot: x, y, label, and the tile where it has one."""
        return [
            [round(spot.x, 4), round(spot.y, 4), spot.label, *([] if spot.tile is None else [spot.tile])]
            for spot in self.hotspots
        ]


def hotspots(
    figure: Figure,
    axes: Axes,
    xs: ArrayLike,
    ys: ArrayLike,
    labels: Sequence[str],
    *,
    tiles: Sequence[int | None] | None = None,
) -> list[Hotspot]:
    """Where the PNG that `png_bytes` drew of the figure, just before, shows these points of the axes; without those
    outside of its drawing. (Fonts and layout are settled by drawing.)

    `xs`, `ys`: in the units of the axes, as many as labels and tiles.
    """
    width, height = figure.canvas.get_width_height()
    pixels = axes.transData.transform(np.column_stack([np.asarray(xs, float), np.asarray(ys, float)]))
    low, high = axes.bbox.get_points()
    is_inside = ((pixels >= low) & (pixels <= high)).all(axis=1)  # false where a logarithm is not finite
    spots = zip(pixels.tolist(), labels, tiles or [None] * len(labels), is_inside, strict=True)
    # matplotlib counts from the bottom.
    return [Hotspot(x / width, 1 - y / height, label, tile) for (x, y), label, tile, inside in spots if inside]


def atlas(thumbnails: Sequence[bytes | None], *, side: int = 64) -> Atlas:
    """The small JPEGs as square tiles of `side` pixels, cropped at their middle; an absent one is a grey tile.

    A hotspot's `tile` is its place in `thumbnails`. A tile takes 1 to 2 KB at 64 pixels.
    """
    columns = max(1, math.ceil(math.sqrt(len(thumbnails))))
    rows = max(1, math.ceil(len(thumbnails) / columns))
    sheet = Image.new("RGB", (columns * side, rows * side), NO_TILE)
    for place, thumbnail in enumerate(thumbnails):
        if thumbnail is not None:
            with Image.open(io.BytesIO(thumbnail)) as opened:
                tile = ImageOps.fit(opened.convert("RGB"), (side, side))
            sheet.paste(tile, (place % columns * side, place // columns * side))
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=TILE_QUALITY, optimize=True)
    return Atlas(buffer.getvalue(), columns, side)
