"""Random changes to a training image, drawn by a recipe.

The deck's colour changes are affine in RGB: its hue shift is taken as a rotation in YIQ, as TensorFlow's own fast path
does. What the deck asks for is drawn first and whatever else a recipe adds after it, so that this adds no other draws.
"""

import math

import numpy as np

from linnaeus.data.changes import Change, ColourStep, Matrix, Patch, changed
from linnaeus.data.decode import Pixels
from linnaeus.data.rand_augment import COLOURS, FILTERS, LUMA, OPERATIONS, WARPS, rotated, saturated, shifted
from linnaeus.recipe_sections import AugmentRecipe

RGB_TO_YIQ = np.array([LUMA, [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])  # FCC NTSC, 1953
YIQ_TO_RGB = np.linalg.inv(RGB_TO_YIQ)

# Of the area, and height to width; Zhong et al. 2020, section 4.2.
ERASED_SHARE = (0.02, 0.4)
ERASED_ASPECT = 0.3


def augmented(pixels: Pixels, recipe: AugmentRecipe, random: np.random.Generator) -> Pixels:
    """A randomly changed copy of an image, of the same shape (height, width, 3) uint8."""
    height, width = pixels.shape[:2]
    return changed(pixels, drawn_change(height, width, recipe, random))


def drawn_change(height: int, width: int, recipe: AugmentRecipe, random: np.random.Generator) -> Change:
    """A random change to an image of that size.

    All warps come before all colours, and those before all filters, whatever the order in which they are drawn: that
    resamples the image once.
    """
    change = Change(geometry_matrix(height, width, recipe, random), (colour_step(recipe, random),))
    if recipe.shift or recipe.rotate:
        change = change._replace(warp=_moved(height, width, recipe, random) @ _homogeneous(change.warp))
    for _ in range(recipe.rand_augment):
        change = _with_operation(change, (height, width), recipe.magnitude, random)
    if recipe.erase and random.random() < recipe.erase:
        change = change._replace(patch=_patch(height, width, random))
    return change


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


def colour_step(recipe: AugmentRecipe, random: np.random.Generator) -> ColourStep:
    """Random brightness, contrast, saturation and hue, in that order."""
    brightness = random.uniform(-recipe.brightness, recipe.brightness) * 255
    contrast = random.uniform(*recipe.contrast)
    saturation = random.uniform(*recipe.saturation)
    angle = random.uniform(-recipe.hue, recipe.hue) * 2 * math.pi
    rotation = np.array([[1, 0, 0], [0, math.cos(angle), -math.sin(angle)], [0, math.sin(angle), math.cos(angle)]])
    turn = YIQ_TO_RGB @ rotation @ RGB_TO_YIQ @ saturated(saturation)
    return ColourStep(turn, contrast, brightness)


def _moved(height: int, width: int, recipe: AugmentRecipe, random: np.random.Generator) -> Matrix:
    """The first two rows of a random shift after a random rotation."""
    degrees = random.uniform(-recipe.rotate, recipe.rotate)
    share_x, share_y = random.uniform(-recipe.shift, recipe.shift, size=2)
    both: Matrix = shifted(share_x, share_y, height, width) @ rotated(degrees, height, width)
    return both[:2]


def _with_operation(change: Change, size: tuple[int, int], magnitude: float, random: np.random.Generator) -> Change:
    """The change with one more operation of RandAugment, any as likely as any other, and either way round."""
    name = OPERATIONS[random.integers(len(OPERATIONS))]
    signed = magnitude * (1 if random.random() < 0.5 else -1)
    if name in WARPS:
        return change._replace(warp=WARPS[name](signed, *size)[:2] @ _homogeneous(change.warp))
    if name in COLOURS:
        return change._replace(colours=(*change.colours, COLOURS[name](signed)))
    if name in FILTERS:
        return change._replace(filters=(*change.filters, FILTERS[name](signed)))
    return change


def _patch(height: int, width: int, random: np.random.Generator) -> Patch:
    """Noise over a random rectangle."""
    area = random.uniform(*ERASED_SHARE) * height * width
    aspect = math.exp(random.uniform(math.log(ERASED_ASPECT), -math.log(ERASED_ASPECT)))
    rows = min(max(1, round(math.sqrt(area * aspect))), height)
    columns = min(max(1, round(math.sqrt(area / aspect))), width)
    top, left = int(random.integers(height - rows + 1)), int(random.integers(width - columns + 1))
    return Patch(top, left, random.integers(0, 256, (rows, columns, 3), dtype=np.uint8))


def _homogeneous(warp: Matrix) -> Matrix:
    return np.concatenate([warp, [[0.0, 0.0, 1.0]]])
