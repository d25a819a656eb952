"""Random changes to a training image: one affine warp and one colour matrix, whatever is asked for.

All of the deck's colour changes are affine in RGB (its hue shift is taken as a rotation in YIQ, as TensorFlow's
own fast path does), so they multiply into one 3 x 4 matrix; flips and crop multiply into one 2 x 3 warp.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from linnaeus.data.decode import Pixels
from linnaeus.recipe_sections import AugmentRecipe

Matrix = NDArray[np.float64]

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
RGB_TO_YIQ = np.array([LUMA, [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])  # FCC NTSC, 1953
YIQ_TO_RGB = np.linalg.inv(RGB_TO_YIQ)


def augmented(pixels: Pixels, recipe: AugmentRecipe, random: np.random.Generator) -> Pixels:
    """A randomly changed copy of an image, of the same shape (height, width, 3) uint8."""
    height, width = pixels.shape[:2]
    warp = geometry_matrix(height, width, recipe, random)
    moved = cv2.warpAffine(pixels, warp, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    mean = np.array(cv2.mean(moved)[:3])
    changed: Pixels = cv2.transform(moved, colour_matrix(mean, recipe, random))
    return changed


def geometry_matrix(height: int, width: int, recipe: AugmentRecipe, random: np.random.Generator) -> Matrix:
    """The 2 x 3 matrix that crops to `recipe.crop` to 1 of both sides, scales back, and flips with odds of 1 in 2."""
    share = random.uniform(recipe.crop, 1.0)
    left, top = random.uniform(0, width * (1 - share)), random.uniform(0, height * (1 - share))
    is_mirrored = recipe.flip_horizontal and random.random() < 0.5
    is_upturned = recipe.flip_vertical and random.random() < 0.5
    # In pixel centres: a target pixel x shows the source pixel (x + 0.5) * share + left - 0.5.
    scale = 1 / share
    x = np.array([scale, 0.0, (0.5 - left) * scale - 0.5])
    y = np.array([0.0, scale, (0.5 - top) * scale - 0.5])
    if is_mirrored:
        x = np.array([0.0, 0.0, width - 1]) - x
    if is_upturned:
        y = np.array([0.0, 0.0, height - 1]) - y
    return np.stack([x, y])


def colour_matrix(mean: Matrix, recipe: AugmentRecipe, random: np.random.Generator) -> Matrix:
    """The 3 x 4 matrix of brightness, contrast (about `mean`, RGB in 0 to 255), saturation and hue, in that order."""
    brightness = random.uniform(-recipe.brightness, recipe.brightness) * 255
    contrast = random.uniform(*recipe.contrast)
    saturation = random.uniform(*recipe.saturation)
    angle = random.uniform(-recipe.hue, recipe.hue) * 2 * math.pi
    rotation = np.array([[1, 0, 0], [0, math.cos(angle), -math.sin(angle)], [0, math.sin(angle), math.cos(angle)]])
    saturate = saturation * np.eye(3) + (1 - saturation) * np.outer(np.ones(3), LUMA)
    turn = YIQ_TO_RGB @ rotation @ RGB_TO_YIQ @ saturate
    shift = (1 - contrast) * mean + brightness
    return np.concatenate([contrast * turn, (turn @ shift)[:, None]], axis=1)
