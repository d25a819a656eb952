"""Damaged files of every format: `decode` gives pixels or a DecodeError, and nothing else."""

import sys
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hostile
from hostile import frames, jpeg_with, picture, segment, turned
from linnaeus.data.decode import Header, Pixels, decode
from linnaeus.errors import DecodeError

MAX_PIXELS = 10_000
MEBIBYTE = 1 << 20
LENGTHS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
BUILDS = {
    "JPEG": picture("JPEG"),
    "progressive JPEG": picture("JPEG", progressive=True),
    "CMYK JPEG": picture("JPEG", "CMYK"),
    "arithmetic JPEG": hostile.arithmetic_jpeg,
    "JPEG with EXIF": turned(6),
    "JPEG with odd EXIF": jpeg_with(segment(0xE1, hostile.exif_that_overruns())),
    "MPO": frames("MPO", 2),
    "PNG": picture("PNG", "RGBA"),
    "palette PNG": picture("PNG", "P", transparency=3),
    "16-bit PNG": hostile.sixteen_bit_rgb_png,
    "APNG": frames("PNG"),
    "GIF": frames("GIF"),
    "BMP": picture("BMP"),
    "palette BMP": picture("BMP", "P"),
    "WebP": picture("WEBP"),
    "lossless WebP": picture("WEBP", "RGBA", lossless=True),
    "animated WebP": frames("WEBP"),
    "TIFF": frames("TIFF"),
    "LZW TIFF": picture("TIFF", compression="tiff_lzw"),
    "JPEG TIFF": picture("TIFF", compression="jpeg"),
    "fax TIFF": picture("TIFF", "1", compression="group4"),
    "float TIFF": picture("TIFF", "F"),
    "LAB TIFF": picture("TIFF", "LAB"),
    "PPM": picture("PPM"),
    "16-bit PGM": picture("PPM", "I"),
    "AVIF": picture("AVIF"),
    "JPEG 2000": picture("JPEG2000"),
    "ICO": picture("ICO", "RGBA", (32, 32), sizes=[(16, 16)]),
    "TGA": picture("TGA"),
    "packed TGA": picture("TGA", "RGBA", compression="tga_rle"),
}
FILES = {name: build(seed) for seed, (name, build) in enumerate(BUILDS.items(), start=1)}


@st.composite
def damaged_files(draw: st.DrawFn) -> bytes:
    """A valid file after up to six changes: flipped bits, changed lengths, cuts, and pieces of itself or others."""
    content = bytearray(draw(st.sampled_from([*FILES.values()])))
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, max(0, min(len(content), draw(st.sampled_from([64, 512, 10**6]))) - 1)))
        match draw(st.sampled_from(["flip", "byte", "length", "cut", "end", "splice", "repeat"])):
            case "flip" if content:
                content[place] ^= 1 << draw(st.integers(0, 7))
            case "byte" if content:
                content[place] = draw(st.integers(0, 255))
            case "length":
                size, order = draw(st.sampled_from([2, 4])), draw(st.sampled_from(["big", "little"]))
                value = draw(st.sampled_from(LENGTHS)) % 256**size
                content[place : place + size] = value.to_bytes(size, order)
            case "cut":
                del content[place : place + draw(st.integers(1, 64))]
            case "end":
                del content[place:]
            case "splice":
                other = draw(st.sampled_from([*FILES.values()]))
                start = draw(st.integers(0, len(other) - 1))
                content[place:place] = other[start : start + draw(st.integers(1, 512))]
            case "repeat":
                content[place:place] = content[place : place + draw(st.integers(1, 64))] * draw(st.integers(1, 20))
    return bytes(content)


def outcome(content: bytes, at_least: int | None) -> tuple[Header, Pixels] | DecodeError:
    try:
        return decode(content, ".jpg", max_pixels=MAX_PIXELS, at_least=at_least)
    except DecodeError as error:
        return error


def check(content: bytes, at_least: int | None) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = outcome(content, at_least)
    assert [str(warning.message) for warning in caught] == []
    if isinstance(found, DecodeError):
        assert found.reason
        assert len(str(found).splitlines()) == 1
        return
    header, pixels = found
    assert pixels.dtype == np.uint8
    height, width, channels = pixels.shape
    assert channels == 3
    assert 0 < height * width <= header.width * header.height <= MAX_PIXELS
    assert header.orientation in range(1, 9)
    assert 1 <= header.frames < 2**31
    assert header.bit_depth in range(1, 65)


def test_a_floating_point_image_with_signalling_gaps_is_decoded_in_silence() -> None:
    content = bytearray(FILES["float TIFF"])
    start = content.index(np.asarray(hostile.noise(mode="F", seed=22)).tobytes())
    content[start : start + 4] = b"\x01\0\xa0\x7f"
    check(bytes(content), None)


@pytest.mark.parametrize("name", FILES)
def test_the_files_that_are_damaged_are_whole_before(name: str) -> None:
    assert decode(FILES[name], ".jpg", max_pixels=MAX_PIXELS)[1].shape[2] == 3


QUICK = settings(max_examples=100, derandomize=True, deadline=None, database=None, suppress_health_check=[*HealthCheck])


@QUICK
@given(damaged_files(), st.sampled_from([None, 8]))
def test_a_damaged_file_gives_pixels_or_a_decode_error(content: bytes, at_least: int | None) -> None:
    check(content, at_least)


@pytest.mark.slow
def test_thousands_of_damaged_files_give_pixels_or_decode_errors_in_bounded_memory() -> None:
    resource = pytest.importorskip("resource")
    unit = 1 if sys.platform == "darwin" else 1024
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    settings(QUICK, max_examples=30_000, derandomize=False)(given(damaged_files(), st.sampled_from([None, 8]))(check))()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit - before
    assert grown < 512 * MEBIBYTE
