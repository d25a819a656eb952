"""Sheets of thumbnails with captions, as one JPEG each."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from linnaeus.data.decode import thumbnail_jpeg
from linnaeus.errors import DecodeError
from linnaeus.files import write_with

SIDE, GAP, LINE = 128, 12, 15  # pixels
COLUMNS = 8
PAPER, INK, SOFT = "#ffffff", "#1f2522", "#59635e"


@dataclass(frozen=True)
class Tile:
    """A thumbnail, a JPEG's bytes or None where it cannot be read any more, and the lines below it."""

    jpeg: bytes | None
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """A heading and the thumbnails below it."""

    heading: str
    tiles: tuple[Tile, ...]


def readable_thumbnail(path: Path, side: int) -> bytes | None:
    """A small JPEG of an image file; None where it cannot be read any more."""
    try:
        return thumbnail_jpeg(path, side)
    except (DecodeError, OSError):
        return None


def save_sheet(rows: Sequence[Row], path: Path) -> None:
    """Write a sheet as a JPEG."""
    write_with(path, lambda partial: draw_sheet(rows).save(partial, "JPEG", quality=88))


def draw_sheet(rows: Sequence[Row]) -> Image.Image:
    """The rows below one another, each of as many lines of thumbnails as it takes."""
    heights = [_height(row) for row in rows]
    sheet = Image.new("RGB", (GAP + COLUMNS * (SIDE + GAP), GAP + sum(heights)), PAPER)
    draw, top = ImageDraw.Draw(sheet), GAP
    for row, height in zip(rows, heights, strict=True):
        draw.text((GAP, top), row.heading, fill=INK, font=ImageFont.load_default(16))
        for place, tile in enumerate(row.tiles):
            line, column = divmod(place, COLUMNS)
            corner = (GAP + column * (SIDE + GAP), top + 2 * LINE + line * _tile_height(row))
            _draw_tile(sheet, draw, tile, corner)
        top += height
    return sheet


def _draw_tile(sheet: Image.Image, draw: ImageDraw.ImageDraw, tile: Tile, corner: tuple[int, int]) -> None:
    left, top = corner
    if tile.jpeg is not None:
        picture = Image.open(io.BytesIO(tile.jpeg)).convert("RGB")
        picture.thumbnail((SIDE, SIDE))
        sheet.paste(picture, (left + (SIDE - picture.width) // 2, top + (SIDE - picture.height) // 2))
    font = ImageFont.load_default(11)
    for place, line in enumerate(tile.lines):
        text = line
        while draw.textlength(text, font=font) > SIDE + GAP // 2:
            text = f"{text[:-2]}…"
        draw.text((left, top + SIDE + 3 + place * LINE), text, fill=SOFT if place else INK, font=font)


def _tile_height(row: Row) -> int:
    return SIDE + GAP + LINE * max((len(tile.lines) for tile in row.tiles), default=0)


def _height(row: Row) -> int:
    lines = -(-len(row.tiles) // COLUMNS)
    return 2 * LINE + lines * _tile_height(row) + GAP
