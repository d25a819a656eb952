import math

import pytest
import torch
from torch.nn import functional

from linnaeus.networks.head import NearestNeighbours

# Unit vectors by their angle in degrees, and their labels.
ANGLES, LABELS = (0, 10, 20, 90, 180), (0, 1, 1, 2, 2)


def _towards(*degrees: float) -> torch.Tensor:
    angles = torch.tensor(degrees).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def _neighbours(count: int, classes: int = 3) -> NearestNeighbours:
    head = NearestNeighbours(2, classes)
    head.remember(_towards(*ANGLES), torch.tensor(LABELS), count)
    return head.eval()


def _shares(head: NearestNeighbours, inputs: torch.Tensor) -> torch.Tensor:
    shares: torch.Tensor = head(inputs).softmax(dim=1)
    return shares


def test_votes_are_weighted_by_how_alike_the_images_are() -> None:
    votes = [math.exp(math.cos(math.radians(angle)) / 0.07) for angle in (0, 10, 20)]
    expected = torch.tensor([[votes[0], votes[1] + votes[2], 0]]) / sum(votes)
    torch.testing.assert_close(_shares(_neighbours(3), _towards(0)), expected, atol=1e-5, rtol=1e-5)


def test_only_as_many_as_asked_for_vote() -> None:
    shares = _shares(_neighbours(1), _towards(1, 12, 85, 179))
    assert shares.argmax(dim=1).tolist() == [0, 1, 2, 2]
    assert (shares.max(dim=1).values > 0.9999).all()


def test_two_that_are_half_as_alike_outvote_one_that_is_near() -> None:
    assert _shares(_neighbours(1), _towards(4)).argmax() == 0
    assert _shares(_neighbours(3), _towards(4)).argmax() == 1


def test_a_class_without_a_vote_is_improbable_and_never_impossible() -> None:
    logits = _neighbours(2, classes=4)(_towards(0))
    assert torch.isfinite(logits).all()
    assert 0 < float(logits.softmax(dim=1)[0, 3]) < 1e-5


def test_the_length_of_a_feature_vector_does_not_matter() -> None:
    head = _neighbours(3)
    torch.testing.assert_close(head(_towards(33) * 7), head(_towards(33)))
    longer = NearestNeighbours(2, 3)
    longer.remember(_towards(*ANGLES) * 5, torch.tensor(LABELS), 3)
    torch.testing.assert_close(longer(_towards(33)), head(_towards(33)))


def test_more_neighbours_than_images_are_all_of_them() -> None:
    torch.testing.assert_close(_neighbours(100)(_towards(50)), _neighbours(5)(_towards(50)))


def test_a_batch_is_judged_image_by_image() -> None:
    head, inputs = _neighbours(3), _towards(3, 100, 170)
    torch.testing.assert_close(head(inputs), torch.cat([head(each[None]) for each in inputs]))


def test_the_shares_of_many_classes_add_up_to_1() -> None:
    head = NearestNeighbours(2, 1000)
    random = torch.Generator().manual_seed(0)
    head.remember(torch.randn(300, 2, generator=random), torch.arange(300) % 1000, 200)
    shares = head(torch.randn(4, 2, generator=random)).softmax(dim=1)
    assert shares.shape == (4, 1000)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(4))


@pytest.mark.parametrize("images", [1, 7])
def test_room_is_made_for_what_is_loaded(images: int) -> None:
    saved = NearestNeighbours(2, 3)
    saved.remember(torch.rand(images, 2), torch.arange(images) % 3, 4)
    loaded = NearestNeighbours(2, 3)
    loaded.make_room(images)
    loaded.load_state_dict(saved.state_dict())
    torch.testing.assert_close(loaded.references, functional.normalize(saved.references))
    assert torch.equal(loaded(_towards(0, 45)), saved(_towards(0, 45)))


def test_nothing_of_it_is_trained() -> None:
    assert [*_neighbours(3).parameters()] == []
