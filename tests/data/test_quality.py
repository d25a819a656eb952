from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_sample_image

from linnaeus.data.decode import Pixels
from linnaeus.data.quality import MEASURES, measures, take_sample


def _measured(*images: Pixels) -> dict[str, NDArray[np.float64]]:
    return measures([take_sample(image) for image in images])


def _one(image: Pixels) -> dict[str, float]:
    return {name: float(values[0]) for name, values in _measured(image).items()}


def _flat(*colour: int, side: int = 64) -> Pixels:
    return np.full((side, side, 3), colour, dtype=np.uint8)


def _noise(height: int = 90, width: int = 130) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _photograph() -> Pixels:
    photograph: Any = load_sample_image("flower.jpg")
    return np.ascontiguousarray(photograph)


@pytest.mark.parametrize(("shade", "brightness"), [(0, 0.0), (51, 0.2), (255, 1.0)])
def test_a_flat_image_has_its_brightness_and_nothing_else(shade: int, brightness: float) -> None:
    found = _one(_flat(shade, shade, shade))
    assert found["brightness"] == pytest.approx(brightness)
    assert found["luma_p5"] == found["luma_p95"] == pytest.approx(brightness)
    assert (found["contrast"], found["sharpness"], found["entropy"], found["colourfulness"]) == pytest.approx((0,) * 4)


def test_half_black_and_half_white_has_the_largest_contrast_and_one_bit() -> None:
    image = _flat(0, 0, 0)
    image[:, 32:] = 255
    found = _one(image)
    assert (found["brightness"], found["contrast"], found["entropy"]) == pytest.approx((0.5, 0.5, 1.0))
    assert (found["luma_p5"], found["luma_p95"]) == (0, 1)


def test_the_statistics_of_luma_are_those_that_numpy_finds() -> None:
    image = _noise(40, 40)
    halved = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (20, 20), interpolation=cv2.INTER_AREA) / 255
    found = _one(image)
    assert found["brightness"] == pytest.approx(halved.mean())
    assert found["contrast"] == pytest.approx(halved.std())
    assert found["luma_p95"] == pytest.approx(np.quantile(halved, 0.95, method="inverted_cdf"))


def test_blur_lowers_sharpness_step_by_step() -> None:
    blurred = [cv2.GaussianBlur(_photograph(), (0, 0), sigma) for sigma in (1, 2, 4, 8)]
    sharpness = _measured(_photograph(), *blurred)["sharpness"]
    assert (np.diff(sharpness) < 0).all()


def test_a_grey_image_has_no_colour_and_a_pure_one_has_much() -> None:
    grey = np.repeat(_noise()[:, :, :1], 3, axis=2)
    found = _measured(grey, _flat(255, 0, 0), _flat(90, 100, 90))["colourfulness"]
    assert found[0] == 0
    assert found[1] > 0.8
    assert 0 < found[2] < 0.1


def test_the_size_of_a_photograph_hardly_matters() -> None:
    sizes = [(640, 427), (320, 214), (1280, 854)]
    images = [cv2.resize(_photograph(), size, interpolation=cv2.INTER_AREA) for size in sizes]
    found = _measured(*images)
    for name in ("brightness", "contrast", "luma_p5", "luma_p95", "colourfulness"):
        assert np.ptp(found[name]) < 0.01, name


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (7, 9000), (113, 112), (2, 3)])
def test_any_shape_is_measured_within_the_ranges(shape: tuple[int, int]) -> None:
    found = _one(_noise(*shape))
    assert tuple(found) == MEASURES
    assert all(np.isfinite(value) and value >= 0 for value in found.values())
    assert found["brightness"] <= 1
    assert found["contrast"] <= 0.5
    assert found["entropy"] <= 8
