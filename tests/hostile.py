"""Builders of bad and odd image files: each gives the bytes of one file, from a seed for its picture."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

Build = Callable[[int], bytes]

SIZE = (30, 20)  # width, height
EXIF_HEAD = b"Exif\0\0MM\0*"


def noise(seed: int = 0, mode: str = "RGB", size: tuple[int, int] = SIZE) -> Image.Image:
    """A picture that resembles no other seed's, in any of Pillow's modes."""
    width, height = size
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    if mode in {"I", "I;16", "F"}:
        values = np.asarray(image.convert("L"), dtype=np.float32) * 257
        return Image.fromarray(values.astype({"I": np.int32, "I;16": np.uint16, "F": np.float32}[mode]))
    if mode in {"LA", "RGBA"}:
        image = image.convert(mode)
        image.putalpha(Image.linear_gradient("L").resize((width, height)))
        return image
    return image.convert(mode)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """An image as a file of a format, by Pillow's name of it."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture(kind: str, mode: str = "RGB", size: tuple[int, int] = SIZE, **options: Any) -> Build:
    """What makes a picture of a format and mode."""
    return lambda seed: encoded(noise(seed, mode, size), kind, **options)


def frames(kind: str, count: int = 3) -> Build:
    """What makes an animation, or a file of several pages."""
    return lambda seed: encoded(
        noise(seed),
        kind,
        save_all=True,
        append_images=[noise(seed + 1000 * place) for place in range(1, count)],
    )


def turned(orientation: int, kind: str = "JPEG") -> Build:
    """What makes a picture with an EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return picture(kind, exif=exif)


def sixteen_bit_rgb_png(seed: int) -> bytes:
    """A PNG of 16 bits a channel in colour, which Pillow itself cannot write."""
    width, height = SIZE
    samples = (np.asarray(noise(seed)).astype(np.uint16) * 257).astype(">u2").reshape(height, -1)
    rows = b"".join(b"\0" + row.tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG. Source: PNG specification (ISO/IEC 15948), 5.3."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_with(chunks: Callable[[], bytes]) -> Build:
    """What makes a PNG with further chunks right after its header."""

    def build(seed: int) -> bytes:
        plain = encoded(noise(seed))
        return plain[:33] + chunks() + plain[33:]

    return build


def jpeg_with(segments: bytes) -> Build:
    """What makes a JPEG with further segments right after its first marker."""

    def build(seed: int) -> bytes:
        plain = encoded(noise(seed), "JPEG")
        return plain[:2] + segments + plain[2:]

    return build


def segment(marker: int, body: bytes, length: int | None = None) -> bytes:
    """A segment of a JPEG, which may lie about its length. Source: ITU-T T.81, B.1.1."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2 if length is None else length) + body


def exif_entry(tag: int, kind: int, count: int, value: bytes) -> bytes:
    """An EXIF block with a single entry. Source: CIPA DC-008 (Exif 2.32), 4.6.2."""
    return EXIF_HEAD + struct.pack(">IHHHI", 8, 1, tag, kind, count) + value.ljust(4, b"\0")[:4] + bytes(4)


def exif_that_overruns() -> bytes:
    """An orientation of 6 beside an entry whose values lie far beyond the end."""
    orientation = struct.pack(">HHIHxx", 0x0112, 3, 1, 6)
    beyond = struct.pack(">HHII", 0x9286, 7, 2**31, 2**31)
    return EXIF_HEAD + struct.pack(">IH", 8, 2) + orientation + beyond + struct.pack(">I", 8)


def arithmetic_jpeg(seed: int) -> bytes:
    """A JPEG in arithmetic coding (SOF9). Any bits are a valid code, so those of a Huffman code serve."""
    plain = encoded(noise(seed, "L"), "JPEG")
    place, parts = 2, [plain[:2]]
    while plain[place + 1] != 0xDA:
        end = place + 2 + int.from_bytes(plain[place + 2 : place + 4], "big")
        if plain[place + 1] == 0xC0:
            parts.append(b"\xff\xc9" + plain[place + 2 : end])
        elif plain[place + 1] != 0xC4:
            parts.append(plain[place:end])
        place = end
    head_end = place + 2 + int.from_bytes(plain[place + 2 : place + 4], "big")
    return b"".join([*parts, plain[place:head_end], bytes(64), b"\xff\xd9"])


def many_scans(seed: int) -> bytes:
    """A progressive JPEG whose last scan comes two hundred times."""
    plain = encoded(noise(seed), "JPEG", progressive=True)
    last = plain.rindex(b"\xff\xda")
    return plain[:last] + plain[last:-2] * 200 + plain[-2:]


def png_bomb(seed: int) -> bytes:
    """A PNG of a few bytes that says it has 60,000 x 60,000 pixels."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def text_bomb() -> bytes:
    """A chunk of a PNG with a compressed text that is 20 MiB long."""
    compressor = zlib.compressobj(9)
    text = b"".join(compressor.compress(bytes(1 << 20)) for _ in range(20)) + compressor.flush()
    return chunk(b"zTXt", b"Comment\0\0" + text)


def tiff_bomb(seed: int) -> bytes:
    """A TIFF of 60,000 x 60,000 pixels without any."""
    entries = ((256, 4, 60_000), (257, 4, 60_000), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1))
    rows = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + rows + bytes(4)


def tiff_that_circles(seed: int) -> bytes:
    """A TIFF whose first page names itself as the next."""
    plain = bytearray(encoded(noise(seed), "TIFF"))
    place = int.from_bytes(plain[4:8], "little")
    count = int.from_bytes(plain[place : place + 2], "little")
    plain[place + 2 + 12 * count : place + 6 + 12 * count] = plain[4:8]
    return bytes(plain)


def gif_bomb(seed: int) -> bytes:
    """A GIF with a screen of 65,535 x 65,535 pixels."""
    return b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + encoded(noise(seed), "GIF")[10:]


def gif_with_script(seed: int) -> bytes:
    """A GIF that is a script too: what stands after its end is no part of the picture."""
    return encoded(noise(seed), "GIF") + b"/*'*/=1;alert(document.domain)//"


def bmp_bomb(seed: int) -> bytes:
    """A BMP of 65,500 x 65,500 pixels without any."""
    core = struct.pack("<IiiHHIIiiII", 40, 65_500, 65_500, 1, 24, 0, 0, 2835, 2835, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + core


def webp_bomb(seed: int) -> bytes:
    """A lossless WebP of 16,383 x 16,383 pixels, the most that the format has, in a few bytes."""
    plain = bytearray(encoded(noise(seed), "WEBP", lossless=True))
    place = plain.index(b"VP8L") + 9
    plain[place : place + 4] = struct.pack("<I", 16_382 | 16_382 << 14)
    return bytes(plain)


def jpeg_bomb(seed: int) -> bytes:
    """A JPEG of a few bytes that says it has 65,500 x 65,500 pixels."""
    plain = bytearray(encoded(noise(seed), "JPEG"))
    place = plain.index(b"\xff\xc0")
    plain[place + 5 : place + 9] = struct.pack(">HH", 65_500, 65_500)
    return bytes(plain)


def icon_bomb(seed: int) -> bytes:
    """An icon that says it is 16 x 16 and holds a PNG of 11,000 x 11,000 pixels."""
    rows = zlib.compress(bytes((1 + 11_000 // 8) * 11_000), 1)
    header = struct.pack(">IIBBBBB", 11_000, 11_000, 1, 0, 0, 0, 0)
    inner = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 1, len(inner), 22)
    return struct.pack("<HHH", 0, 1, 1) + entry + inner


def jpeg_and_zip(seed: int) -> bytes:
    """A JPEG that is a ZIP archive too."""
    end = b"PK\5\6" + bytes(18)
    return encoded(noise(seed), "JPEG") + end


def postscript(seed: int) -> bytes:
    """An EPS file, which an interpreter of a whole language would have to draw."""
    return encoded(noise(seed), "EPS")


def first_part(build: Build, share: float = 1.0, less: int = 0) -> Build:
    """What makes a file's first part: a share of its bytes, less some."""

    def cut(seed: int) -> bytes:
        content = build(seed)
        return content[: round(len(content) * share) - less]

    return cut


def just(content: bytes) -> Build:
    """What gives these bytes, whatever the seed."""
    return lambda seed: content
