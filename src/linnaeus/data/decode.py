"""The only place where an image is opened: bytes to pixels, and pixels to the normalised JPEG.

Training, evaluation and prediction all come through here, so that they cannot see different pixels.
"""

import io
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from linnaeus.data.jpeg import application_segments, has_more_scans
from linnaeus.errors import DecodeError
from linnaeus.settings import MAX_MEGAPIXELS, CleanRecipe

Pixels = NDArray[np.uint8]

IMAGE_SUFFIXES = frozenset(
    (
        *(".avif", ".bmp", ".gif", ".heic", ".heif", ".ico", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"),
        *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"),
    )
)
# By Pillow's names; its other formats are rare, and some are risky: it hands PostScript to an interpreter.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "AVIF", "JPEG2000", "ICO", "HEIF", "TGA")
HEIF_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))
MAX_FILE_BYTES = 1 << 30
MAX_PIXELS = round(MAX_MEGAPIXELS * 1e6)
WHITE = (255, 255, 255)
# Not blocking, since opening a pipe would wait for a writer.
READ_ONLY = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
ALIASING = 1.5  # shrinking by more than this needs the mean of all pixels (`docs/log.md`)

MOST_SCANS = 100  # of a JPEG; progressive ones have about ten
MOST_FRAMES = 2**31 - 1  # what a damaged file claims need not fit the catalogue's column

ORIENTATION_TAG = 0x0112
BITS_PER_SAMPLE_TAG = 258
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
class Header:
    """What an encoded image says of itself.

    content_format: Pillow's name of the format, by content. mode: Pillow's. width, height: pixels, as stored (before
    any EXIF rotation). orientation: of EXIF, 1 (upright) to 8. bit_depth: bits of a channel as stored. frames: more
    than 1 for an animation or several pages.
    """

    content_format: str
    mode: str
    width: int
    height: int
    channels: int
    orientation: int
    bit_depth: int
    frames: int
    has_icc_profile: bool
    has_transparency: bool


def read_file(path: str | Path) -> tuple[bytes, os.stat_result]:
    """A file's bytes and its state. Raises DecodeError for an empty, oversized, unreadable or changing file."""
    try:
        with os.fdopen(os.open(path, READ_ONLY), "rb", 0) as file:
            before = os.fstat(file.fileno())
            _check_size(before)
            content = file.readall()
            after = os.fstat(file.fileno())
    except (OSError, ValueError) as error:  # ValueError: a path with a zero byte in it
        raise DecodeError("cannot be opened", getattr(error, "strerror", None) or str(error)) from None
    if (len(content), before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise DecodeError("changed while it was read", "run again once it is complete")
    return content, before


def read_bytes(path: str | Path) -> bytes:
    """A file's bytes. Raises DecodeError as `read_file` does."""
    return read_file(path)[0]


def _check_size(facts: os.stat_result) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise DecodeError("not a regular file")
    if facts.st_size == 0:
        raise DecodeError("empty file")
    if facts.st_size > MAX_FILE_BYTES:
        raise DecodeError("file too large", f"{facts.st_size / 2**30:.1f} GiB, at most {MAX_FILE_BYTES / 2**30:.0f}")


def decode(
    content: bytes, suffix: str = "", *, max_pixels: int = MAX_PIXELS, at_least: int | None = None
) -> tuple[Header, Pixels]:
    """The header of an encoded image, and the upright RGB pixels of its first frame, (height, width, 3) uint8.

    `suffix` (the file's, such as ".jpg") only tells a broken image from a file that is none. With `at_least`, a large
    JPEG may come out smaller, with no side below twice that many pixels, which is quicker. Raises DecodeError.
    """
    is_jpeg = content.startswith(b"\xff\xd8\xff")
    if is_jpeg and has_more_scans(content, MOST_SCANS):
        raise DecodeError("too many scans", f"a JPEG may have {MOST_SCANS}")
    found = _ordinary_jpeg(content, max_pixels, at_least) if is_jpeg else None
    if found is not None:
        return found
    image = open_image(content, suffix, max_pixels=max_pixels)
    with _decode_errors():
        return _header(image, content), np.asarray(upright_rgb(image))


def _ordinary_jpeg(content: bytes, max_pixels: int, at_least: int | None) -> tuple[Header, Pixels] | None:
    """What libjpeg-turbo makes of a grey or YCbCr JPEG, bit by bit what Pillow does, in three quarters of the time.

    None for anything else, damaged ones included: there Pillow's word counts.
    """
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
        if colours not in {"YCbCr", "Gray"} or width * height > max_pixels:
            return None
        divisor = _divisor(width, height, at_least)
        least = {"min_height": height // divisor, "min_width": width // divisor} if divisor > 1 else {}
        pixels: Pixels = simplejpeg.decode_jpeg(content, "RGB", strict=True, **least)
    except ValueError:
        return None
    segments = application_segments(content)
    orientation, frames = _turn_and_frames(content) if segments & {b"Exif", b"MPF\0"} else (1, 1)
    if orientation in TURNS:
        pixels = np.asarray(Image.fromarray(pixels).transpose(TURNS[orientation]))
    mode, channels = ("L", 1) if colours == "Gray" else ("RGB", 3)
    has_icc = b"ICC_" in segments
    name = "MPO" if frames > 1 else "JPEG"
    return Header(name, mode, width, height, channels, orientation, 8, frames, has_icc, False), pixels


def _turn_and_frames(content: bytes) -> tuple[int, int]:
    """The EXIF orientation of a JPEG and how many pictures it holds; as if it had neither where Pillow stumbles."""
    _ignore_remarks()
    try:
        image = Image.open(io.BytesIO(content), formats=["JPEG"])
    except Exception:  # a damaged EXIF or MPF segment
        return 1, 1
    return _orientation(image), _frames(image)


def _divisor(width: int, height: int, at_least: int | None) -> int:
    """By how much a JPEG may be decoded smaller: its sides must be whole multiples, or the picture would shift, and
    twice `at_least` must remain, for the last step to be taken by pixels."""
    wanted = [divisor for divisor in (8, 4, 2) if width % divisor == 0 and height % divisor == 0]
    return next((d for d in wanted if at_least and min(width, height) // d >= 2 * at_least), 1)


def _header(image: Image.Image, content: bytes) -> Header:
    return Header(
        content_format=image.format or "unknown",
        mode=image.mode,
        width=image.width,
        height=image.height,
        channels=len(image.getbands()),
        orientation=_orientation(image),
        bit_depth=_bit_depth(image, content),
        frames=_frames(Image.open(io.BytesIO(content), formats=_formats())),
        has_icc_profile="icc_profile" in image.info,
        has_transparency=image.has_transparency_data,
    )


def _bit_depth(image: Image.Image, content: bytes) -> int:
    """Bits of one channel as stored; Pillow itself reduces 16-bit colour to 8."""
    if image.format == "PNG":
        return content[24]  # the IHDR chunk comes first. Source: PNG specification (ISO/IEC 15948), 11.2.2
    if image.format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE_TAG, (1,))  # the default of TIFF 6.0
        return int(bits[0] if isinstance(bits, tuple) else bits)
    if image.format == "PPM" and image.mode == "I":
        return 16
    return {"1": 1, "I": 32, "F": 32}.get(image.mode, 16 if image.mode.startswith("I;16") else 8)


def _frames(image: Image.Image) -> int:
    """Frames of an animation, pages or pictures; 2 where there are more than one, but not all can be found."""
    try:
        return min(int(getattr(image, "n_frames", 1)), MOST_FRAMES)
    except Exception:  # whatever a damaged later frame makes Pillow raise
        return 2


def open_image(content: bytes, suffix: str = "", *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The first frame of an encoded image, decoded whole, in the mode it is stored in.

    `suffix` (the file's, such as ".jpg") only tells a broken image from a file that is none.
    Raises DecodeError.
    """
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > 2 * Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels  # Pillow's own limit, which is this process's, would come first
    is_heif = _is_heif(content, suffix)
    lacks_heif = is_heif and not _allow_heif()
    with _decode_errors():
        try:
            image = Image.open(io.BytesIO(content), formats=_formats())
        except UnidentifiedImageError:
            if lacks_heif:
                raise DecodeError("HEIC support is not installed", "pip install 'linnaeus[heif]'") from None
            if suffix.lower() in IMAGE_SUFFIXES:
                raise DecodeError("unreadable image", "its content is no known image format") from None
            raise DecodeError("not an image") from None
        if image.width * image.height > max_pixels:
            raise DecodeError("too many pixels", f"{image.width} x {image.height}, at most {max_pixels:,}")
        image.load()
    return image


@contextmanager
def _decode_errors() -> Iterator[None]:
    """Whatever Pillow raises over a damaged image, as DecodeError; its decoders raise nearly everything."""
    _ignore_remarks()
    try:
        yield
    except DecodeError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DecodeError("too many pixels", str(error)) from None
    except MemoryError:
        raise DecodeError("unreadable image", "not enough memory to decode it") from None
    except Exception as error:
        is_cut = any(word in str(error).lower() for word in ("truncated", "unexpected end", "premature end"))
        raise DecodeError("truncated image" if is_cut else "unreadable image", _first_line(error)) from None


def _ignore_remarks() -> None:
    """Let Pillow pass over what is odd about a file in silence.

    For the whole process and for good, since the filters of a `with` block are not safe among threads.
    """
    for kind in (UserWarning, Image.DecompressionBombWarning):
        warnings.filterwarnings("ignore", category=kind, module=r"PIL\.")


def _formats() -> list[str]:
    """Those of FORMATS that this Pillow can read."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


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


def fit_square(pixels: Pixels, recipe: CleanRecipe) -> Pixels:
    """RGB pixels as a square with `recipe.size` pixels a side; the geometry is that of Pillow's functions."""
    size, (height, width) = recipe.size, pixels.shape[:2]
    if recipe.fit == "squash" or height == width:
        return resized(pixels, size, size)
    if recipe.fit == "crop":
        fitted = ImageOps.fit(Image.fromarray(pixels), (size, size), Image.Resampling.BICUBIC)
        return np.asarray(fitted)
    scale = size / max(height, width)
    inner = resized(pixels, max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(ImageOps.pad(Image.fromarray(inner), (size, size), color=WHITE))


def resized(pixels: Pixels, width: int, height: int) -> Pixels:
    """The pixels at another size, within 2 of 255 of Pillow's bicubic on average, several times as fast.

    A side that shrinks a lot takes the mean of all its pixels, one that shrinks a little is interpolated linearly, and
    one that grows cubically.
    """
    old_height, old_width = pixels.shape[:2]
    smaller = (min(width, old_width), min(height, old_height))
    if smaller != (old_width, old_height):
        is_little = max(old_width / width, old_height / height) <= ALIASING
        pixels = cv2.resize(pixels, smaller, interpolation=cv2.INTER_LINEAR if is_little else cv2.INTER_AREA)
    if smaller != (width, height):
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_CUBIC)
    return pixels


def normalised_jpeg(content: bytes, recipe: CleanRecipe, suffix: str = "", *, max_pixels: int = MAX_PIXELS) -> bytes:
    """An encoded image of any kind as the normalised RGB JPEG that models are trained on. Raises DecodeError."""
    _, pixels = decode(content, suffix, max_pixels=max_pixels, at_least=recipe.size)
    return encoded_jpeg(fit_square(pixels, recipe), recipe.quality)


def encoded_jpeg(pixels: Pixels, quality: int) -> bytes:
    """RGB pixels as a baseline JPEG, chroma at half resolution (4:2:0), as Pillow writes it by default."""
    encoded: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality, "RGB", "420")
    return encoded


def rgb_pixels(content: bytes) -> Pixels:
    """The upright RGB pixels of an encoded image, (height, width, 3) uint8. Raises DecodeError."""
    return decode(content)[1]


def thumbnail_jpeg(path: Path, side: int) -> bytes:
    """A small upright JPEG of an image file, at most `side` pixels a side. Raises DecodeError."""
    return encoded_jpeg(_at_most(decode(read_bytes(path), path.suffix, at_least=side)[1], side), quality=80)


def thumbnail_luma(path: Path, side: int, *, max_pixels: int = MAX_PIXELS) -> Pixels:
    """A small upright grey copy of an image file, at most `side` pixels a side. Raises DecodeError."""
    pixels = decode(read_bytes(path), path.suffix, max_pixels=max_pixels, at_least=side)[1]
    small = _at_most(pixels, side)
    luma: Pixels = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    return luma


def _at_most(pixels: Pixels, side: int) -> Pixels:
    height, width = pixels.shape[:2]
    scale = min(1, side / max(height, width))
    return resized(pixels, max(1, round(width * scale)), max(1, round(height * scale)))


def _eight_bit(image: Image.Image) -> Image.Image:
    """A 16-bit, 32-bit or floating grey image scaled to 8 bits, never clipped to white."""
    with np.errstate(invalid="ignore"):  # signalling NaN
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
    """The EXIF orientation, 1 to 8; 1, upright, where there is none or where the EXIF data are damaged."""
    try:
        orientation = int(image.getexif().get(ORIENTATION_TAG, 1))
    except Exception:  # damaged EXIF data raise struct.error, TypeError, SyntaxError and more
        return 1
    return orientation if orientation in TURNS else 1


def _is_heif(content: bytes, suffix: str) -> bool:
    """Whether an image is HEIC by its content, whatever its name, or says so. Source: ISO/IEC 14496-12, 4.3."""
    return suffix.lower() in {".heic", ".heif"} or (content[4:8] == b"ftyp" and content[8:12] in HEIF_BRANDS)


def _allow_heif() -> bool:
    """Whether HEIC can be read, which needs a package of its own."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
