import cv2
import numpy as np
import pytest

from linnaeus.data.augment import augmented, colour_step, drawn_change, geometry_matrix
from linnaeus.data.changes import Change, colour_matrix
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
    matrix = colour_matrix([colour_step(NOTHING, np.random.default_rng(0))], np.array([90.0, 120.0, 60.0]))
    np.testing.assert_allclose(matrix, np.eye(3, 4), atol=1e-9)


def test_a_turn_of_hue_and_back_is_the_identity() -> None:
    class Fixed:
        """In place of randomness: the lowest or the highest value of each range."""

        def __init__(self, place: int) -> None:
            self.place = place

        def uniform(self, low: float, high: float) -> float:
            return (low, high)[self.place]

    recipe = _only(hue=0.2)
    back, forth = (colour_step(recipe, Fixed(place)).turn for place in (0, 1))  # type: ignore[arg-type]
    np.testing.assert_allclose(back @ forth, np.eye(3), atol=1e-9)
    assert np.abs(forth - np.eye(3)).max() > 0.1


def test_a_turn_of_hue_leaves_grey_as_it_is_and_changes_colours() -> None:
    for outcome in _many(_even(90, 90, 90), _only(hue=0.5), 10):
        assert np.abs(outcome.astype(int) - 90).max() <= 1
    colours = {tuple(outcome[0, 0].tolist()) for outcome in _many(_even(150, 100, 100), _only(hue=0.5), 10)}
    assert len(colours) > 5


def test_an_image_of_one_pixel_can_be_augmented() -> None:
    assert augmented(_noise(1, 1), AugmentRecipe(), np.random.default_rng(0)).shape == (1, 1, 3)


def test_the_deck_s_draws_stay_what_they_were() -> None:
    change = drawn_change(100, 200, AugmentRecipe(), np.random.default_rng((7, 2, 11)))
    warp = [[1.086719936048401, 0.0, -17.263868109372886], [0.0, -1.086719936048401, 104.7271944323498]]
    colours = [
        [0.7366721249705834, 0.07125310286291066, 0.06268999715641747, 21.040507266882926],
        [0.07947298071586463, 0.797218754204304, -0.006076509930256842, 24.583734121640347],
        [-0.05790923486345079, 0.191044303466153, 0.7374801563872092, 18.566104798432256],
    ]
    np.testing.assert_allclose(change.warp, warp, rtol=1e-12)
    np.testing.assert_allclose(colour_matrix(change.colours, np.array([90.0, 120.0, 60.0])), colours, rtol=1e-12)
    assert (change.filters, change.patch) == ((), None)


def test_more_augmentation_leaves_the_deck_s_draws_alone() -> None:
    def draw(**settings: object) -> Change:
        recipe = AugmentRecipe.model_validate(settings)
        return drawn_change(100, 200, recipe, np.random.default_rng(5))

    plain, more = draw(), draw(shift=0.1, rotate=20, rand_augment=3, erase=1)
    assert (more.warp != plain.warp).any()
    np.testing.assert_array_equal(more.colours[0].turn, plain.colours[0].turn)
    np.testing.assert_array_equal(draw(erase=1).warp, plain.warp)


def test_a_shift_moves_at_most_its_share_of_each_side() -> None:
    random = np.random.default_rng(0)
    moves = np.array([drawn_change(100, 200, _only(shift=0.1), random).warp[:, 2] for _ in range(100)])
    assert (np.abs(moves) <= [20, 10]).all()
    assert (np.abs(moves).max(axis=0) > [15, 7]).all()
    assert moves.min() < -5


def test_a_rotation_turns_about_the_centre_by_at_most_its_degrees() -> None:
    random = np.random.default_rng(0)
    warps = [drawn_change(101, 201, _only(rotate=30), random).warp for _ in range(100)]
    for warp in warps:
        np.testing.assert_allclose(warp @ [100, 50, 1], [100, 50])
        np.testing.assert_allclose(np.linalg.det(warp[:, :2]), 1)
    degrees = np.degrees([np.arctan2(warp[1, 0], warp[0, 0]) for warp in warps])
    assert -30 <= degrees.min() < -20
    assert 20 < degrees.max() <= 30


def test_rand_augment_draws_as_many_operations_as_asked_for_of_every_kind() -> None:
    random = np.random.default_rng(0)
    changes = [drawn_change(12, 16, _only(rand_augment=2, magnitude=0.5), random) for _ in range(100)]
    assert {len(change.colours) + len(change.filters) for change in changes} == {1, 2, 3}
    assert any((change.warp != np.eye(2, 3)).any() for change in changes)
    assert max(len(change.filters) for change in changes) == 2


@pytest.mark.parametrize("magnitude", [0.0, 1.0])
def test_rand_augment_gives_images_at_any_magnitude(magnitude: float) -> None:
    outcomes = _many(_noise(), _only(rand_augment=3, magnitude=magnitude), 60)
    assert {outcome.shape for outcome in outcomes} == {_noise().shape}
    assert any((outcome != _noise()).any() for outcome in outcomes)


def test_erasing_hides_a_rectangle_as_often_as_asked_for() -> None:
    outcomes = _many(_even(9, 9, 9).repeat(5, axis=0).repeat(5, axis=1), _only(erase=0.5), 200)
    masks = [(outcome != 9).any(axis=2) for outcome in outcomes]
    erased = [mask for mask in masks if mask.any()]
    assert 70 <= len(erased) <= 130
    for mask in erased:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean() > 0.9
        assert 0.005 < mask.mean() < 0.45


def test_all_of_it_at_once_can_be_drawn_for_an_image_of_one_pixel() -> None:
    recipe = AugmentRecipe(shift=0.1, rotate=20, rand_augment=3, magnitude=1, erase=1)
    assert {outcome.shape for outcome in _many(_noise(1, 1), recipe)} == {(1, 1, 3)}
