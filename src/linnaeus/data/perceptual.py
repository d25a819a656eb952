"""Perceptual hashes: 64 bits that stay nearly the same when a picture is recompressed, rescaled or brightened.

The definition is that of `imagehash.phash`: the picture squeezed to 32 x 32 pixels, its two-dimensional DCT-II, the
8 x 8 lowest frequencies, a bit for each that is above their median. Sources: N. Krawetz, "Looks Like It" (2011),
http://www.hackerfactor.com/blog/index.php?/archives/432-Looks-Like-It.html; imagehash 4.3.
"""

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from linnaeus.errors import CatalogueError

SIDE = 32  # pixels a side of the squeezed picture
LOW = 8  # frequencies a side that are kept
CENTRE_SHARE = 0.9  # of each side, in the hash of the centre
HASH_COLUMNS = ("phash", "phash_mirrored", "phash_centre")
DIGITS = 16


def hash_columns(lumas: Sequence[NDArray[np.uint8]]) -> dict[str, list[str]]:
    """The hashes of grey pictures, (height, width) uint8 of any size, by column, as 16 hexadecimal digits each.

    phash: of the picture; phash_mirrored: of its mirror image; phash_centre: of the middle 90 % of each of its sides.
    Two hashes of one picture differ in an even number of bits, since half of the bits are set unless frequencies tie.
    """
    squeezed = np.stack([cv2.resize(luma, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for luma in lumas])
    # Whole numbers, so that rounding errors neither decide a bit nor tell a mirrored picture from its mirror image.
    spectra = np.rint(BASES @ squeezed.astype(np.float32) @ BASES_TRANSPOSED)
    whole, centre = spectra[:, :LOW, :LOW], spectra[:, LOW:, LOW:]
    hashes = (_bits(whole), _bits(whole * MIRROR_SIGNS), _bits(centre))
    return dict(zip(HASH_COLUMNS, map(hash_text, hashes), strict=True))


def _bits(frequencies: NDArray[np.float32]) -> NDArray[np.uint64]:
    rows = frequencies.reshape(len(frequencies), LOW * LOW)
    # Above the lower of the two middle values is the same as above their mean, which is the median.
    is_above = rows > np.sort(rows, axis=1)[:, LOW * LOW // 2 - 1, np.newaxis]
    return np.packbits(is_above, axis=1).view(">u8")[:, 0].astype(np.uint64)


def hash_text(numbers: Iterable[int]) -> list[str]:
    """Hashes as 16 hexadecimal digits each, the form that imagehash prints and the catalogue stores."""
    return [f"{number:0{DIGITS}x}" for number in map(int, numbers)]


def hash_number(texts: Iterable[str]) -> NDArray[np.uint64]:
    """Hashes from 16 hexadecimal digits each, such as a column of a catalogue. Raises CatalogueError for others."""
    texts = [*texts]
    wrong = next((text for text in texts if not isinstance(text, str) or len(text) != DIGITS), None)
    try:
        if wrong is not None:
            raise ValueError(wrong)
        return np.frombuffer(bytes.fromhex("".join(texts)), dtype=">u8").astype(np.uint64)
    except ValueError:
        raise CatalogueError(
            f"a perceptual hash is no {DIGITS} hexadecimal digits{f' but {wrong!r}' if wrong is not None else ''}; "
            "catalogue the images again"
        ) from None


def _cosines() -> NDArray[np.float64]:
    """The DCT-II's lowest frequencies, a row each."""
    angles = np.outer(np.arange(LOW), 2 * np.arange(SIDE) + 1) * (np.pi / (2 * SIDE))
    cosines: NDArray[np.float64] = np.cos(angles)
    return cosines


def _stretch(share: float) -> NDArray[np.float64]:
    """What stretches the middle `share` of a row of pixels to the whole row, by area; a row an output pixel."""
    edges = np.linspace(SIDE * (1 - share) / 2, SIDE * (1 + share) / 2, SIDE + 1)[:, np.newaxis]
    pixels = np.arange(SIDE)
    overlap = np.minimum(edges[1:], pixels + 1) - np.maximum(edges[:-1], pixels)
    area: NDArray[np.float64] = np.maximum(overlap, 0) / share
    return area


# The whole picture's basis above the centre's, so that one product gives both spectra: cropping is linear too.
BASES = np.concatenate([_cosines(), _cosines() @ _stretch(CENTRE_SHARE)]).astype(np.float32)
BASES_TRANSPOSED = np.ascontiguousarray(BASES.T)
MIRROR_SIGNS = np.where(np.arange(LOW) % 2, -1, 1).astype(np.float32)
