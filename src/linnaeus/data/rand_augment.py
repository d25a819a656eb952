"""The operations of RandAugment, each by its magnitude. Source: Cubuk et al. 2020, with the ranges of AutoAugment
(Cubuk et al. 2019): at magnitude 1, shear 0.3, shift 0.45 of a side, rotation 30 degrees, factors 0.1 or 1.9."""

import math
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np

from linnaeus.data.changes import ColourStep, Filter, Matrix
from linnaeus.data.decode import Pixels

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
GREY = np.outer(np.ones(3), LUMA)
EYE = np.eye(3)

SHEAR = 0.3
SHIFT = 0.45
DEGREES = 30.0
FACTOR = 0.9
BITS = 4
SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13  # Pillow's SMOOTH, against which it sharpens


def shifted(share_x: float, share_y: float, height: int, width: int) -> Matrix:
    """The 3 x 3 matrix that moves an image by shares of its width and height."""
    return np.array([[1, 0, share_x * width], [0, 1, share_y * height], [0, 0, 1]])


def rotated(degrees: float, height: int, width: int) -> Matrix:
    """The 3 x 3 matrix that turns an image about its centre."""
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    return _about_centre(np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]]), height, width)


def saturated(factor: float) -> Matrix:
    """The 3 x 3 matrix from grey of the same luminance (0) over the image as it is (1) to more colour."""
    return factor * EYE + (1 - factor) * GREY


def posterized(pixels: Pixels, magnitude: float) -> Pixels:
    """Only the upper bits of each value, from 8 of them down to 4."""
    dropped = round(magnitude * BITS)
    return pixels & np.uint8(256 - (1 << dropped))


def solarized(pixels: Pixels, magnitude: float) -> Pixels:
    """Values from a threshold on turned into their negative; it falls from 256 (none of them) to 0 (all)."""
    values = np.arange(256)
    turned = np.where(values >= round(256 * (1 - magnitude)), 255 - values, values)
    out: Pixels = cv2.LUT(pixels, turned.astype(np.uint8))
    return out


def auto_contrasted(pixels: Pixels) -> Pixels:
    """Each channel stretched to the whole of 0 to 255; one that is even stays as it is."""
    return _by_channel(_stretched, pixels)


def equalized(pixels: Pixels) -> Pixels:
    """Each channel with an even histogram."""
    return _by_channel(cv2.equalizeHist, pixels)


def sharpened(pixels: Pixels, factor: float) -> Pixels:
    """From the smoothed image (0) over the image as it is (1) to one with its fine detail doubled (2)."""
    kernel = (1 - factor) * SMOOTH
    kernel[1, 1] += factor
    out: Pixels = cv2.filter2D(pixels, -1, kernel, borderType=cv2.BORDER_REPLICATE)
    return out


def _about_centre(matrix: Matrix, height: int, width: int) -> Matrix:
    centre = np.array([[1, 0, (width - 1) / 2], [0, 1, (height - 1) / 2], [0, 0, 1]])
    turned: Matrix = centre @ matrix @ np.linalg.inv(centre)
    return turned


def _sheared(share_x: float, share_y: float, height: int, width: int) -> Matrix:
    return _about_centre(np.array([[1, share_x, 0], [share_y, 1, 0], [0, 0, 1]]), height, width)


def _stretched(channel: Pixels) -> Pixels:
    low, high, _, _ = cv2.minMaxLoc(channel)
    return cv2.normalize(channel, None, 0, 255, cv2.NORM_MINMAX) if low < high else channel


def _by_channel(function: Callable[[Pixels], Pixels], pixels: Pixels) -> Pixels:
    merged: Pixels = cv2.merge([function(channel) for channel in cv2.split(pixels)])
    return merged


# By a magnitude of -1 to 1, the image's height and its width.
WARPS: dict[str, Callable[[float, int, int], Matrix]] = {
    "shear-x": lambda m, height, width: _sheared(SHEAR * m, 0, height, width),
    "shear-y": lambda m, height, width: _sheared(0, SHEAR * m, height, width),
    "shift-x": lambda m, height, width: shifted(SHIFT * m, 0, height, width),
    "shift-y": lambda m, height, width: shifted(0, SHIFT * m, height, width),
    "rotate": lambda m, height, width: rotated(DEGREES * m, height, width),
}
# By a magnitude of -1 to 1.
COLOURS: dict[str, Callable[[float], ColourStep]] = {
    "brightness": lambda m: ColourStep((1 + FACTOR * m) * EYE, 1.0, 0.0),
    "contrast": lambda m: ColourStep(EYE, 1 + FACTOR * m, 0.0),
    "colour": lambda m: ColourStep(saturated(1 + FACTOR * m), 1.0, 0.0),
}
FILTERS: dict[str, Callable[[float], Filter]] = {
    "sharpness": lambda m: partial(sharpened, factor=1 + FACTOR * m),
    "posterize": lambda m: partial(posterized, magnitude=abs(m)),
    "solarize": lambda m: partial(solarized, magnitude=abs(m)),
    "auto-contrast": lambda _: auto_contrasted,
    "equalize": lambda _: equalized,
}
OPERATIONS = ("identity", *WARPS, *COLOURS, *FILTERS)
