import numpy as np
import pytest
import torch

from linnaeus.recipe_sections import TrainingRecipe
from linnaeus.training.mixing import Mixture, mixture

LABELS = torch.tensor([0, 1, 2, 3])


def _mixed(inputs: torch.Tensor, seed: int = 0, **settings: float) -> Mixture:
    return mixture(inputs, LABELS, TrainingRecipe.model_validate(settings), np.random.default_rng(seed))


def _images(side: int = 8) -> torch.Tensor:
    """Four images, each of one number: 0, 1, 2, 3."""
    return torch.arange(4.0)[:, None, None, None].expand(4, 3, side, side).clone()


def _neighbours(inputs: torch.Tensor) -> torch.Tensor:
    return inputs[[3, 0, 1, 2]]


def test_a_recipe_that_does_not_mix_leaves_everything_as_it_is() -> None:
    inputs = _images()
    mixed = _mixed(inputs, mix_up=0, cut_mix=0)
    assert mixed.share == 1
    assert mixed.inputs is inputs
    assert mixed.labels is LABELS


@pytest.mark.parametrize("seed", range(5))
def test_mix_up_blends_each_image_with_its_neighbour_by_the_share_of_its_label(seed: int) -> None:
    inputs = torch.rand(4, 3, 5, 5, generator=torch.Generator().manual_seed(1))
    mixed = _mixed(inputs, seed, mix_up=0.4)
    assert 0 <= mixed.share <= 1
    assert mixed.labels is LABELS
    assert mixed.others.tolist() == [3, 0, 1, 2]
    expected = mixed.share * inputs + (1 - mixed.share) * _neighbours(inputs)
    torch.testing.assert_close(mixed.inputs, expected)


def test_shares_are_drawn_from_the_beta_distribution_of_alpha() -> None:
    shares = [_mixed(_images(1), seed, mix_up=0.2).share for seed in range(400)]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.05)
    assert np.var(shares) == pytest.approx(1 / (4 * (2 * 0.2 + 1)), rel=0.1)  # that of Beta(alpha, alpha)


@pytest.mark.parametrize("seed", range(20))
def test_a_pasted_box_is_the_neighbour_s_and_takes_exactly_the_rest_of_the_share(seed: int) -> None:
    inputs = _images(side=7)
    mixed = _mixed(inputs, seed, cut_mix=1.0)
    is_pasted = mixed.inputs != inputs
    assert torch.equal(mixed.inputs[is_pasted], _neighbours(inputs)[is_pasted])
    for image in is_pasted:
        assert float(image.float().mean()) == pytest.approx(1 - mixed.share, abs=1e-6)
    assert mixed.others.tolist() == [3, 0, 1, 2]


def test_a_pasted_box_is_one_rectangle_at_the_same_place_in_every_image() -> None:
    mixed = _mixed(_images(side=9), 3, cut_mix=1.0)
    is_pasted = (mixed.inputs != _images(side=9))[:, 0]
    assert 0 < mixed.share < 1
    assert all(torch.equal(image, is_pasted[0]) for image in is_pasted)
    rows, columns = is_pasted[0].any(dim=1), is_pasted[0].any(dim=0)
    assert torch.equal(is_pasted[0], rows[:, None] & columns[None])
    assert int(rows.long().diff().abs().sum()) <= 2  # in one piece


def test_mixing_leaves_the_batch_that_it_was_given_alone() -> None:
    inputs = _images()
    _mixed(inputs, mix_up=1.0)
    _mixed(inputs, cut_mix=1.0)
    assert torch.equal(inputs, _images())


def test_with_both_about_half_of_the_batches_are_pasted() -> None:
    kinds = []
    for seed in range(200):
        mixed = _mixed(_images(), seed, mix_up=1.0, cut_mix=1.0)
        kinds.append(bool((mixed.inputs == mixed.inputs.round()).all()))  # a blend of whole numbers is none
    assert 0.4 < np.mean(kinds) < 0.6


def test_features_are_never_pasted_into_one_another() -> None:
    features = torch.rand(4, 6, generator=torch.Generator().manual_seed(2))
    assert _mixed(features, cut_mix=1.0).inputs is features
    for seed in range(10):
        mixed = _mixed(features, seed, mix_up=1.0, cut_mix=1.0)
        torch.testing.assert_close(mixed.inputs, torch.lerp(_neighbours(features), features, mixed.share))


def test_the_same_randomness_mixes_alike_and_other_randomness_otherwise() -> None:
    first, again, other = (_mixed(_images(), seed, mix_up=1.0, cut_mix=1.0) for seed in (4, 4, 5))
    assert torch.equal(first.inputs, again.inputs)
    assert first.share == again.share != other.share


def test_the_memory_order_of_images_is_kept() -> None:
    inputs = _images().contiguous(memory_format=torch.channels_last)
    for mixed in (_mixed(inputs, mix_up=1.0), _mixed(inputs, cut_mix=1.0)):
        assert mixed.inputs.is_contiguous(memory_format=torch.channels_last)
