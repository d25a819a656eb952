"""What a JPEG's markers say, without decoding it. Source: ITU-T T.81, B.1.1."""

import re
from collections.abc import Iterator

FILL, END_OF_IMAGE, START_OF_SCAN = 0xFF, 0xD9, 0xDA
SEQUENTIAL_FRAMES = (0xC0, 0xC1, 0xC9)  # baseline, extended, and extended in arithmetic coding
# In a scan, what is neither a stuffed byte nor a restart marker ends it.
MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


def application_segments(content: bytes) -> set[bytes]:
    """The first four letters of each application segment (EXIF, ICC, MPF ...) before the first scan."""
    names = set()
    for marker, place in _segments(content):
        if marker == START_OF_SCAN:
            break
        if 0xE0 <= marker <= 0xEF:
            names.add(content[place : place + 4])
    return names


def has_more_scans(content: bytes, most: int) -> bool:
    """Whether more than `most` scans are to be decoded. Each is worked through at the size of the whole image, whatever
    it holds, so that a small file of many keeps a decoder busy for hours."""
    components = 0  # that come in a scan each, or in several
    for marker, place in _segments(content):
        if marker in SEQUENTIAL_FRAMES:
            components = content[place + 5]
        elif marker == START_OF_SCAN:
            if content[place] == components:  # all in one scan; decoders refuse another
                return False
            break
    if content.count(bytes((FILL, START_OF_SCAN))) <= most:  # quick, and mostly enough
        return False
    return sum(marker == START_OF_SCAN for marker, _ in _segments(content)) > most


def _segments(content: bytes) -> Iterator[tuple[int, int]]:
    """Each segment's marker and where its body begins, up to the end of the image; at least six bytes follow."""
    place = 2
    while place + 10 <= len(content) and content[place] == FILL and content[place + 1] != END_OF_IMAGE:
        marker = content[place + 1]
        if marker == FILL:
            place += 1
            continue
        yield marker, place + 4
        place += 2 + (content[place + 2] << 8 | content[place + 3])
        if marker == START_OF_SCAN:
            found = MARKER.search(content, place)
            place = found.start() if found else len(content)
