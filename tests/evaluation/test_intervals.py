import numpy as np
import pytest
from numpy.typing import NDArray

from linnaeus.evaluation import intervals
from linnaeus.evaluation.intervals import group_weights, percentile_interval, wilson_interval

proportion = pytest.importorskip("statsmodels.stats.proportion")


def _weights(
    groups: NDArray[np.generic] | None, images: int, resamples: int = 50, seed: int = 0
) -> NDArray[np.float64]:
    return np.concatenate([*group_weights(groups, images, resamples=resamples, seed=seed)])


@pytest.mark.parametrize(("correct", "images"), [(0, 10), (10, 10), (1, 1), (1, 3), (95, 100), (2557, 2618)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_wilson_is_that_of_statsmodels(correct: int, images: int, confidence: float) -> None:
    expected = proportion.proportion_confint(correct, images, alpha=1 - confidence, method="wilson")
    assert wilson_interval(correct, images, confidence) == pytest.approx(expected, abs=1e-9)


def test_no_images_leave_every_share_possible() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_a_resample_has_as_many_groups_as_there_are_and_its_members_are_drawn_together() -> None:
    groups = np.array(["b", "a", "b", "c", "a", "b"])
    weights = _weights(groups, 6)
    assert weights.shape == (50, 6)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, 0] == weights[:, 5]).all()
    assert (weights[:, 1] == weights[:, 4]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert len(np.unique(weights.sum(axis=1))) > 1


def test_groups_of_one_image_are_drawn_as_images_without_groups() -> None:
    assert (_weights(np.array([7, 3, 5, 1]), 4) == _weights(None, 4)).all()


def test_a_part_with_every_image_twice_is_drawn_as_the_part_itself() -> None:
    twice = _weights(np.repeat(np.arange(5), 2), 10)
    assert (twice[:, ::2] == _weights(None, 5)).all()


def test_another_seed_draws_otherwise_and_the_same_one_the_same() -> None:
    assert (_weights(None, 9, seed=1) == _weights(None, 9, seed=1)).all()
    assert (_weights(None, 9, seed=1) != _weights(None, 9, seed=2)).any()


def test_chunks_stay_within_their_bytes_and_do_not_change_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = np.arange(20) // 3
    whole = _weights(groups, 20)
    monkeypatch.setattr(intervals, "CHUNK_BYTES", 8 * 20 * 12 + 7)
    chunks = [*group_weights(groups, 20, resamples=50, seed=0)]
    assert [len(chunk) for chunk in chunks] == [12, 12, 12, 12, 2]
    assert (np.concatenate(chunks) == whole).all()


def test_the_standard_error_of_a_mean_over_equal_groups_is_the_closed_form() -> None:
    of_group = np.random.default_rng(1).normal(size=40)
    means = _weights(np.repeat(np.arange(40), 3), 120, 6000) @ np.repeat(of_group, 3) / 120
    assert means.std() == pytest.approx(of_group.std() / np.sqrt(40), rel=0.04)


def test_the_standard_error_of_a_mean_over_unequal_groups_is_that_of_a_plain_loop() -> None:
    generator = np.random.default_rng(2)
    groups = np.repeat(np.arange(20), generator.integers(1, 8, size=20))
    values = generator.normal(size=len(groups)) + groups / 5
    weights = _weights(groups, len(groups), 4000)
    members = [values[groups == group] for group in range(20)]
    plain = [np.concatenate([members[group] for group in generator.integers(20, size=20)]).mean() for _ in range(4000)]
    assert (weights @ values / weights.sum(axis=1)).std() == pytest.approx(np.std(plain), rel=0.06)
    alone = _weights(None, len(groups), 4000) @ values / len(groups)
    assert alone.std() < 0.8 * np.std(plain)


def test_the_percentile_interval_holds_the_middle_of_the_values() -> None:
    values = np.random.default_rng(0).permutation(np.arange(1001.0))
    np.testing.assert_allclose(percentile_interval(values), (25, 975))
    np.testing.assert_allclose(percentile_interval(values, confidence=0.9), (50, 950))


def test_an_unknown_value_is_left_out_and_only_unknown_ones_give_no_interval() -> None:
    values = np.full((5, 2, 2), np.nan)
    values[:3, 0, 0] = [1, 2, 3]
    values[:, 1, 1] = 4
    low, high = percentile_interval(values)
    np.testing.assert_allclose(low, [[1.05, np.nan], [np.nan, 4]])
    np.testing.assert_allclose(high, [[2.95, np.nan], [np.nan, 4]])
