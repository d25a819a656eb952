import cv2
import numpy as np
import pytest
from PIL import Image

from linnaeus.data.decode import Pixels
from linnaeus.data.likeness import Likeness, likeness, thumbnail

SIDE = 160


def _picture(seed: int = 0, side: int = SIDE) -> Pixels:
    generator = np.random.default_rng(seed)
    layers = [
        np.asarray(
            Image.fromarray(generator.random((cells, cells), dtype=np.float32)).resize(
                (side, side), Image.Resampling.BICUBIC
            )
        )
        for cells in (4, 9, 20, 40)
    ]
    return np.asarray(np.clip(sum(layers) / 4 * 255, 0, 255)).astype(np.uint8)


def _likeness(first: Pixels, second: Pixels) -> Likeness:
    return likeness(thumbnail(first), thumbnail(second))


def test_a_picture_is_wholly_like_itself() -> None:
    found = _likeness(_picture(), _picture())
    assert found.similarity == pytest.approx(1, abs=0.01)
    assert not found.is_cropped


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.2])
def test_brightness_makes_no_difference(factor: float) -> None:
    brighter = np.clip(_picture() * factor, 0, 255).astype(np.uint8)
    assert _likeness(_picture(), brighter).similarity > 0.95


def test_another_size_makes_no_difference() -> None:
    assert _likeness(_picture(), cv2.resize(_picture(), (70, 110), interpolation=cv2.INTER_AREA)).similarity > 0.95


@pytest.mark.parametrize(("top", "bottom", "left", "right"), [(8, 8, 8, 8), (8, 0, 0, 0), (0, 0, 0, 8), (3, 9, 0, 12)])
def test_a_cropped_picture_is_laid_over_the_whole(top: int, bottom: int, left: int, right: int) -> None:
    cropped = np.ascontiguousarray(_picture()[top : SIDE - bottom, left : SIDE - right])
    for found in (_likeness(_picture(), cropped), _likeness(cropped, _picture())):
        assert found.similarity > 0.85
        assert found.is_cropped


def test_other_pictures_and_the_mirror_image_are_unlike() -> None:
    others = [_picture(seed) for seed in range(1, 6)] + [_picture()[:, ::-1].copy()]
    assert max(_likeness(_picture(), other).similarity for other in others) < 0.6


def test_pictures_without_contrast_resemble_nothing() -> None:
    generator = np.random.default_rng(0)
    blanks = [np.full((SIDE, SIDE), grey, np.uint8) for grey in (0, 90, 255)]
    noisy = [generator.integers(90, 92, (SIDE, SIDE), dtype=np.uint8) for _ in range(2)]
    for first in blanks + noisy:
        for second in [*blanks, *noisy, _picture()]:
            found = _likeness(first, second)
            assert found.similarity < 0.5
            assert not found.is_cropped


def test_the_same_light_over_another_scene_is_unlike() -> None:
    light = np.linspace(0, 180, SIDE)[:, np.newaxis]
    scenes = [np.clip(light + _picture(seed) / 4, 0, 255).astype(np.uint8) for seed in (1, 2)]
    assert np.corrcoef(scenes[0].ravel(), scenes[1].ravel())[0, 1] > 0.95
    assert _likeness(*scenes).similarity < 0.6
