import cv2
import numpy as np
import pytest

from linnaeus.data.changes import Change, ColourStep, Patch, changed, colour_map, colour_matrix
from linnaeus.data.decode import Pixels

STILL = np.eye(2, 3)
TURN = np.array([[0.9, 0.1, 0.0], [0.0, 0.8, 0.2], [0.3, 0.0, 0.7]])
STEPS = (ColourStep(TURN, 0.8, 12.0), ColourStep(np.eye(3), 1.3, -5.0), ColourStep(TURN.T, 0.6, 3.0))


def _noise(height: int = 12, width: int = 16) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_change_of_nothing_is_the_image_in_memory_of_its_own() -> None:
    pixels = _noise()
    same = changed(pixels, Change(STILL))
    np.testing.assert_array_equal(same, pixels)
    assert not np.shares_memory(same, pixels)


def test_one_matrix_does_what_the_steps_do_one_after_the_other() -> None:
    image = np.random.default_rng(1).uniform(0, 255, (50, 3))
    mean = image.mean(axis=0)
    for turn, contrast, shift in STEPS:
        image = (contrast * image + (1 - contrast) * image.mean(axis=0) + shift) @ turn.T
    matrix = colour_matrix(STEPS, mean)
    source = np.random.default_rng(1).uniform(0, 255, (50, 3))
    np.testing.assert_allclose(source @ matrix[:, :3].T + matrix[:, 3], image)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_the_map_for_any_mean_is_the_matrix_for_each(count: int) -> None:
    mean, pixel = np.array([90.0, 120.0, 60.0]), np.array([10.0, 200.0, 100.0])
    matrix = colour_matrix(STEPS[:count], mean)
    found = colour_map(STEPS[:count]) @ np.concatenate([pixel, mean, [1.0]])
    np.testing.assert_allclose(found, matrix[:, :3] @ pixel + matrix[:, 3])


def test_filters_come_in_their_order_and_the_patch_last() -> None:
    def doubled(pixels: Pixels) -> Pixels:
        return np.minimum(pixels, 127) * np.uint8(2)

    def inverted(pixels: Pixels) -> Pixels:
        return 255 - pixels

    patch = Patch(1, 2, np.full((2, 3, 3), 7, np.uint8))
    found = changed(np.full((5, 6, 3), 100, np.uint8), Change(STILL, (), (doubled, inverted), patch))
    expected = np.full((5, 6, 3), 55, np.uint8)
    expected[1:3, 2:5] = 7
    np.testing.assert_array_equal(found, expected)


def test_outside_of_an_image_lies_its_mirror_image() -> None:
    pixels = _noise()
    moved = changed(pixels, Change(np.array([[1.0, 0, 4], [0, 1, 0]])))
    np.testing.assert_array_equal(moved[:, :4], pixels[:, 3::-1])
    np.testing.assert_array_equal(moved[:, 4:], pixels[:, :-4])


def test_the_mirror_image_does_to_a_crop_what_repeating_the_rim_does() -> None:
    pixels = _noise(64, 64)
    warp = np.array([[1.17, 0, 0.085], [0, 1.17, -10.965]])  # at the left and the lower rim
    repeated = cv2.warpAffine(pixels, warp, (64, 64), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    np.testing.assert_array_equal(changed(pixels, Change(warp)), repeated)
