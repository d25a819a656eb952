"""What a random change does to an image, apart from how it is drawn: one warp, one colour matrix, then the rest.

Whatever moves pixels multiplies into one 2 x 3 warp. Brightness, contrast, saturation and hue are affine in RGB and in
the image's mean, so they multiply into one 3 x 4 matrix. Filters and an erased rectangle follow, in the order drawn.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from linnaeus.data.decode import Pixels

Matrix = NDArray[np.float64]
Filter = Callable[[Pixels], Pixels]

# Outside of the image lies its mirror image. A crop never shows more of that than the half pixel at the rim.
BORDER = cv2.BORDER_REFLECT


class ColourStep(NamedTuple):
    """RGB x in 0 to 255 becomes turn @ (contrast * x + (1 - contrast) * mean + shift); mean is the image's RGB."""

    turn: Matrix
    contrast: float
    shift: float


class Patch(NamedTuple):
    """Pixels (height, width, 3) that hide what is under them; their upper left corner is at (top, left)."""

    top: int
    left: int
    pixels: Pixels


class Change(NamedTuple):
    """All that happens to one image. warp: 2 x 3, from source to target places, in pixels."""

    warp: Matrix
    colours: tuple[ColourStep, ...] = ()
    filters: tuple[Filter, ...] = ()
    patch: Patch | None = None


def changed(pixels: Pixels, change: Change) -> Pixels:
    """A changed copy of an image, of the same shape (height, width, 3) uint8."""
    height, width = pixels.shape[:2]
    moved = cv2.warpAffine(pixels, change.warp, (width, height), flags=cv2.INTER_LINEAR, borderMode=BORDER)
    mean = np.array(cv2.mean(moved)[:3])
    image: Pixels = cv2.transform(moved, colour_matrix(change.colours, mean), dst=moved)
    for filtered in change.filters:
        image = filtered(image)
    if change.patch is not None:
        top, left, patch = change.patch
        image[top : top + patch.shape[0], left : left + patch.shape[1]] = patch
    return image


def colour_matrix(steps: Sequence[ColourStep], mean: Matrix) -> Matrix:
    """The 3 x 4 matrix of colour steps, one after the other, on an image with that mean (RGB in 0 to 255)."""
    matrix = np.eye(3, 4)
    for turn, contrast, shift in steps:
        mean_now = matrix[:, :3] @ mean + matrix[:, 3]
        offset = contrast * matrix[:, 3] + (1 - contrast) * mean_now + shift
        matrix = np.concatenate([contrast * turn @ matrix[:, :3], (turn @ offset)[:, None]], axis=1)
    return matrix


def colour_map(steps: Sequence[ColourStep]) -> Matrix:
    """The same for any mean, 3 x 7: times (pixel, mean, 1) it gives the changed pixel."""
    matrix, one = np.eye(3, 7), np.eye(7)[6]
    for turn, contrast, shift in steps:
        mean_now = np.concatenate([np.zeros((3, 3)), matrix[:, :3] + matrix[:, 3:6], matrix[:, 6:]], axis=1)
        matrix = turn @ (contrast * matrix + (1 - contrast) * mean_now + shift * one)
    return matrix
