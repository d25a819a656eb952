import numpy as np
import pytest

from linnaeus.data.changes import Change, changed, colour_matrix
from linnaeus.data.decode import Pixels
from linnaeus.data.rand_augment import (
    COLOURS,
    FILTERS,
    OPERATIONS,
    WARPS,
    auto_contrasted,
    equalized,
    posterized,
    rotated,
    sharpened,
    shifted,
    solarized,
)


def _noise(low: int = 0, high: int = 256) -> Pixels:
    return np.random.default_rng(0).integers(low, high, (12, 16, 3), dtype=np.uint8)


def test_there_are_the_fourteen_operations_of_the_paper() -> None:
    assert len(OPERATIONS) == len(set(OPERATIONS)) == 14


@pytest.mark.parametrize("name", WARPS)
def test_warps_of_no_magnitude_leave_every_pixel_and_opposite_ones_undo_each_other(name: str) -> None:
    np.testing.assert_allclose(WARPS[name](0.0, 12, 16), np.eye(3), atol=1e-12)
    there, back = WARPS[name](0.5, 12, 16), WARPS[name](-0.5, 12, 16)
    assert np.abs(there - np.eye(3)).max() > 0.05
    np.testing.assert_allclose(there @ back, np.diag(np.diag(there @ back)), atol=1.5)


@pytest.mark.parametrize("name", ["rotate", "shear-x", "shear-y"])
def test_turning_and_shearing_keep_the_centre(name: str) -> None:
    np.testing.assert_allclose(WARPS[name](0.7, 11, 21) @ [10, 5, 1], [10, 5, 1])


def test_a_shift_is_a_share_of_its_own_side() -> None:
    np.testing.assert_allclose(shifted(0.5, 0.25, 12, 16) @ [1, 1, 1], [9, 4, 1])


def test_a_quarter_turn_is_that_of_the_image() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    turned = changed(pixels, Change(rotated(90, 9, 9)[:2]))
    np.testing.assert_array_equal(turned, np.rot90(pixels, -1))


@pytest.mark.parametrize("name", COLOURS)
def test_colours_of_no_magnitude_are_the_identity_and_of_some_are_not(name: str) -> None:
    mean = np.array([90.0, 120.0, 60.0])
    np.testing.assert_allclose(colour_matrix([COLOURS[name](0.0)], mean), np.eye(3, 4), atol=1e-12)
    assert np.abs(colour_matrix([COLOURS[name](0.5)], mean) - np.eye(3, 4)).max() > 0.1


@pytest.mark.parametrize(("name", "expected"), [("brightness", [19.0, 9.5, 1.9]), ("contrast", [-80, -99, -113.44])])
def test_factors_reach_1_9_at_full_magnitude(name: str, expected: list[float]) -> None:
    matrix = colour_matrix([COLOURS[name](1.0)], np.array([110.0, 120.56, 128.16]))
    np.testing.assert_allclose(matrix[:, :3] @ [10, 5, 1] + matrix[:, 3], expected, atol=0.6)


@pytest.mark.parametrize("name", ["sharpness", "posterize", "solarize"])
def test_filters_of_no_magnitude_leave_every_pixel(name: str) -> None:
    np.testing.assert_array_equal(FILTERS[name](0.0)(_noise()), _noise())


@pytest.mark.parametrize("name", FILTERS)
def test_filters_change_an_image_of_low_contrast_and_keep_its_shape(name: str) -> None:
    pixels = _noise(100, 180)
    changed_pixels = FILTERS[name](0.6)(pixels)
    assert changed_pixels.shape == pixels.shape
    assert changed_pixels.dtype == np.uint8
    assert (changed_pixels != pixels).any()
    np.testing.assert_array_equal(pixels, _noise(100, 180))


@pytest.mark.parametrize(("magnitude", "values"), [(0.0, 256), (0.5, 64), (1.0, 16)])
def test_posterizing_leaves_four_bits_at_least(magnitude: float, values: int) -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    assert len(np.unique(posterized(ramp, magnitude))) == values


@pytest.mark.parametrize(("magnitude", "expected"), [(0.0, [0, 100, 255]), (0.5, [0, 100, 0]), (1.0, [255, 155, 0])])
def test_solarizing_inverts_what_is_bright(magnitude: float, expected: list[int]) -> None:
    pixels = np.array([0, 100, 255], np.uint8).reshape(1, 3, 1).repeat(3, axis=2)
    assert solarized(pixels, magnitude)[0, :, 0].tolist() == expected


def test_auto_contrast_stretches_each_channel_and_leaves_an_even_one() -> None:
    pixels = _noise(100, 120)
    pixels[..., 2] = 77
    stretched = auto_contrasted(pixels)
    for channel in (0, 1):
        assert (stretched[..., channel].min(), stretched[..., channel].max()) == (0, 255)
    assert (stretched[..., 2] == 77).all()


def test_equalizing_spreads_values_that_lie_close() -> None:
    assert equalized(_noise(100, 110)).std() > 60


def test_sharpening_and_smoothing_keep_what_is_even_and_change_the_spread_of_noise() -> None:
    even = np.full((5, 5, 3), 90, np.uint8)
    np.testing.assert_array_equal(sharpened(even, 1.9), even)
    pixels = _noise(100, 156)
    assert sharpened(pixels, 0.1).std() < pixels.std() < sharpened(pixels, 1.9).std()
