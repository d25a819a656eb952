"""What an image's pixels say of its quality: brightness, contrast, sharpness, information, colour.

Measured on a reduced copy of at least about 112 pixels a side, made by averaging whole blocks of pixels, so that the
figures of a photograph do not depend on the megapixels it was taken with. What can be done for many images at once is
done by `measures`, since calls on small arrays cost more than their arithmetic.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from linnaeus.data.decode import Pixels

REDUCED_SIDE = 112
SMALLEST_SIDE = 8
MIDDLE = 128  # chroma of a grey pixel
MEASURES = ("brightness", "contrast", "luma_p5", "luma_p95", "sharpness", "entropy", "colourfulness")


class Sample(NamedTuple):
    """What is taken from one image: the root mean square of the Laplacian of its reduced copy; of that copy halved the
    histogram of luma (256 counts), the mean and standard deviation of both chroma channels (0 to 255), and luma."""

    histogram: NDArray[np.float32]
    laplacian: float
    chroma_mean: NDArray[np.float64]
    chroma_std: NDArray[np.float64]
    grey: Pixels


def take_sample(pixels: Pixels) -> Sample:
    """The sample of an upright RGB image, (height, width, 3) uint8."""
    small = _reduced(pixels)
    luma = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    edges = cv2.Laplacian(luma, cv2.CV_16S)
    laplacian = float(cv2.norm(edges, cv2.NORM_L2)) / float(luma.size) ** 0.5
    mean, deviation = cv2.meanStdDev(cv2.cvtColor(_halved(small), cv2.COLOR_RGB2YCrCb))
    grey = _halved(luma)
    histogram = cv2.calcHist([grey], [0], None, [256], [0, 256])
    return Sample(histogram, laplacian, mean[1:, 0], deviation[1:, 0], grey)


def measures(samples: Sequence[Sample]) -> dict[str, NDArray[np.float64]]:
    """The columns that the catalogue has of each image's quality (`docs/catalogue.md`), an array each.

    brightness, contrast: mean and standard deviation of luma (ITU-R BT.601), luma_p5, luma_p95: percentiles of it; all
    on a scale where white is 1. sharpness: root mean square of the 3 x 3 Laplacian of luma, same scale. entropy: of the
    histogram of luma, bits (Shannon), 0 to 8. colourfulness: root mean square distance from grey of the chroma, where
    the largest possible value of one channel is 1; 0 for a grey image.
    """
    shares = np.stack([sample.histogram for sample in samples]).reshape(-1, 256).astype(np.float64)
    shares /= shares.sum(axis=1, keepdims=True)
    levels = np.arange(256) / 255
    brightness = shares @ levels
    reached = shares.cumsum(axis=1)
    chroma_mean = np.stack([sample.chroma_mean for sample in samples]) - MIDDLE
    chroma_std = np.stack([sample.chroma_std for sample in samples])
    logs = np.log2(shares, out=np.zeros_like(shares), where=shares > 0)
    return {
        "brightness": brightness,
        "contrast": np.sqrt(np.maximum(shares @ levels**2 - brightness**2, 0)),
        "luma_p5": (reached >= 0.05).argmax(axis=1) / 255,
        "luma_p95": (reached >= 0.95).argmax(axis=1) / 255,
        "sharpness": np.array([sample.laplacian for sample in samples]) / 255,
        "entropy": np.abs((shares * logs).sum(axis=1)),
        "colourfulness": np.sqrt((chroma_mean**2 + chroma_std**2).sum(axis=1)) / MIDDLE,
    }


def _reduced(pixels: Pixels) -> Pixels:
    """The mean of whole blocks of pixels; at most a block less one is left out at the right and lower edge."""
    height, width = pixels.shape[:2]
    factor = max(1, max(height, width) // REDUCED_SIDE)
    across, down = (max(1, min(factor, side // SMALLEST_SIDE)) for side in (width, height))
    return _block_means(pixels, across, down)


def _halved(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    return _block_means(pixels, min(2, width), min(2, height))


def _block_means(pixels: Pixels, across: int, down: int) -> Pixels:
    if across == 1 and down == 1:
        return pixels
    columns, rows = pixels.shape[1] // across, pixels.shape[0] // down
    whole = pixels[: rows * down, : columns * across]
    means: Pixels = cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA)
    return means
