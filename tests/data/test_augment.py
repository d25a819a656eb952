import cv2
import numpy as np
import pytest

from linnaeus.data.augment import augmented, colour_matrix, geometry_matrix
from linnaeus.data.decode import Pixels
from linnaeus.recipe_sections import AugmentRecipe

NOTHING = AugmentRecipe(
    flip_horizontal=False,
    flip_vertical=False,
    brightness=0,
    contrast=(1, 1),
    saturation=(1, 1),
    hue=0,
    crop=1,
)


def _noise(height: int = 12, width: int = 16) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _only(**settings: object) -> AugmentRecipe:
    return AugmentRecipe.model_validate(NOTHING.model_dump() | settings)


def _many(pixels: Pixels, recipe: AugmentRecipe, count: int = 40) -> list[Pixels]:
    random = np.random.default_rng(0)
    return [augmented(pixels, recipe, random) for _ in range(count)]


def _even(red: int, green: int, blue: int) -> Pixels:
    return np.full((6, 6, 3), (red, green, blue), dtype=np.uint8)


def test_a_recipe_that_asks_for_nothing_changes_no_pixel() -> None:
    for changed in _many(_noise(), NOTHING, 5):
        np.testing.assert_array_equal(changed, _noise())


def test_shape_and_type_stay_and_the_source_is_not_touched() -> None:
    source = _noise()
    changed = augmented(source, AugmentRecipe(), np.random.default_rng(1))
    assert changed.shape == source.shape
    assert changed.dtype == np.uint8
    np.testing.assert_array_equal(source, _noise())


def test_the_same_randomness_gives_the_same_pixels() -> None:
    first, again, other = (augmented(_noise(), AugmentRecipe(), np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize(("setting", "axis"), [("flip_horizontal", 1), ("flip_vertical", 0)])
def test_a_flip_mirrors_exactly_about_half_of_the_time(setting: str, axis: int) -> None:
    mirrored = np.flip(_noise(), axis)
    outcomes = _many(_noise(), _only(**{setting: True}), 60)
    is_mirrored = [np.array_equal(outcome, mirrored) for outcome in outcomes]
    is_same = [np.array_equal(outcome, _noise()) for outcome in outcomes]
    assert all(one or other for one, other in zip(is_mirrored, is_same, strict=True))
    assert 15 <= sum(is_mirrored) <= 45


def test_a_flip_s_matrix_puts_the_last_pixel_first() -> None:
    recipe = _only(flip_horizontal=True)
    matrices = [geometry_matrix(12, 16, recipe, np.random.default_rng(seed)) for seed in range(20)]
    places = {tuple((matrix @ [0, 3, 1]).round(9)) for matrix in matrices}
    assert places == {(0.0, 3.0), (15.0, 3.0)}


@pytest.mark.parametrize("share", [0.5, 0.85])
def test_a_crop_shows_at_least_its_share_and_nothing_from_outside(share: float) -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        matrix = geometry_matrix(100, 200, _only(crop=share), random)
        inverse = cv2.invertAffineTransform(matrix)
        left, top = inverse @ [-0.5, -0.5, 1]
        right, bottom = inverse @ [199.5, 99.5, 1]
        assert -0.5 - 1e-9 <= left < right <= 199.5 + 1e-9
        assert -0.5 - 1e-9 <= top < bottom <= 99.5 + 1e-9
        assert (right - left) / 200 >= share - 1e-9
        assert (right - left) / 200 == pytest.approx((bottom - top) / 100)


def test_a_crop_enlarges_what_it_keeps() -> None:
    stripe = np.zeros((64, 64, 3), dtype=np.uint8)
    stripe[:, 28:36] = 255
    widths = [int((outcome[32, :, 0] > 127).sum()) for outcome in _many(stripe, _only(crop=0.5))]
    assert min(widths) >= 8
    assert max(widths) > 12


def test_brightness_adds_at_most_its_share_of_white_and_does_add() -> None:
    shifts = [int(outcome[0, 0, 0]) - 128 for outcome in _many(_even(128, 128, 128), _only(brightness=0.1), 100)]
    assert -26 <= min(shifts) < -15
    assert 15 < max(shifts) <= 26


def test_brightness_never_wraps_around_at_black_and_white() -> None:
    recipe = _only(brightness=0.5)
    assert min(int(outcome.min()) for outcome in _many(_even(250, 250, 250), recipe)) > 100
    assert max(int(outcome.max()) for outcome in _many(_even(5, 5, 5), recipe)) < 150


def test_contrast_keeps_the_mean_and_stretches_the_rest() -> None:
    pixels = np.clip(_noise(40, 40), 100, 160)
    for outcome in _many(pixels, _only(contrast=(1.2, 1.2)), 3):
        assert outcome.mean() == pytest.approx(pixels.mean(), abs=0.6)
        assert outcome.std() == pytest.approx(1.2 * pixels.std(), rel=0.02)


def test_no_saturation_is_grey_of_the_same_luminance() -> None:
    (outcome,) = _many(_even(200, 100, 50), _only(saturation=(0, 0)), 1)
    grey = round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)
    assert np.abs(outcome.astype(int) - grey).max() <= 1


def test_saturation_and_hue_of_nothing_are_the_identity() -> None:
    matrix = colour_matrix(np.array([90.0, 120.0, 60.0]), NOTHING, np.random.default_rng(0))
    np.testing.assert_allclose(matrix, np.eye(3, 4), atol=1e-9)


def test_a_turn_of_hue_and_back_is_the_identity() -> None:
    class Fixed:
        """In place of randomness: the lowest or the highest value of each range."""

        def __init__(self, place: int) -> None:
            self.place = place

        def uniform(self, low: float, high: float) -> float:
            return (low, high)[self.place]

    recipe, mean = _only(hue=0.2), np.zeros(3)
    back, forth = (colour_matrix(mean, recipe, Fixed(place))[:, :3] for place in (0, 1))  # type: ignore[arg-type]
    np.testing.assert_allclose(back @ forth, np.eye(3), atol=1e-9)
    assert np.abs(forth - np.eye(3)).max() > 0.1


def test_a_turn_of_hue_leaves_grey_as_it_is_and_changes_colours() -> None:
    for outcome in _many(_even(90, 90, 90), _only(hue=0.5), 10):
        assert np.abs(outcome.astype(int) - 90).max() <= 1
    colours = {tuple(outcome[0, 0].tolist()) for outcome in _many(_even(150, 100, 100), _only(hue=0.5), 10)}
    assert len(colours) > 5


def test_an_image_of_one_pixel_can_be_augmented() -> None:
    assert augmented(_noise(1, 1), AugmentRecipe(), np.random.default_rng(0)).shape == (1, 1, 3)
