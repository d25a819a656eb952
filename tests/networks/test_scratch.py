import re
from pathlib import Path

import pytest
import torch
from torch import nn

from linnaeus.errors import RecipeError
from linnaeus.networks.head import build_head
from linnaeus.networks.scratch import build_convolutions, feature_count, scratch_preprocessing
from linnaeus.networks.summary import summarise
from linnaeus.recipe import load_recipe
from linnaeus.recipe_sections import ScratchRecipe

TINY = ScratchRecipe(conv_widths=(4, 6), pool_sizes=(3, 2))


def _deck_table(shared: Path, caption: str) -> list[tuple[str, str, int]]:
    """The rows (type, shape, parameters) that the deck prints above a caption."""
    lines = (shared / "reference" / "slides.txt").read_text(encoding="utf-8").splitlines()
    end = next(place for place, line in enumerate(lines) if line.startswith(caption))
    start = max(place for place in range(end) if lines[place].startswith("Layer Type"))
    rows = (re.fullmatch(r"(\w+)\t(\(.+\))\t([\d,]+)", line) for line in lines[start + 1 : end])
    return [(row[1], row[2], int(row[3].replace(",", ""))) for row in rows if row]


@pytest.mark.parametrize(
    ("name", "caption", "parameters", "layers"),
    [
        ("conv4invto128_dense256_upsamp", "Table 3", 4_818_858, 12),
        ("conv5invto128_dense1", "Table 4", 509_402, 14),
    ],
)
def test_a_cnn_has_the_layers_and_parameters_that_the_deck_prints(
    shared: Path, name: str, caption: str, parameters: int, layers: int
) -> None:
    summary = summarise(load_recipe(name))
    rows = _deck_table(shared, caption)
    assert len(rows) == layers
    assert [*summary.layers.itertuples(index=False, name=None)] == rows
    assert (summary.trainable, summary.non_trainable, summary.total) == (parameters, 0, parameters)


def test_pooling_before_relu_computes_what_keras_computes_after_it() -> None:
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    body = build_convolutions(TINY)
    first, second = (layer for layer in body if isinstance(layer, nn.Conv2d))
    expected = nn.functional.max_pool2d(first(images).relu(), 3)
    expected = nn.functional.max_pool2d(second(expected).relu(), 2)
    torch.testing.assert_close(body(images), expected.flatten(1))


@pytest.mark.parametrize("size", [14, 31, 32, 33, 64])
def test_the_features_are_as_many_as_the_convolutions_make(size: int) -> None:
    features = build_convolutions(TINY)(torch.zeros(1, 3, size, size))
    assert features.shape == (1, feature_count(TINY, size))


def test_an_image_too_small_for_its_layers_is_refused_with_advice() -> None:
    with pytest.raises(RecipeError, match="images of 8 pixels are too small for 2 convolutions"):
        feature_count(TINY, 8)


def test_the_smallest_image_that_fits_is_accepted() -> None:
    sizes = [size for size in range(1, 40) if _fits(size)]
    assert sizes == [*range(sizes[0], 40)]
    assert build_convolutions(TINY)(torch.zeros(1, 3, sizes[0], sizes[0])).numel() > 0


def _fits(size: int) -> bool:
    try:
        return feature_count(TINY, size) > 0
    except RecipeError:
        return False


def test_weights_start_as_in_keras_within_glorot_s_bounds_and_biases_at_zero() -> None:
    body = build_convolutions(ScratchRecipe(conv_widths=(64,), pool_sizes=(2,)))
    (layer,) = (layer for layer in body if isinstance(layer, nn.Conv2d))
    assert layer.bias is not None
    bound = (6 / (3 * 9 + 64 * 9)) ** 0.5
    assert layer.bias.abs().max() == 0
    assert 0.9 * bound < layer.weight.abs().max() <= bound


def test_pixels_are_scaled_to_0_to_1_and_no_further() -> None:
    preprocessing = scratch_preprocessing(96)
    assert (preprocessing.size, preprocessing.mean, preprocessing.std) == (96, (0, 0, 0), (1, 1, 1))


def test_a_head_has_relu_after_each_dense_layer_but_the_last() -> None:
    kinds = [type(layer).__name__ for layer in build_head(8, (4, 3), (), 2)]
    assert kinds == ["Linear", "ReLU", "Linear", "ReLU", "Linear"]


def test_a_dropout_of_zero_is_no_layer() -> None:
    head = build_head(8, (4, 3), (0, 0.2), 2)
    assert [layer.p for layer in head if isinstance(layer, nn.Dropout)] == [0.2]
    assert isinstance(head[4], nn.Dropout)


def test_a_head_without_dense_layers_is_one_linear_layer() -> None:
    (layer,) = build_head(8, (), (), 3)
    assert isinstance(layer, nn.Linear)
    assert layer.weight.shape == (3, 8)
