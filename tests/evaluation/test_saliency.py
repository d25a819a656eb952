from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from linnaeus.data.decode import Pixels
from linnaeus.errors import PredictionError
from linnaeus.evaluation.saliency import (
    ClassLikeness,
    Heat,
    Method,
    attributions,
    explain,
    grad_cam,
    integrated_gradients,
    overlay,
)
from linnaeus.networks.classifier import Classifier, build_classifier, freeze
from linnaeus.networks.concatenated import Concatenated
from linnaeus.networks.head import NearestNeighbours
from linnaeus.recipe_sections import ModelRecipe, ScratchRecipe, TransferRecipe
from linnaeus.settings import CleanRecipe

Explainer = Callable[[Classifier, torch.Tensor, Sequence[int]], Heat]

SIDE = 32
CLASSES = ("red", "green", "blue")
SCRATCH = ScratchRecipe(conv_widths=(4, 6), pool_sizes=(2, 2), dense_widths=(5,), padding=True, batch_norm=True)
TRANSFER = TransferRecipe(backbone="test_resnet", weights="random", input_size=64, dense_widths=(8,))
PROBE = TRANSFER.model_copy(update={"head": "probe", "dense_widths": ()})
NEIGHBOURS = PROBE.model_copy(update={"head": "knn"})
TUNED = TRANSFER.model_copy(update={"backbone": "test_efficientnet", "unfrozen_last_layers": 2})
JOINED = PROBE.model_copy(update={"more_backbones": ("test_efficientnet",)})
OWN_SIZES = PROBE.model_copy(
    update={"backbone": "mobilenetv3_small_050", "more_backbones": ("test_resnet",), "input_size": None}
)
TOKENS = TRANSFER.model_copy(update={"backbone": "test_vit"})
KINDS: dict[str, ModelRecipe] = {
    "scratch": SCRATCH, "dense": TRANSFER, "probe": PROBE, "knn": NEIGHBOURS, "tuned": TUNED, "joined": JOINED,
    "own sizes": OWN_SIZES,
}  # fmt: skip
METHODS: tuple[Explainer, ...] = (grad_cam, integrated_gradients)


def _classifier(model: ModelRecipe, seed: int = 0) -> Classifier:
    classifier = build_classifier(model, CLASSES, CleanRecipe(size=SIDE), pretrained=False, seed=seed)
    freeze(classifier)
    if isinstance(classifier.head, NearestNeighbours):
        width = classifier.head.references.shape[1]
        labels = torch.arange(12) % len(CLASSES)
        classifier.head.remember(torch.rand(12, width, generator=torch.Generator().manual_seed(seed)), labels, 4)
    return classifier


def _noise(classifier: Classifier, images: int = 2) -> torch.Tensor:
    side = classifier.facts.preprocessing.size
    return torch.rand(images, 3, side, side, generator=torch.Generator().manual_seed(1))


def _red_and_green() -> torch.Tensor:
    """A grey image with a red patch at the top left and a green one at the bottom right."""
    image = torch.full((1, 3, SIDE, SIDE), 0.5)
    image[0, :, 4:12, 4:12] = torch.tensor([1.0, 0.5, 0.5]).reshape(3, 1, 1)
    image[0, :, 20:28, 20:28] = torch.tensor([0.5, 1.0, 0.5]).reshape(3, 1, 1)
    return image


def _sees_colours() -> Classifier:
    """The logit of red, and of green, and of blue, is how much there is of it above grey."""
    recipe = ScratchRecipe(conv_widths=(3,), pool_sizes=(2,), padding=True, pooling="average")
    classifier = _classifier(recipe)
    convolution, last = classifier.body[0], classifier.head[0]  # type: ignore[index]
    with torch.no_grad():
        convolution.weight.zero_()
        convolution.weight[:, :, 1, 1] = torch.eye(3)
        convolution.bias.fill_(-0.5)
        last.weight.copy_(torch.eye(3))
    return classifier


def _share(heat: Heat, rows: slice) -> float:
    """Of all heat, the share within a square of these rows and columns."""
    return float(heat[rows, rows].sum() / heat.sum())


def _state(classifier: Classifier) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in classifier.state_dict().items()}


@pytest.mark.parametrize("method", METHODS)
def test_heat_lies_where_the_evidence_of_the_class_lies(method: Explainer) -> None:
    classifier, image = _sees_colours(), _red_and_green()
    red, green = method(classifier, torch.cat([image, image]), [0, 1])
    top_left, bottom_right = slice(2, 14), slice(18, 30)
    assert _share(red, top_left) > 0.9
    assert _share(green, bottom_right) > 0.9


@pytest.mark.parametrize("method", METHODS)
def test_what_nothing_speaks_for_has_no_heat(method: Explainer) -> None:
    heat = method(_sees_colours(), _red_and_green(), [2])
    assert (heat == 0).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_classifier_is_explained(kind: str, method: Explainer) -> None:
    classifier = _classifier(KINDS[kind], seed=2)  # by which each has a logit above 0
    inputs = _noise(classifier, images=1).expand(3, -1, -1, -1)
    heat = method(classifier, inputs, [0, 1, 2])
    assert heat.shape == (3, *inputs.shape[2:])
    assert heat.dtype == np.float32
    assert heat.min() >= 0
    assert heat.max() == 1
    assert set(heat.max(axis=(1, 2))) <= {0, 1}


@pytest.mark.parametrize("method", METHODS)
def test_other_weights_give_another_map(method: Explainer) -> None:
    # The sanity check of Adebayo et al. 2018. Black and white pixels are as far from the baseline everywhere.
    wide = SCRATCH.model_copy(update={"conv_widths": (8, 8), "dense_widths": ()})
    one, other = _classifier(wide, seed=1), _classifier(wide, seed=2)
    inputs = _noise(one, images=9).round()
    maps = [method(classifier, inputs, [0, 1, 2] * 3).reshape(9, -1) for classifier in (one, other)]
    pairs = [pair for pair in zip(*maps, strict=True) if all(heat.any() for heat in pair)]
    assert len(pairs) >= 3
    assert abs(np.mean([spearmanr(*pair).statistic for pair in pairs])) < 0.3


def test_attributions_add_up_to_the_difference_from_mid_grey() -> None:
    classifier = _classifier(SCRATCH)
    inputs, grey = _noise(classifier), torch.full((1, 3, SIDE, SIDE), 0.5)
    with torch.no_grad():
        expected = (classifier(inputs) - classifier(grey))[[0, 1], [0, 2]].numpy()
    found = attributions(classifier, inputs, [0, 2], steps=300)
    assert found.shape == tuple(inputs.shape)
    np.testing.assert_allclose(found.sum(axis=(1, 2, 3)), expected, atol=1e-3)


def test_mid_grey_is_grey_in_pixels_whatever_the_preprocessing() -> None:
    classifier = _classifier(TRANSFER)
    preprocessing = classifier.facts.preprocessing
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    grey = ((0.5 - mean) / std).expand(1, 3, 64, 64)
    assert (attributions(classifier, grey, [0], steps=2) == 0).all()


def test_more_images_than_a_batch_have_the_maps_that_each_has_alone() -> None:
    classifier = _classifier(SCRATCH)
    inputs = _noise(classifier, images=18)
    together = grad_cam(classifier, inputs, [1] * 18)
    np.testing.assert_allclose(together[17:], grad_cam(classifier, inputs[17:], [1]), atol=1e-4)


@pytest.mark.parametrize("targets", [[0], [7]], ids=["well", "with an error"])
@pytest.mark.parametrize("method", METHODS)
def test_the_classifier_is_left_as_it_was(method: Explainer, targets: list[int]) -> None:
    classifier = _classifier(TUNED)
    classifier.train()
    before = _state(classifier)
    modes = [module.training for module in classifier.modules()]
    trained = [parameter.requires_grad for parameter in classifier.parameters()]
    if targets == [0]:
        method(classifier, _noise(classifier, 1), targets)
    else:
        with pytest.raises((AssertionError, IndexError, RuntimeError)):
            method(classifier, _noise(classifier, 1), targets)
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())
    assert [module.training for module in classifier.modules()] == modes
    assert [parameter.requires_grad for parameter in classifier.parameters()] == trained
    assert not any(module._forward_hooks for module in classifier.modules())
    assert all(parameter.grad is None for parameter in classifier.parameters())


@pytest.mark.parametrize("method", METHODS)
def test_inference_mode_and_what_was_made_in_it_are_no_hindrance(method: Explainer) -> None:
    with torch.inference_mode():
        classifier = _sees_colours()
        inputs = _red_and_green()
        within = method(classifier, inputs, [0])
    np.testing.assert_array_equal(method(classifier, inputs, [0]), within)


def test_neighbours_who_all_agree_still_say_why() -> None:
    classifier = _sees_colours()
    neighbours = NearestNeighbours(3, len(CLASSES))
    neighbours.remember(torch.eye(3)[[0, 0, 1, 1, 2]], torch.tensor([0, 0, 1, 1, 2]), 2)
    classifier.head = neighbours
    red = grad_cam(classifier, _red_and_green(), [0])[0]
    assert _share(red, slice(2, 14)) > 0.9


def test_likeness_is_the_votes_of_the_nearest_where_all_may_vote() -> None:
    head = NearestNeighbours(4, 3)
    random = torch.Generator().manual_seed(0)
    head.remember(torch.rand(9, 4, generator=random), torch.arange(9) % 3, 9)
    features = torch.rand(5, 4, generator=random)
    torch.testing.assert_close(ClassLikeness(head)(features).softmax(1), head(features).softmax(1), atol=1e-5, rtol=0)


def test_of_joined_backbones_one_that_the_head_passes_over_says_nothing() -> None:
    joined, single = _classifier(JOINED, seed=2), _classifier(PROBE, seed=2)
    inputs = _noise(joined)
    assert isinstance(joined.body, Concatenated)
    single.body = joined.body.members[0]
    heard = single.body(inputs).shape[1]
    (weight, _), (own_weight, _) = joined.head.parameters(), single.head.parameters()
    with torch.no_grad():
        weight[:, heard:] = 0
        own_weight.copy_(weight[:, :heard])
    found = grad_cam(joined, inputs, [0, 1])
    assert found.any()
    np.testing.assert_allclose(found, grad_cam(single, inputs, [0, 1]), atol=1e-5)


def test_a_network_of_tokens_is_told_what_to_use_instead() -> None:
    classifier = _classifier(TOKENS)
    with pytest.raises(PredictionError, match="integrated-gradients"):
        grad_cam(classifier, _noise(classifier), [0, 1])
    assert integrated_gradients(classifier, _noise(classifier), [0, 1], steps=2).max() == 1


def test_an_overlay_leaves_the_picture_where_heat_is_low_and_colours_it_where_it_is_high() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8)
    heat = np.zeros((8, 6), np.float32)
    heat[0] = 1
    found = overlay(picture, heat)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found[1:], picture[1:])
    yellow = found[0].astype(int) - (picture[0] * 0.4).round()
    assert (yellow[:, 0] > yellow[:, 2]).all()


@pytest.mark.parametrize("method", ["grad-cam", "integrated-gradients"])
def test_pictures_of_any_size_are_explained(method: Method) -> None:
    pictures: list[Pixels] = [np.full((height, 20, 3), 90, np.uint8) for height in (20, 40)]
    found = explain(_classifier(SCRATCH), pictures, [0, 1], method)
    assert [picture.shape for picture in found] == [(20, 20, 3), (40, 20, 3)]
    assert all(picture.dtype == np.uint8 for picture in found)
