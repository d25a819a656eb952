"""How alike two pictures are, pixel by pixel, once one is laid over the other."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

THUMBNAIL_SIDE = 64  # pixels a side of the thumbnails that are compared, whatever the pictures' aspect
DETAIL_PX = 4.0  # what is smoother than this is taken away: light, sky and ground are alike in many pictures
FLOOR = 0.25  # variance, in squared grey levels, that is noise: pictures with no more detail resemble nothing
ALIKE = 0.9  # correlation as they lie from which nothing better is sought
LEAST_OVERLAP = 0.6  # of the area, for two pictures to be parts of one
LARGEST_SCALING = 0.25
LARGEST_SHEAR = 0.05
MOVED_PX = 1.3  # of a corner, 2 % of the side: from this on a picture is cropped
STEPS = 40
ENOUGH = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, STEPS, 1e-4)
SMOOTHING_PX = 5


@dataclass(frozen=True)
class Likeness:
    """The correlation of two pictures' fine detail, 0 to 1, and whether one had to be moved or scaled for it."""

    similarity: float
    is_cropped: bool


def thumbnail(luma: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The (64, 64) thumbnail that is compared, of a grey picture of any size."""
    squeezed: NDArray[np.uint8] = cv2.resize(luma, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
    return squeezed


def likeness(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Likeness:
    """How alike two thumbnails are, as they lie or, where that is better, with the second moved and scaled.

    Brightness and contrast make no difference, and a picture without contrast resembles nothing. The alignment
    maximises the correlation (Evangelidis and Psarakis 2008, "Parametric image alignment using enhanced correlation
    coefficient maximization"), and finds crops of up to about a tenth of each side.
    """
    details = _detail(first), _detail(second)
    as_they_lie = _correlation(*details)
    if as_they_lie >= ALIKE or min(details[0].var(), details[1].var()) < FLOOR:
        return Likeness(max(as_they_lie, 0.0), is_cropped=False)
    warp = _alignment(first, second)
    if warp is None or not _is_crop(warp):
        return Likeness(max(as_they_lie, 0.0), is_cropped=False)
    moved, is_inside = _warped(details[1], warp)
    aligned = _correlation(details[0][is_inside], moved[is_inside]) if is_inside.mean() >= LEAST_OVERLAP else 0.0
    corners = np.array([[0, 0, 1], [THUMBNAIL_SIDE, 0, 1], [0, THUMBNAIL_SIDE, 1], [THUMBNAIL_SIDE, THUMBNAIL_SIDE, 1]])
    travelled = np.abs(corners @ warp.T - corners[:, :2]).max()
    return Likeness(max(as_they_lie, aligned, 0.0), is_cropped=bool(aligned > as_they_lie and travelled > MOVED_PX))


def _detail(luma: NDArray[np.uint8]) -> NDArray[np.float32]:
    values = luma.astype(np.float32)
    detail: NDArray[np.float32] = values - cv2.GaussianBlur(values, (0, 0), DETAIL_PX)
    return detail


def _correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    first, second = first - first.mean(), second - second.mean()
    return float((first * second).mean() / np.sqrt((first.var() + FLOOR) * (second.var() + FLOOR)))


def _alignment(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32] | None:
    """The affine map, (2, 3), from the first's pixels to the second's; None where no good one is found."""
    start = np.eye(2, 3, dtype=np.float32)
    try:
        warp: NDArray[np.float32]
        _, warp = cv2.findTransformECC(
            first.astype(np.float32),
            second.astype(np.float32),
            start,
            cv2.MOTION_AFFINE,
            ENOUGH,
            None,
            SMOOTHING_PX,
        )
    except cv2.error:  # it gives up on pictures that have nothing in common
        return None
    return warp


def _is_crop(warp: NDArray[np.float32]) -> bool:
    """Whether a map only moves and scales a picture; two drawings of one thing can be made alike by shearing."""
    scales, shears = np.diag(warp[:, :2]), warp[[0, 1], [1, 0]]
    return bool((np.abs(scales - 1) <= LARGEST_SCALING).all() and (np.abs(shears) <= LARGEST_SHEAR).all())


def _warped(detail: NDArray[np.float32], warp: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The second picture's detail as it lies on the first, and which of the first's pixels it covers."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(detail, warp, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), flags=flags)
    coverage = cv2.warpAffine(np.ones_like(detail), warp, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), flags=flags)
    return moved, coverage > 0.999
