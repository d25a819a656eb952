import re
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

from linnaeus.errors import RecipeError
from linnaeus.networks.classifier import build_classifier
from linnaeus.networks.head import build_head, start_as_keras
from linnaeus.networks.scratch import ResidualBlock, build_convolutions, feature_count, scratch_preprocessing
from linnaeus.networks.summary import summarise
from linnaeus.recipe import Recipe, load_recipe, recipe_names
from linnaeus.recipe_sections import ScratchRecipe
from linnaeus.settings import CleanRecipe

TINY = ScratchRecipe(conv_widths=(4, 6), pool_sizes=(3, 2))
MODERN = TINY.model_copy(update={"padding": True, "batch_norm": True, "residual": True, "pooling": "average"})
VARIANTS = [
    TINY,
    *(TINY.model_copy(update={name: True}) for name in ("padding", "batch_norm", "residual")),
    TINY.model_copy(update={"pooling": "average"}),
    TINY.model_copy(update={"stem_stride": 2}),
    TINY.model_copy(update={"stem_stride": 3, "padding": True}),
    MODERN,
    MODERN.model_copy(update={"stem_stride": 2}),
]
LADDER = [load_recipe(name) for name in recipe_names() if name.startswith("ladder-")]


def _images(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def _changes(lower: object, upper: object, place: str = "") -> set[str]:
    """The dotted names of the settings in which two recipes' contents differ."""
    if not isinstance(lower, dict) or not isinstance(upper, dict):
        return set() if lower == upper else {place}
    keys = lower.keys() | upper.keys()
    return {name for key in keys for name in _changes(lower.get(key), upper.get(key), f"{place}.{key}".strip("."))}


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
    images = _images(2, 3, 32, 32)
    body = build_convolutions(TINY)
    first, second = (layer for layer in body if isinstance(layer, nn.Conv2d))
    expected = nn.functional.max_pool2d(first(images).relu(), 3)
    expected = nn.functional.max_pool2d(second(expected).relu(), 2)
    torch.testing.assert_close(body(images), expected.flatten(1))


def test_the_default_network_is_the_deck_s_bit_for_bit() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        expected = nn.Sequential(
            *(nn.Conv2d(3, 4, 3), nn.MaxPool2d(3), nn.ReLU()),
            *(nn.Conv2d(4, 6, 3), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten()),
        )
        expected.apply(start_as_keras)
        torch.manual_seed(5)
        body = build_convolutions(TINY)
    state = body.state_dict()
    assert [*state] == [*expected.state_dict()]
    assert all(torch.equal(state[name], value) for name, value in expected.state_dict().items())
    assert torch.equal(body(_images(2, 3, 32, 32)), expected(_images(2, 3, 32, 32)))


@pytest.mark.parametrize("recipe", VARIANTS)
@pytest.mark.parametrize("size", [32, 33, 34, 35, 64])
def test_the_features_are_as_many_as_the_convolutions_make(recipe: ScratchRecipe, size: int) -> None:
    features = build_convolutions(recipe)(torch.zeros(2, 3, size, size))
    assert features.shape == (2, feature_count(recipe, size))


def test_an_image_too_small_for_its_layers_is_refused_with_advice() -> None:
    with pytest.raises(RecipeError, match="images of 8 pixels are too small for 2 convolutions"):
        feature_count(TINY, 8)


@pytest.mark.parametrize("recipe", VARIANTS)
def test_the_smallest_image_that_fits_is_accepted_and_any_smaller_one_refused(recipe: ScratchRecipe) -> None:
    sizes = [size for size in range(1, 60) if _fits(recipe, size)]
    assert sizes == [*range(sizes[0], 60)]
    body = build_convolutions(recipe).eval()
    assert body(torch.zeros(1, 3, sizes[0], sizes[0])).numel() > 0
    with pytest.raises(RuntimeError):
        body(torch.zeros(1, 3, sizes[0] - 1, sizes[0] - 1))


def _fits(recipe: ScratchRecipe, size: int) -> bool:
    try:
        return feature_count(recipe, size) > 0
    except RecipeError:
        return False


def test_a_normalised_convolution_computes_convolution_then_normalisation_then_pooling_then_relu() -> None:
    recipe = ScratchRecipe(conv_widths=(4,), pool_sizes=(2,), batch_norm=True)
    body = build_convolutions(recipe).eval()
    convolution, norm = body[0], body[1]
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    norm.weight.data = torch.tensor([1.0, -1.0, 2.0, -0.5])  # the order of pooling matters where a scale is negative
    norm.bias.data, norm.running_mean = _images(4), _images(4) + 1
    images = _images(2, 3, 10, 10)
    expected = nn.functional.max_pool2d(norm(convolution(images)).relu(), 2).flatten(1)
    torch.testing.assert_close(body(images), expected)


def test_the_average_is_each_channel_s_mean_over_all_pixels() -> None:
    flattened, averaged = (
        build_convolutions(TINY.model_copy(update={"pooling": how})) for how in ("flatten", "average")
    )
    averaged.load_state_dict(flattened.state_dict())
    images = _images(2, 3, 40, 40)
    torch.testing.assert_close(averaged(images), flattened(images).unflatten(1, (6, -1)).mean(dim=2))


@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_residual_block_adds_two_convolutions_to_what_it_is_given(batch_norm: bool) -> None:
    block = ResidualBlock(4, batch_norm=batch_norm).eval()
    maps = _images(2, 4, 6, 6)
    first, *_, last = (layer for layer in block.branch if not isinstance(layer, nn.ReLU))
    assert isinstance(last, nn.BatchNorm2d if batch_norm else nn.Conv2d)
    assert isinstance(first, nn.Conv2d)
    assert sum(isinstance(layer, nn.Conv2d) for layer in block.branch) == 2
    assert not torch.allclose(block(maps), maps.relu())
    torch.testing.assert_close(block(maps), (maps + block.branch(maps)).relu())


@pytest.mark.parametrize("batch_norm", [False, True])
def test_fresh_residual_blocks_change_nothing_and_yet_learn(batch_norm: bool) -> None:
    plain = build_convolutions(TINY.model_copy(update={"batch_norm": batch_norm}))
    body = build_convolutions(TINY.model_copy(update={"batch_norm": batch_norm, "residual": True}))
    (block,) = (layer for layer in body if isinstance(layer, ResidualBlock))
    without = nn.Sequential(*(layer for layer in body if layer is not block))
    plain.load_state_dict(without.state_dict())
    images = _images(2, 3, 32, 32)
    assert torch.equal(body(images), plain(images))
    body(images).square().sum().backward()
    gradient = block.branch[-1].weight.grad
    assert isinstance(gradient, torch.Tensor)
    assert gradient.abs().max() > 0


def test_the_first_convolution_has_no_residual_block_and_every_other_has_one() -> None:
    recipe = ScratchRecipe(conv_widths=(4, 6, 8), pool_sizes=(2, 2, 2), residual=True)
    kinds = [type(layer).__name__ for layer in build_convolutions(recipe)]
    stage = ["Conv2d", "MaxPool2d", "ReLU"]
    assert kinds == [*stage, *stage, "ResidualBlock", *stage, "ResidualBlock", "Flatten"]


def test_a_network_from_scratch_in_training_moves_its_running_statistics() -> None:
    classifier = build_classifier(MODERN, ("ant", "bee"), CleanRecipe(size=32))
    before = {name: value.clone() for name, value in classifier.named_buffers() if name.endswith("running_mean")}
    assert len(before) == 4
    classifier.train()(_images(4, 3, 32, 32))
    assert all(not torch.equal(dict(classifier.named_buffers())[name], value) for name, value in before.items())


def test_the_layer_table_of_a_modern_cnn_reads_as_keras_would_print_it() -> None:
    recipe = Recipe(name="modern", model=MODERN)
    summary = summarise(recipe, classes=3, size=24)
    assert [*summary.layers.itertuples(index=False, name=None)] == [
        ("Conv2D", "(None, 24, 24, 4)", 3 * 9 * 4),
        ("BatchNormalization", "(None, 24, 24, 4)", 4 * 4),
        ("MaxPooling2D", "(None, 8, 8, 4)", 0),
        ("Conv2D", "(None, 8, 8, 6)", 4 * 9 * 6),
        ("BatchNormalization", "(None, 8, 8, 6)", 4 * 6),
        ("MaxPooling2D", "(None, 4, 4, 6)", 0),
        *[("Conv2D", "(None, 4, 4, 6)", 6 * 9 * 6), ("BatchNormalization", "(None, 4, 4, 6)", 4 * 6)] * 2,
        ("Add", "(None, 4, 4, 6)", 0),
        ("GlobalAveragePooling2D", "(None, 6)", 0),
        ("Dense", "(None, 3)", 6 * 3 + 3),
    ]
    assert summary.non_trainable == 2 * (4 + 6 + 6 + 6)
    assert summary.total == summary.layers["parameters"].sum()


def test_the_ladder_begins_with_the_deck_s_strongest_cnn() -> None:
    deck = load_recipe("conv4invto128-dense256-up")
    assert LADDER[0] == deck.model_copy(update={"name": "ladder-0-deck"})


def test_each_rung_of_the_ladder_changes_what_its_name_says_and_nothing_else() -> None:
    names = [recipe.name for recipe in LADDER]
    contents = [recipe.model_dump(exclude={"name"}) for recipe in LADDER]
    changes = [_changes(lower, upper) for lower, upper in pairwise(contents)]
    assert dict(zip(names[1:], changes, strict=True)) == {
        "ladder-1-every-image": {"data.balance", "training.epochs"},
        "ladder-2-batchnorm": {"model.batch_norm"},
        "ladder-3-padding-gap": {"model.padding", "model.pooling", "model.dense_widths", "model.dropouts"},
        "ladder-4-residual": {"model.residual", "model.conv_widths", "model.stem_stride"},
        "ladder-5-augment": {f"data.augment.{name}" for name in ("flip_vertical", "crop", "rand_augment", "erase")},
        "ladder-6-mix": {"training.mix_up", "training.cut_mix"},
        "ladder-7-smoothing": {"training.label_smoothing"},
        "ladder-8-schedule": {
            f"training.{name}" for name in ("optimizer", "learning_rate", "weight_decay", "schedule")
        },
        "ladder-9-average": {"training.average"},
    }


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
