"""Maps of the feature space keep what is near near, and are the same for the same seed."""

import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from linnaeus.errors import MissingExtraError
from linnaeus.evaluation import feature_map as module
from linnaeus.evaluation.feature_map import feature_map


def clouds(images: int, *, width: int = 12, classes: int = 3) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features in well separated clouds, and the cloud of each image."""
    randomness = np.random.default_rng(3)
    centres = 8 * np.eye(classes, width)
    cloud = np.arange(images) % classes
    return (centres[cloud] + randomness.normal(size=(images, width))).astype(np.float32), cloud


def share_beside_their_own(points: NDArray[np.float64], cloud: NDArray[np.int64]) -> float:
    distances = np.linalg.norm(points[:, None] - points, axis=2)
    np.fill_diagonal(distances, np.inf)
    return float((cloud[distances.argmin(axis=1)] == cloud).mean())


def test_few_images_are_shown_by_their_first_two_principal_components() -> None:
    features, _ = clouds(20)
    made = feature_map(features)
    centred = features.astype(float) - features.mean(axis=0, dtype=float)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    places = left[:, :2] * singular[:2]
    between = np.linalg.norm(places[:, None] - places, axis=2)
    drawn = np.linalg.norm(made.points[:, None] - made.points, axis=2)
    scale = np.ptp(places, axis=0).max()
    assert made.method == "pca"
    assert drawn == pytest.approx(between / scale, abs=1e-4)  # whichever way the axes point
    assert made.explained == pytest.approx((singular[:2] ** 2).sum() / (singular**2).sum(), abs=1e-5)


def test_without_umap_it_is_a_tsne_that_keeps_clouds_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    features, cloud = clouds(60)
    made = feature_map(features)
    assert made.method == "tsne"
    assert share_beside_their_own(made.points, cloud) == 1


def test_a_seed_gives_the_same_map_again_and_another_seed_another_one() -> None:
    features, _ = clouds(40)
    first, again = (feature_map(features, seed=7, method="tsne").points for _ in range(2))
    assert np.array_equal(first, again)
    # One that is asked for as plain projection has nothing to draw lots for.
    assert np.allclose(feature_map(features, seed=1, method="pca").points, feature_map(features, method="pca").points)


@pytest.mark.slow  # importing it compiles
def test_where_umap_is_installed_it_draws_the_map() -> None:
    pytest.importorskip("umap.umap_")
    features, cloud = clouds(60)
    made, again = feature_map(features, seed=5), feature_map(features, seed=5)
    assert made.method == "umap"
    assert np.array_equal(made.points, again.points)
    assert share_beside_their_own(made.points, cloud) == 1


def test_umap_that_is_not_installed_is_asked_for_by_its_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(MissingExtraError, match="linnaeus\\[umap\\]"):
        feature_map(clouds(40)[0], method="umap")


def test_the_longer_side_fills_the_square_and_the_aspect_is_kept() -> None:
    features = np.array([[0, 0], [10, 0], [5, 2], [5, -2]], np.float32)
    points = feature_map(features).points
    assert np.sort(points[:, 0]) == pytest.approx([0, 0.5, 0.5, 1], abs=1e-6)
    assert np.sort(points[:, 1]) == pytest.approx([0.3, 0.5, 0.5, 0.7], abs=1e-6)


@pytest.mark.parametrize("images", [1, 2, 50])
def test_images_that_are_all_alike_lie_in_the_middle(images: int) -> None:
    made = feature_map(np.ones((images, 5), np.float32))
    assert (made.points == 0.5).all()
    assert made.explained == 0


def test_two_images_lie_at_both_ends() -> None:
    made = feature_map(np.array([[0, 0, 1], [2, 0, 0]], np.float32))
    assert np.sort(made.points[:, 0]) == pytest.approx([0, 1])
    assert made.explained == pytest.approx(1)
