"""The only place where an image is opened: bytes to pixels, and pixels to the normalised JPEG.

Training, evaluation and prediction all come through here, so that they cannot see different pixels.
"""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from linnaeus.errors import DecodeError
from linnaeus.recipe import CleanRecipe

Pixels = NDArray[np.uint8]

IMAGE_SUFFIXES = frozenset(
    (
        *(".avif", ".bmp", ".gif", ".heic", ".heif", ".ico", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"),
        *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"),
    )
)
MAX_FILE_BYTES = 1 << 30
MAX_PIXELS = 100_000_000  # a larger image is taken for a decompression bomb
WHITE = (255, 255, 255)

ORIENTATION_TAG = 0x0112
# What sets an image upright, by its EXIF orientation. Source: CIPA DC-008 (Exif 2.32), 4.6.4.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class ImageFacts:
    """What a catalogue says of one file: the size in pixels as stored (before any EXIF rotation), Pillow's mode and
    its number of channels, the file's bytes and their SHA-256."""

    width: int
    height: int
    mode: str
    channels: int
    bytes: int
    sha256: str


def read_bytes(path: Path) -> bytes:
    """A file's bytes. Raises DecodeError for an empty, oversized or unreadable file."""
    try:
        size = path.stat().st_size
        if size == 0:
            raise DecodeError("empty file")
        if size > MAX_FILE_BYTES:
            raise DecodeError("file too large", f"{size / 2**30:.1f} GiB, at most {MAX_FILE_BYTES / 2**30:.0f}")
        return path.read_bytes()
    except OSError as error:
        raise DecodeError("cannot be opened", error.strerror or str(error)) from None


def open_image(content: bytes, suffix: str = "") -> Image.Image:
    """The first frame of an encoded image, decoded whole, in the mode it is stored in.

    `suffix` (the file's, such as ".jpg") only tells a broken image from a file that is none.
    Raises DecodeError.
    """
    _allow_heif(suffix)
    try:
        image = Image.open(io.BytesIO(content))
        if image.width * image.height > MAX_PIXELS:
            raise DecodeError("too many pixels", f"{image.width} x {image.height}, at most {MAX_PIXELS:,}")
        image.load()
    except UnidentifiedImageError:
        if suffix.lower() in IMAGE_SUFFIXES:
            raise DecodeError("unreadable image", "its content is no known image format") from None
        raise DecodeError("not an image") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DecodeError("too many pixels", str(error)) from None
    except MemoryError:
        raise DecodeError("unreadable image", "not enough memory to decode it") from None
    except DecodeError:
        raise
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more
        raise DecodeError("unreadable image", _first_line(error)) from None
    return image


def inspect(path: Path) -> ImageFacts:
    """The facts of one image file, which is decoded whole so that a truncated one is found. Raises DecodeError."""
    content = read_bytes(path)
    image = open_image(content, path.suffix)
    digest = hashlib.sha256(content).hexdigest()
    return ImageFacts(image.width, image.height, image.mode, len(image.getbands()), len(content), digest)


def upright_rgb(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF orientation says, over white where it is transparent, in 8-bit RGB."""
    turn = TURNS.get(_orientation(image))
    if image.mode.startswith("I") or image.mode == "F":
        image = _eight_bit(image)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        backdrop = Image.new("RGBA", rgba.size, (*WHITE, 255))
        image = Image.alpha_composite(backdrop, rgba)
    upright = image.convert("RGB")
    return upright if turn is None else upright.transpose(turn)


def fit_square(image: Image.Image, recipe: CleanRecipe) -> Image.Image:
    """The image as a square with `recipe.size` pixels a side, bicubic."""
    square = (recipe.size, recipe.size)
    if recipe.fit == "crop":
        return ImageOps.fit(image, square, Image.Resampling.BICUBIC)
    if recipe.fit == "pad":
        return ImageOps.pad(image, square, Image.Resampling.BICUBIC, color=WHITE)
    return image.resize(square, Image.Resampling.BICUBIC)


def normalised_jpeg(content: bytes, recipe: CleanRecipe, suffix: str = "") -> bytes:
    """An encoded image of any kind as the normalised RGB JPEG that models are trained on. Raises DecodeError."""
    square = fit_square(upright_rgb(open_image(content, suffix)), recipe)
    buffer = io.BytesIO()
    square.save(buffer, "JPEG", quality=recipe.quality)
    return buffer.getvalue()


def rgb_pixels(content: bytes) -> Pixels:
    """The RGB pixels of an encoded image, (height, width, 3) uint8. Raises DecodeError."""
    return np.asarray(upright_rgb(open_image(content)))


def thumbnail_jpeg(path: Path, side: int) -> bytes:
    """A small upright JPEG of an image file, at most `side` pixels a side. Raises DecodeError."""
    image = upright_rgb(open_image(read_bytes(path), path.suffix))
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def _eight_bit(image: Image.Image) -> Image.Image:
    """A 16-bit, 32-bit or floating grey image scaled to 8 bits, never clipped to white."""
    values: NDArray[Any] = np.asarray(image, dtype=np.float64)
    is_known = np.isfinite(values)
    transparent = image.info.get("transparency")
    if image.mode.startswith("I;16") or (image.mode == "I" and values.min() >= 0 and values.max() < 65536):
        scaled = values / 257
    else:
        low, high = (values[is_known].min(), values[is_known].max()) if is_known.any() else (0.0, 0.0)
        scaled = (np.where(is_known, values, low) - low) * (255 / (high - low) if high > low else 0)
    grey = Image.fromarray(scaled.round().astype(np.uint8))
    if isinstance(transparent, int):
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation; 1, upright, where there is none or where the EXIF data are damaged."""
    try:
        return int(image.getexif().get(ORIENTATION_TAG, 1))
    except Exception:  # damaged EXIF data raise struct.error, TypeError, SyntaxError and more
        return 1


def _allow_heif(suffix: str) -> None:
    if suffix.lower() not in {".heic", ".heif"}:
        return
    try:
        import pillow_heif
    except ImportError:
        raise DecodeError("HEIC support is not installed", "pip install 'linnaeus[heif]'") from None
    pillow_heif.register_heif_opener()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
