"""The table of bad and odd things in an image folder, each with what becomes of it."""

import os
import stat
import struct
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import hostile
from hostile import Build, first_part, frames, jpeg_with, just, noise, picture, segment, turned


@dataclass(frozen=True)
class Case:
    """One thing in the image folder. put: makes it at a path, from a seed. reason: why it is left out, None for an
    image. facts: columns of an image's row. listed: its path in the table of what was left out. lost: whether it is
    left out by `clean` only."""

    relpath: str
    put: Callable[[Path, int], object]
    reason: str | None = None
    facts: dict[str, object] = field(default_factory=dict)
    listed: str = ""
    lost: bool = False


def image(relpath: str, build: Build, kind: str = "PNG RGB 8", **facts: object) -> Case:
    """A file that becomes an image; `kind`: its format, mode and bit depth."""
    content_format, mode, bits = kind.split()
    expected = {"content_format": content_format, "mode": mode, "bit_depth": int(bits)}
    expected |= {"width": 30, "height": 20, "orientation": 1, "frames": 1}
    return Case(relpath, lambda path, seed: path.write_bytes(build(seed)), None, expected | facts)


def broken(relpath: str, build: Build, reason: str, listed: str = "") -> Case:
    """A file that is left out."""
    return Case(relpath, lambda path, seed: path.write_bytes(build(seed)), reason, listed=listed or relpath)


def other(relpath: str, put: Callable[[Path], object], reason: str | None, listed: str = "") -> Case:
    """Something that is no plain file."""
    return Case(relpath, lambda path, seed: put(path), reason, listed=listed or relpath)


def link(target: str) -> Callable[[Path], object]:
    """What makes a symbolic link, relative to its own folder."""
    return lambda path: path.symlink_to(target)


JPEG, PNG = picture("JPEG"), picture("PNG")
EXIF = 0xE1
LONG = "n" * 251

FORMATS = (
    image("formats/rgb.png", PNG),
    image("formats/l.png", picture("PNG", "L"), "PNG L 8"),
    image("formats/la.png", picture("PNG", "LA"), "PNG LA 8", has_transparency=True),
    image("formats/p.png", picture("PNG", "P"), "PNG P 8"),
    image("formats/p-see-through.png", picture("PNG", "P", transparency=3), "PNG P 8", has_transparency=True),
    image("formats/one.png", picture("PNG", "1"), "PNG 1 1"),
    image("formats/i16.png", picture("PNG", "I;16"), "PNG I;16 16"),
    image("formats/rgb16.png", hostile.sixteen_bit_rgb_png, "PNG RGB 16"),
    image("formats/rgba.png", picture("PNG", "RGBA"), "PNG RGBA 8", has_transparency=True),
    image("formats/animated.png", frames("PNG"), frames=3),
    image("formats/l.jpg", picture("JPEG", "L"), "JPEG L 8"),
    image("formats/rgb.jpg", JPEG, "JPEG RGB 8"),
    image("formats/progressive.jpg", picture("JPEG", progressive=True), "JPEG RGB 8"),
    image("formats/cmyk.jpg", picture("JPEG", "CMYK"), "JPEG CMYK 8", channels=4),
    image("formats/arithmetic.jpg", hostile.arithmetic_jpeg, "JPEG L 8"),
    image("formats/two-pictures.mpo", frames("MPO", 2), "MPO RGB 8", frames=2),
    image("formats/multi.tif", frames("TIFF"), "TIFF RGB 8", frames=3),
    image("formats/one.tif", picture("TIFF", "1"), "TIFF 1 1"),
    image("formats/i16.tif", picture("TIFF", "I;16"), "TIFF I;16 16"),
    image("formats/i.tif", picture("TIFF", "I"), "TIFF I 32"),
    image("formats/float.tif", picture("TIFF", "F"), "TIFF F 32"),
    image("formats/lab.tif", picture("TIFF", "LAB"), "TIFF LAB 8"),
    image("formats/ycbcr.tif", picture("TIFF", "YCbCr"), "TIFF YCbCr 8"),
    image("formats/cmyk.tif", picture("TIFF", "CMYK"), "TIFF CMYK 8"),
    image("formats/lzw.tif", picture("TIFF", compression="tiff_lzw"), "TIFF RGB 8"),
    image("formats/deflate.tif", picture("TIFF", compression="tiff_adobe_deflate"), "TIFF RGB 8"),
    image("formats/jpeg.tif", picture("TIFF", compression="jpeg"), "TIFF RGB 8"),
    image("formats/fax.tif", picture("TIFF", "1", compression="group4"), "TIFF 1 1"),
    image("formats/animated.gif", frames("GIF"), "GIF P 8", frames=3),
    image("formats/lossy.webp", picture("WEBP"), "WEBP RGB 8"),
    image("formats/lossless.webp", picture("WEBP", "RGBA", lossless=True), "WEBP RGBA 8"),
    image("formats/animated.webp", frames("WEBP"), "WEBP RGB 8", frames=3),
    image("formats/icon.ico", picture("ICO", "RGBA", (32, 32), sizes=[(16, 16)]), "ICO RGBA 8", width=16, height=16),
    image("formats/plain.tga", picture("TGA"), "TGA RGB 8"),
    image("formats/packed.tga", picture("TGA", "RGBA", compression="tga_rle"), "TGA RGBA 8"),
    image("formats/colour.ppm", picture("PPM"), "PPM RGB 8"),
    image("formats/grey.pgm", picture("PPM", "L"), "PPM L 8"),
    image("formats/deep.pgm", picture("PPM", "I"), "PPM I 16"),
    image("formats/black-and-white.pbm", picture("PPM", "1"), "PPM 1 1"),
    image("formats/rgb.bmp", picture("BMP"), "BMP RGB 8"),
    image("formats/p.bmp", picture("BMP", "P"), "BMP P 8"),
    image("formats/one.bmp", picture("BMP", "1"), "BMP 1 1"),
    image("formats/rgb.jp2", picture("JPEG2000"), "JPEG2000 RGB 8"),
    image("formats/i16.jp2", picture("JPEG2000", "I;16"), "JPEG2000 I;16 16"),
    image("formats/rgb.avif", picture("AVIF"), "AVIF RGB 8"),
    image("formats/one-pixel.png", picture("PNG", size=(1, 1)), width=1, height=1),
    image("formats/line.png", picture("PNG", size=(20_000, 1)), width=20_000, height=1),
    image("formats/pole.png", picture("PNG", size=(1, 20_000)), width=1, height=20_000),
    *(image(f"formats/turned-{n}.jpg", turned(n), "JPEG RGB 8", orientation=n) for n in range(1, 9)),
    image("formats/turned.webp", turned(6, "WEBP"), "WEBP RGB 8", orientation=6),
)

DAMAGED_BUT_WHOLE = (  # the pixels are there
    image(
        "odd/exif-beyond-the-end.jpg",
        jpeg_with(segment(EXIF, hostile.exif_that_overruns())),
        "JPEG RGB 8",
        orientation=6,
    ),
    image("odd/exif-huge.jpg", jpeg_with(segment(EXIF, hostile.exif_entry(0x112, 4, 1, b"\xff" * 4))), "JPEG RGB 8"),
    image("odd/exif-word.jpg", jpeg_with(segment(EXIF, hostile.exif_entry(0x112, 2, 4, b"six\0"))), "JPEG RGB 8"),
    image("odd/exif-cut.jpg", jpeg_with(segment(EXIF, b"Exif\0\0M")), "JPEG RGB 8"),
    image("odd/exif-random.jpg", jpeg_with(segment(EXIF, b"Exif\0\0" + bytes(range(200)))), "JPEG RGB 8"),
    image("odd/mpf-random.jpg", jpeg_with(segment(0xE2, b"MPF\0II*\0\10\0\0\0" + bytes(range(50)))), "JPEG RGB 8"),
    image(
        "odd/filled-up.jpg",
        jpeg_with(b"\xff" * 9 + segment(EXIF, hostile.exif_entry(0x112, 3, 1, b"\0\6"))),
        "JPEG RGB 8",
        orientation=6,
    ),
    image("odd/segments.jpg", jpeg_with(segment(0xFE, b"x") * 100_000), "JPEG RGB 8"),
    image("odd/segments-exif.jpg", jpeg_with(segment(EXIF, b"Exif\0\0") * 100_000), "JPEG RGB 8"),
    image("odd/and-zip.jpg", hostile.jpeg_and_zip, "JPEG RGB 8"),
    image("odd/and-script.gif", hostile.gif_with_script, "GIF P 8"),
    image("odd/circle.tif", hostile.tiff_that_circles, "TIFF RGB 8"),
    image(
        "odd/claims-frames.png",
        hostile.png_with(lambda: hostile.chunk(b"acTL", struct.pack(">II", 2**31, 0))),
        frames=2**31 - 1,
    ),
    image("odd/last-byte.png", first_part(PNG, less=1)),
    image("odd/last-byte.gif", first_part(picture("GIF"), less=1), "GIF P 8"),
    image("odd/wrong-extension.jpg", PNG),
    image("odd/wrong-extension.heic", PNG),
    image("odd/no-image-extension.txt", JPEG, "JPEG RGB 8"),
    image("odd/no-extension", JPEG, "JPEG RGB 8"),
)

BROKEN = (
    broken("broken/nothing.jpg", just(b""), "empty file"),
    broken("broken/one-byte.jpg", just(b"x"), "unreadable image"),
    broken("broken/start-marker.jpg", just(b"\xff\xd8"), "unreadable image"),
    broken("broken/start-marker-and-more.jpg", just(b"\xff\xd8\xff"), "unreadable image"),
    broken("broken/random.png", lambda seed: noise(seed, size=(64, 64)).tobytes(), "unreadable image"),
    broken("broken/random.tga", lambda seed: noise(seed, size=(64, 64)).tobytes(), "unreadable image"),
    broken("broken/header.jpg", first_part(JPEG, 0.3), "truncated image"),
    broken("broken/half.jpg", first_part(picture("JPEG", size=(200, 200)), 0.5), "truncated image"),
    broken("broken/half.png", first_part(PNG, 0.5), "truncated image"),
    broken("broken/half.gif", first_part(picture("GIF"), 0.5), "unreadable image"),
    broken("broken/nearly-all.gif", first_part(picture("GIF"), 0.9), "truncated image"),
    broken("broken/half.tif", first_part(picture("TIFF"), 0.5), "truncated image"),
    broken("broken/half.webp", first_part(picture("WEBP"), 0.5), "unreadable image"),
    broken("broken/half.avif", first_part(picture("AVIF"), 0.5), "unreadable image"),
    broken("broken/half.bmp", first_part(picture("BMP"), 0.5), "truncated image"),
    broken("broken/half.jp2", first_part(picture("JPEG2000"), 0.5), "unreadable image"),
    broken("broken/last-byte.jpg", first_part(JPEG, less=1), "truncated image"),
    broken("broken/last-byte.tif", first_part(picture("TIFF"), less=1), "truncated image"),
    broken("broken/last-byte.webp", first_part(picture("WEBP"), less=1), "unreadable image"),
    broken("broken/last-byte.avif", first_part(picture("AVIF"), less=1), "truncated image"),
    broken("broken/last-byte.ppm", first_part(picture("PPM"), less=1), "truncated image"),
    broken("broken/bomb.png", hostile.png_bomb, "too many pixels"),
    broken("broken/bomb.tif", hostile.tiff_bomb, "too many pixels"),
    broken("broken/bomb.gif", hostile.gif_bomb, "too many pixels"),
    broken("broken/bomb.bmp", hostile.bmp_bomb, "too many pixels"),
    broken("broken/bomb.webp", hostile.webp_bomb, "too many pixels"),
    broken("broken/bomb.jpg", hostile.jpeg_bomb, "too many pixels"),
    broken("broken/bomb.ico", hostile.icon_bomb, "too many pixels"),
    broken("broken/text-bomb.png", hostile.png_with(hostile.text_bomb), "unreadable image"),
    broken("broken/scans.jpg", hostile.many_scans, "too many scans"),
    broken("broken/declares-too-much.jpg", jpeg_with(segment(EXIF, b"", 65_535)), "truncated image"),
    broken("broken/page.jpg", just(b"%PDF-1.7\n1 0 obj\n<</Type/Catalog>>\nendobj\n%%EOF"), "unreadable image"),
    broken("broken/drawing.jpg", just(b'<svg xmlns="http://www.w3.org/2000/svg"/>'), "unreadable image"),
    broken("broken/site.jpg", just(b"<!DOCTYPE html><img src=x onerror=alert(1)>"), "unreadable image"),
    broken("broken/postscript.jpg", hostile.postscript, "unreadable image"),
    broken("broken/phone.jpg", just(b"\0\0\0\x18ftypheic" + bytes(300)), "HEIC support is not installed"),
    broken("broken/notes.txt", just(b"words"), "not an image"),
)

NAMES = (
    image("names/two words.png", PNG),
    image("names/ leading and trailing .png", PNG),
    image("names/" + unicodedata.normalize("NFC", "éte.png"), PNG),
    image("names/" + unicodedata.normalize("NFD", "éte.png"), PNG),
    image("names/\U0001f431.png", PNG),
    image("names/\U0001f468\u200d\U0001f469\u200d\U0001f467.png", PNG),
    image("names/Screenshot at 9.41.00\u202fAM.png", PNG),
    image("names/猫.png", PNG),
    image(f"names/{LONG}.png", PNG),
    image(f"names/{LONG}.jpg", JPEG, "JPEG RGB 8"),
    image(f"names/{LONG}nnnn", PNG),
    image(f"names/{'猫' * 83}.png", PNG),
    image("names/UPPER.PNG", PNG),
    image("names/upper.png", PNG),
    image("names/a.b.c.png", PNG),
    image("names/a\\b.png", PNG),
    image("names/-rf.png", PNG),
    image("names/[bold]x[red].png", PNG),
    image("names/<script>alert(1)<.png", PNG),
    image('names/=1+1,"quoted".png', PNG),
    image("names/{0} %s $HOME `id`.png", PNG),
    image("names/nul.png", PNG),
    broken("names/.hidden.png", PNG, "hidden"),
    broken("names/._x.jpg", JPEG, "hidden"),
    broken("names/line\nbreak.png", PNG, "name cannot be written down", "names/line\\nbreak.png"),
    broken("names/return\r.png", PNG, "name cannot be written down", "names/return\\r.png"),
    broken("names/escape\x1b[31m.png", PNG, "name cannot be written down", "names/escape\\x1b[31m.png"),
    broken("names/separator\u2028.png", PNG, "name cannot be written down", "names/separator\\u2028.png"),
    broken(os.fsdecode(b"names/\xff.png"), PNG, "name cannot be written down", "names/\\\\udcff.png"),
    other(os.fsdecode(b"\xff-class"), Path.mkdir, "name cannot be written down", "\\\\udcff-class"),
)

LINKS = (
    other("links/itself.jpg", link("itself.jpg"), "not a regular file"),
    other("links/broken.jpg", link("nowhere.jpg"), "not a regular file"),
    other("links/name-too-long.jpg", link("n" * 300), "not a regular file"),
    other("links/zero.jpg", link("/dev/zero"), "not a regular file"),
    other("links/back", link(".."), "link that leads back to a folder above it", "links/back/"),
    other("links/outside.png", link("../../outside/secret.png"), None),
    other("links/outside-folder", link("../../outside/folder"), None),
    other("links/other-class.png", link("../odd/plain-00.png"), None),
    other("links/folder.jpg", Path.mkdir, None),
    other("links/pipe.jpg", os.mkfifo, "not a regular file"),
    other("links/socket.jpg", lambda path: os.mknod(path, stat.S_IFSOCK | 0o600), "not a regular file"),
    broken("links/locked.jpg", JPEG, "cannot be opened"),
    broken("links/vanishes.jpg", JPEG, "cannot be opened"),
    broken("links/changes.jpg", JPEG, "changed while it was read"),
    Case("links/gone-later.png", lambda path, seed: path.write_bytes(PNG(seed)), "cannot be opened", lost=True),
    broken("loose.jpg", JPEG, "not in a class folder"),
    other("empty", Path.mkdir, "empty class folder", "empty/"),
)

CASES = (*FORMATS, *DAMAGED_BUT_WHOLE, *BROKEN, *NAMES, *LINKS)
IMAGES = [case for case in CASES if case.facts]
LEFT_OUT = [case for case in CASES if case.reason and not case.lost]
CLASSES = ("formats", "odd", "broken", "names", "links")


def name_of(case: Case) -> str:
    return ascii(case.relpath)[1:-1][:60]
