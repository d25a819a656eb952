import contextlib
import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_image

from linnaeus.data import decode
from linnaeus.data.decode import (
    Pixels,
    fit_square,
    normalised_jpeg,
    open_image,
    read_bytes,
    resized,
    rgb_pixels,
    thumbnail_jpeg,
    upright_rgb,
)
from linnaeus.errors import DecodeError
from linnaeus.settings import CleanRecipe

RED, WHITE, BLACK = (255, 0, 0), (255, 255, 255), (0, 0, 0)


def _encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _noise(height: int = 48, width: int = 64) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def _smooth(height: int = 48, width: int = 64) -> Image.Image:
    return Image.fromarray(np.asarray(_noise(4, 5).resize((width, height), Image.Resampling.BICUBIC)))


def _colours(content: bytes) -> set[tuple[int, ...]]:
    return {tuple(int(value) for value in pixel) for pixel in rgb_pixels(content).reshape(-1, 3)}


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_transparent_pixels_become_white() -> None:
    image = Image.new("RGBA", (8, 8), (10, 20, 30, 0))
    assert _colours(_encoded(image)) == {WHITE}


def test_opaque_pixels_keep_their_colour() -> None:
    assert _colours(_encoded(Image.new("RGBA", (8, 8), (10, 20, 30, 255)))) == {(10, 20, 30)}


def test_half_transparent_pixels_are_mixed_with_white() -> None:
    (colour,) = _colours(_encoded(Image.new("RGBA", (8, 8), (0, 0, 0, 128))))
    assert colour == (127, 127, 127)


def test_grey_with_transparency_lies_over_white() -> None:
    image = Image.new("LA", (8, 4), (0, 0))
    image.paste((50, 255), (0, 0, 4, 4))
    assert _colours(_encoded(image)) == {WHITE, (50, 50, 50)}


def test_a_palette_s_transparent_colour_becomes_white() -> None:
    image = Image.new("P", (8, 4), 0)
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.paste(1, (0, 0, 4, 4))
    assert _colours(_encoded(image, transparency=0)) == {WHITE, RED}
    assert _colours(_encoded(image)) == {BLACK, RED}


def test_an_rgb_png_s_transparent_colour_becomes_white() -> None:
    image = Image.new("RGB", (8, 4), BLACK)
    image.paste(RED, (0, 0, 4, 4))
    assert _colours(_encoded(image, transparency=BLACK)) == {WHITE, RED}


def test_a_cmyk_photograph_becomes_rgb_of_about_the_same_colours() -> None:
    image = Image.new("RGB", (16, 16), RED).convert("CMYK")
    pixels = rgb_pixels(_encoded(image, "JPEG", quality=95))
    assert pixels.shape == (16, 16, 3)
    assert np.abs(pixels.mean(axis=(0, 1)) - RED).max() < 12


def test_a_one_bit_drawing_becomes_black_and_white() -> None:
    image = Image.new("1", (8, 4), 0)
    image.paste(1, (0, 0, 4, 4))
    assert _colours(_encoded(image)) == {BLACK, WHITE}


def test_a_grey_photograph_gets_three_equal_channels() -> None:
    assert _colours(_encoded(Image.new("L", (4, 4), 77))) == {(77, 77, 77)}


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_sixteen_bit_gradient_keeps_its_order_and_is_not_clipped_to_white(kind: str) -> None:
    gradient: NDArray[np.uint16] = np.linspace(0, 65535, 256).astype(np.uint16)
    image = Image.fromarray(np.tile(gradient, (4, 1)))
    row = rgb_pixels(_encoded(image, kind))[0, :, 0]
    assert (np.diff(row.astype(int)) >= 0).all()
    assert (row[0], row[-1]) == (0, 255)
    assert abs(int(row[128]) - 128) <= 1


def test_a_dark_sixteen_bit_image_stays_dark() -> None:
    image = Image.fromarray(np.full((4, 4), 2570, dtype=np.uint16))
    assert _colours(_encoded(image)) == {(10, 10, 10)}


def test_a_sixteen_bit_png_s_transparent_value_becomes_white() -> None:
    image = Image.fromarray(np.array([[0, 65535], [25700, 0]], dtype=np.uint16))
    assert rgb_pixels(_encoded(image, transparency=0))[..., 0].tolist() == [[255, 255], [100, 255]]


def test_a_floating_point_image_with_gaps_keeps_what_it_has() -> None:
    values = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)
    values[0, 0] = np.nan
    pixels = rgb_pixels(_encoded(Image.fromarray(values), "TIFF"))[..., 0]
    assert pixels[3, 3] > pixels[2, 0] > pixels[0, 1]


def test_a_floating_point_image_is_stretched_to_its_own_range() -> None:
    image = Image.fromarray(np.linspace(-1, 1, 16, dtype=np.float32).reshape(4, 4))
    pixels = rgb_pixels(_encoded(image, "TIFF"))[..., 0].reshape(-1)
    assert (pixels[0], pixels[-1]) == (0, 255)
    assert (np.diff(pixels.astype(int)) > 0).all()


def test_an_even_floating_point_image_is_no_division_by_zero() -> None:
    image = Image.fromarray(np.full((4, 4), 0.5, dtype=np.float32))
    assert _colours(_encoded(image, "TIFF")) == {BLACK}


# How to store an upright picture so that the orientation turns it upright. Source: EXIF 2.32, tag 0x0112.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", STORED)
def test_a_photograph_is_turned_upright_as_its_camera_says(orientation: int) -> None:
    upright = _noise(12, 20)
    turn = STORED[orientation]
    stored = upright if turn is None else upright.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = rgb_pixels(_encoded(stored, "PNG", exif=exif))
    np.testing.assert_array_equal(pixels, np.asarray(upright))


def _exif_with_words_for_a_width() -> bytes:
    """Orientation 6, and an ImageWidth (tag 0x0100) of type ASCII where a number belongs."""
    orientation = struct.pack(">HHIHxx", 0x0112, 3, 1, 6)
    width = struct.pack(">HHI4s", 0x0100, 2, 2, b"ab")
    return b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 2) + width + orientation + bytes(4)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_exif_does_not_end_the_stage() -> None:
    content = _encoded(_noise(12, 20), "JPEG", exif=_exif_with_words_for_a_width())
    with contextlib.suppress(DecodeError):
        assert rgb_pixels(content).shape[2] == 3


def test_a_truncated_jpeg_is_refused_as_such() -> None:
    content = _encoded(_noise(), "JPEG")
    with pytest.raises(DecodeError) as caught:
        decode.decode(content[: len(content) // 2], ".jpg")
    assert caught.value.reason == "truncated image"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_no_way_of_cutting_a_file_short_ends_in_another_error(kind: str) -> None:
    content = _encoded(_noise(), kind)
    for length in range(1, len(content) - 64, max(1, len(content) // 40)):
        with pytest.raises(DecodeError):
            decode.decode(content[:length], ".jpg")


def test_an_empty_file_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(DecodeError) as caught:
        read_bytes(_written(tmp_path / "a.jpg", b""))
    assert caught.value.reason == "empty file"


def test_a_file_that_is_gone_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(DecodeError) as caught:
        read_bytes(tmp_path / "a.jpg")
    assert caught.value.reason == "cannot be opened"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("notes.txt", "not an image"),
        ("notes", "not an image"),
        ("a.jpg", "unreadable image"),
        ("A.JPG", "unreadable image"),
    ],
)
def test_a_text_file_is_no_image_but_a_photograph_of_text_bytes_is_broken(name: str, reason: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode.decode(b"only some words", Path(name).suffix)
    assert caught.value.reason == reason


def test_an_image_with_another_ending_is_still_an_image() -> None:
    header, _ = decode.decode(_encoded(_noise(4, 6)), ".txt")
    assert (header.width, header.height) == (6, 4)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_too_many_pixels_are_refused_before_they_are_decoded(kind: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode.decode(_encoded(_noise(10, 11), kind), max_pixels=100)
    assert caught.value.reason == "too many pixels"
    assert "11 x 10" in caught.value.detail
    assert decode.decode(_encoded(_noise(10, 10), kind), max_pixels=100)[1].shape == (10, 10, 3)


def test_a_limit_above_pillow_s_own_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    content = _encoded(_noise(20, 20))
    with pytest.raises(DecodeError, match="too many pixels"):
        decode.decode(content, max_pixels=100)
    assert decode.decode(content, max_pixels=400)[1].shape == (20, 20, 3)


def test_a_decompression_bomb_is_refused() -> None:
    content = bytearray(_encoded(Image.new("1", (8, 8))))
    content[16:24] = (60_000).to_bytes(4, "big") * 2
    header_crc = zlib.crc32(content[12:29])
    content[29:33] = header_crc.to_bytes(4, "big")
    with pytest.raises(DecodeError) as caught:
        open_image(bytes(content), ".png")
    assert caught.value.reason == "too many pixels"


def test_a_file_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "MAX_FILE_BYTES", 10)
    with pytest.raises(DecodeError) as caught:
        read_bytes(_written(tmp_path / "a.jpg", b"12345678901"))
    assert caught.value.reason == "file too large"


def test_the_header_is_that_of_the_stored_image_and_the_pixels_are_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = _encoded(Image.new("L", (30, 20)), "JPEG", exif=exif)
    header, pixels = decode.decode(content)
    assert (header.width, header.height, header.mode, header.channels) == (30, 20, "L", 1)
    assert header.orientation == 6
    assert pixels.shape == (30, 20, 3)


@pytest.mark.parametrize(("mode", "channels"), [("1", 1), ("L", 1), ("P", 1), ("LA", 2), ("RGB", 3), ("RGBA", 4)])
def test_channels_are_counted_by_the_stored_mode(mode: str, channels: int) -> None:
    header, _ = decode.decode(_encoded(Image.new(mode, (4, 4))))
    assert (header.mode, header.channels) == (mode, channels)


@pytest.mark.parametrize("options", [{"quality": 30}, {"quality": 95, "subsampling": 0}, {"progressive": True}])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_decodes_to_the_very_pixels_that_pillow_makes_of_it(mode: str, options: dict[str, Any]) -> None:
    content = _encoded(_noise(33, 47).convert(mode), "JPEG", **options)
    header, pixels = decode.decode(content)
    with Image.open(io.BytesIO(content)) as image:
        np.testing.assert_array_equal(pixels, np.asarray(image.convert("RGB")))
        assert (header.mode, header.width, header.height) == (image.mode, *image.size)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG", "WEBP"])
def test_every_orientation_is_set_upright_as_pillow_does(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = _encoded(_noise(9, 14), kind, exif=exif)
    with Image.open(io.BytesIO(content)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    header, pixels = decode.decode(content)
    np.testing.assert_array_equal(pixels, expected)
    assert header.orientation == (1 if kind == "TIFF" else orientation)  # Pillow sets a TIFF upright by itself


@pytest.mark.parametrize(
    ("mode", "kind", "depth"),
    [("1", "PNG", 1), ("L", "JPEG", 8), ("I;16", "PNG", 16), ("I;16", "TIFF", 16), ("F", "TIFF", 32), ("P", "GIF", 8)],
)
def test_the_bit_depth_is_that_of_the_file(mode: str, kind: str, depth: int) -> None:
    assert decode.decode(_encoded(Image.new(mode, (4, 4)), kind))[0].bit_depth == depth


def test_frames_profile_and_transparency_are_told() -> None:
    frames = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (0, 120, 240)]
    assert decode.decode(_encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))[0].frames == 3
    assert decode.decode(_encoded(_noise(), "JPEG", icc_profile=b"colour" * 9))[0].has_icc_profile
    assert not decode.decode(_encoded(_noise(), "JPEG"))[0].has_icc_profile
    assert decode.decode(_encoded(Image.new("LA", (4, 4))))[0].has_transparency


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _written(tmp_path / "a.jpg", b"first half")
    before = os.fstat

    def growing(number: int) -> os.stat_result:
        facts = before(number)
        with path.open("ab") as file:
            file.write(b"more")
        return facts

    monkeypatch.setattr(os, "fstat", growing)
    with pytest.raises(DecodeError) as caught:
        read_bytes(path)
    assert caught.value.reason == "changed while it was read"


@pytest.mark.parametrize("size", [(300, 225), (150, 120), (400, 150), (640, 427), (1280, 854), (225, 250)])
def test_a_resized_photograph_is_within_two_of_255_of_pillow_s_bicubic(size: tuple[int, int]) -> None:
    photograph = load_sample_image("china.jpg")
    source = np.asarray(Image.fromarray(photograph).resize(size, Image.Resampling.LANCZOS))
    expected = np.asarray(Image.fromarray(source).resize((224, 224), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(resized(source, 224, 224) - expected).mean() < 2


def test_a_large_jpeg_may_be_decoded_smaller_but_never_below_what_is_needed() -> None:
    photograph = Image.fromarray(load_sample_image("china.jpg")).resize((1200, 800), Image.Resampling.BICUBIC)
    content = _encoded(photograph, "JPEG", quality=95)
    header, pixels = decode.decode(content, at_least=96)
    assert (header.width, header.height) == (1200, 800)
    assert pixels.shape[:2] == (200, 300)
    whole = np.asarray(photograph.resize((96, 96), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(resized(pixels, 96, 96) - whole).mean() < 2


def test_a_jpeg_whose_sides_are_no_whole_multiples_is_decoded_at_its_own_size() -> None:
    content = _encoded(_smooth(801, 1203), "JPEG")
    assert decode.decode(content, at_least=10)[1].shape == (801, 1203, 3)


def test_the_first_picture_of_an_animation_is_taken() -> None:
    frames = [Image.new("RGB", (8, 8), RED), Image.new("RGB", (8, 8), (0, 0, 255))]
    content = _encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert _colours(content) == {RED}


def _square(fit: str, width: int = 40, height: int = 20, size: int = 8) -> Pixels:
    """A wide picture, red with a blue stripe at both ends, as a square."""
    image = Image.new("RGB", (width, height), RED)
    image.paste((0, 0, 255), (0, 0, width // 5, height))
    image.paste((0, 0, 255), (width - width // 5, 0, width, height))
    return fit_square(np.asarray(image), CleanRecipe.model_validate({"size": size, "fit": fit}))


def test_squashing_keeps_the_whole_picture_and_changes_its_aspect() -> None:
    pixels = _square("squash", size=20)
    assert pixels.shape == (20, 20, 3)
    assert pixels[10, 0].tolist() == [0, 0, 255]
    assert pixels[10, 19].tolist() == [0, 0, 255]
    assert pixels[0, 10].tolist() == [255, 0, 0]


def test_cropping_cuts_the_same_from_both_ends_and_keeps_the_aspect() -> None:
    pixels = _square("crop", size=20)
    assert pixels.shape == (20, 20, 3)
    assert {tuple(pixel) for pixel in pixels.reshape(-1, 3).tolist()} == {RED}


def test_padding_adds_white_above_and_below_a_wide_picture() -> None:
    pixels = _square("pad", size=40)
    assert pixels.shape == (40, 40, 3)
    assert (pixels[:10] == 255).all()
    assert (pixels[-10:] == 255).all()
    assert pixels[20, 20].tolist() == [255, 0, 0]
    assert pixels[20, 1].tolist() == [0, 0, 255]


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (7, 8)])
def test_the_oddest_picture_becomes_a_square(fit: str, size: tuple[int, int]) -> None:
    recipe = CleanRecipe.model_validate({"size": 16, "fit": fit})
    assert fit_square(np.asarray(Image.new("RGB", size, RED)), recipe).shape == (16, 16, 3)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "I;16"])
def test_the_normalised_image_is_a_jpeg_in_rgb_of_the_wanted_size(mode: str) -> None:
    content = normalised_jpeg(_encoded(Image.new(mode, (50, 30))), CleanRecipe(size=24))
    image = Image.open(io.BytesIO(content))
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (24, 24))


def test_the_normalised_image_looks_like_its_source() -> None:
    source = _smooth()
    pixels = rgb_pixels(normalised_jpeg(_encoded(source), CleanRecipe(size=32)))
    expected = np.asarray(source.resize((32, 32), Image.Resampling.BICUBIC))
    assert np.abs(pixels.astype(int) - expected).mean() < 4


def test_a_higher_quality_makes_a_larger_and_truer_file() -> None:
    content = _encoded(_smooth())
    low, high = (normalised_jpeg(content, CleanRecipe(size=32, quality=quality)) for quality in (10, 95))
    expected = np.asarray(_smooth().resize((32, 32), Image.Resampling.BICUBIC)).astype(int)
    assert len(low) < len(high)
    assert np.abs(rgb_pixels(high) - expected).mean() < np.abs(rgb_pixels(low) - expected).mean()


def test_the_normalised_image_has_no_orientation_left_to_turn_it_again() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = normalised_jpeg(_encoded(_noise(), "JPEG", exif=exif), CleanRecipe(size=16))
    assert Image.open(io.BytesIO(content)).getexif().get(0x0112, 1) == 1


def test_upright_rgb_leaves_its_argument_alone() -> None:
    image = Image.new("RGBA", (4, 4), (1, 2, 3, 0))
    upright_rgb(image)
    assert image.getpixel((0, 0)) == (1, 2, 3, 0)


def test_a_thumbnail_keeps_the_aspect_within_its_side(tmp_path: Path) -> None:
    path = _written(tmp_path / "a.png", _encoded(_noise(30, 60)))
    assert Image.open(io.BytesIO(thumbnail_jpeg(path, 20))).size == (20, 10)
