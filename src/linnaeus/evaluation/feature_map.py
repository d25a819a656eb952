"""A map of the feature space: images that a network finds alike lie near each other on it."""

import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from linnaeus.errors import MissingExtraError

MOST_COMPONENTS = 50  # what t-SNE's authors reduce to first; it takes away noise and most of the time
FEWEST_IMAGES = 30  # below, neighbourhoods mean too little for anything but PCA
NEIGHBOURS = 15  # UMAP's default
PERPLEXITY = 30.0  # t-SNE's default

Method = Literal["auto", "pca", "tsne", "umap"]


@dataclass(frozen=True)
class FeatureMap:
    """Where each image lies, in [0, 1] both ways, by which method, and what the plain projection would show."""

    points: NDArray[np.float64]  # image, (x, y)
    method: str  # "pca", "tsne" or "umap"
    explained: float  # share of the variance along the first two principal components


def feature_map(features: NDArray[np.float32], *, seed: int = 0, method: Method = "auto") -> FeatureMap:
    """The images' places on a map, in [0, 1] with the aspect kept; the same ones for the same seed.

    `features`: (images, width), at least two wide. They are reduced to at most 50 principal components, and these to
    two by UMAP (McInnes et al., arXiv:1802.03426) where umap-learn is installed, else by t-SNE (van der Maaten and
    Hinton, JMLR 2008). Fewer than 30 images are shown by their first two principal components, whichever method is
    asked for. Raises MissingExtraError for "umap" without umap-learn.
    """
    if not (features != features[0]).any():
        return FeatureMap(np.full((len(features), 2), 0.5), "pca", 0.0)
    reduction = PCA(min(MOST_COMPONENTS, *features.shape), random_state=seed)
    components = reduction.fit_transform(features)
    chosen = _method_for(len(features), method)
    if chosen == "umap":
        points = _umap(components, seed)
    elif chosen == "tsne":
        points = _tsne(components, seed)
    else:
        points = components[:, :2]
    return FeatureMap(_within_unit_square(points), chosen, float(reduction.explained_variance_ratio_[:2].sum()))


def _method_for(images: int, method: Method) -> str:
    if images < FEWEST_IMAGES:
        return "pca"
    if method != "auto":
        return method
    found = find_spec("umap")  # without a loader it is an empty folder of that name
    return "tsne" if found is None or found.loader is None else "umap"


def _umap(components: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    with warnings.catch_warnings():
        # Importing it compiles with numba and looks for TensorFlow, and both are talkative.
        warnings.simplefilter("ignore")
        try:
            from umap import UMAP
        except ImportError:
            raise MissingExtraError("a UMAP of the features", "umap") from None
        # One thread, which a seed demands.
        placed: NDArray[np.float32] = UMAP(NEIGHBOURS, random_state=seed, n_jobs=1).fit_transform(components)
    return placed


def _tsne(components: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    perplexity = min(PERPLEXITY, (len(components) - 1) / 3)
    # Its threads wait for each other by spinning, so that on a busy machine two take many times as long as one.
    with threadpool_limits(1, user_api="openmp"):
        placed: NDArray[np.float32] = TSNE(perplexity=perplexity, random_state=seed).fit_transform(components)
    return placed


def _within_unit_square(points: NDArray[np.float32]) -> NDArray[np.float64]:
    """The points moved and scaled as one, so that the longer side fills [0, 1] and the other one is centred."""
    exact = points.astype(np.float64)
    low, high = exact.min(axis=0), exact.max(axis=0)
    scaled: NDArray[np.float64] = 0.5 + (exact - (low + high) / 2) / (high - low).max()
    return scaled.clip(0, 1)
