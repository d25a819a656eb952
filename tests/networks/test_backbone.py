import pytest
import torch
from torch import nn

from linnaeus.errors import RecipeError
from linnaeus.networks.backbone import (
    ALIASES,
    backbone_preprocessing,
    build_backbone,
    count_parameters,
    last_blocks,
    last_layer_parameters,
    layer_depths,
    running_statistics,
    split_backbone,
    timm_name,
)
from linnaeus.recipe_sections import TransferRecipe

MOBILENET, LITE0, RESNET = "mobilenetv2_100", "tf_efficientnet_lite0", "resnet18"


def _backbone(name: str) -> nn.Module:
    return build_backbone(TransferRecipe(backbone=name), pretrained=False)


@pytest.fixture(scope="module")
def backbones() -> dict[str, nn.Module]:
    return {name: _backbone(name) for name in (MOBILENET, LITE0, RESNET)}


def _images(size: int = 64) -> torch.Tensor:
    return torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("name", "parameters"), [("MobileNetV2", 2_257_984), ("EfficientNetV2S", 20_331_360)])
def test_a_backbone_has_as_many_parameters_as_keras_counts(name: str, parameters: int) -> None:
    assert sum(count_parameters(_backbone(name))) == parameters


@pytest.mark.parametrize("keras_name", ALIASES)
def test_the_deck_s_names_of_backbones_are_understood(keras_name: str) -> None:
    assert timm_name(keras_name) == ALIASES[keras_name]


def test_a_tag_of_pretrained_weights_may_follow_the_name() -> None:
    assert timm_name("mobilenetv2_100.ra_in1k") == "mobilenetv2_100.ra_in1k"


@pytest.mark.parametrize(("name", "near"), [("mobilenetv2_999", "mobilenetv2_100"), ("resnet_18", "resnet")])
def test_an_unknown_backbone_is_refused_with_near_ones(name: str, near: str) -> None:
    with pytest.raises(RecipeError, match=f"no backbone '{name}'; near it: .*{near}"):
        timm_name(name)


def test_an_unknown_tag_is_refused_with_those_there_are() -> None:
    with pytest.raises(RecipeError, match=r"no weights 'mobilenetv2_100.nope'; there are mobilenetv2_100.ra_in1k"):
        timm_name("mobilenetv2_100.nope")


def test_a_backbone_like_no_other_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"no backbone 'zzzz'$"):
        timm_name("zzzz")


def test_a_backbone_gives_pooled_features(backbones: dict[str, nn.Module]) -> None:
    assert backbones[MOBILENET](_images()).shape == (1, 1280)
    assert not backbones[MOBILENET].training


def test_lite0_expects_values_between_minus_1_and_1(backbones: dict[str, nn.Module]) -> None:
    preprocessing = backbone_preprocessing(backbones[LITE0], None)
    assert (preprocessing.size, preprocessing.mean, preprocessing.std) == (224, (0.5,) * 3, (0.5,) * 3)


def test_a_size_of_one_s_own_changes_nothing_else(backbones: dict[str, nn.Module]) -> None:
    own, wished = (backbone_preprocessing(backbones[MOBILENET], size) for size in (None, 96))
    assert (wished.size, wished.mean, wished.std) == (96, own.mean, own.std)


@pytest.mark.parametrize("name", ["test_vit", "test_maxvit"])
def test_a_transformer_takes_images_of_another_size_and_keeps_its_weights_for_them(name: str) -> None:
    built = [build_backbone(TransferRecipe(backbone=name, input_size=96), pretrained=False) for _ in range(2)]
    built[1].load_state_dict(built[0].state_dict())
    with torch.inference_mode():
        first, second = (backbone(_images(96)) for backbone in built)
    assert torch.equal(first, second)


def test_a_size_that_a_backbone_cannot_take_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"cannot take images of 96 pixels; its own are of 224 \("):
        build_backbone(TransferRecipe(backbone="pit_ti_224", input_size=96), pretrained=False)


@pytest.mark.parametrize(
    ("name", "last_layers"), [(MOBILENET, 20), (LITE0, 25), (RESNET, 1), (RESNET, 5), (RESNET, 20)]
)
def test_trunk_and_tail_compute_what_the_backbone_computes(
    backbones: dict[str, nn.Module], name: str, last_layers: int
) -> None:
    backbone = backbones[name]
    trunk, tail = split_backbone(backbone, last_layers)
    assert trunk is not None
    with torch.inference_mode():
        torch.testing.assert_close(tail(trunk(_images())), backbone(_images()))


@pytest.mark.parametrize("name", [MOBILENET, LITE0, RESNET])
def test_the_tail_holds_the_very_parameters_of_the_last_layers_and_the_trunk_none(
    backbones: dict[str, nn.Module], name: str
) -> None:
    last = {id(parameter) for parameter in last_layer_parameters(backbones[name], 20)}
    trunk, tail = split_backbone(backbones[name], 20)
    assert trunk is not None
    assert last
    assert last <= {id(parameter) for parameter in tail.parameters()}
    assert not last & {id(parameter) for parameter in trunk.parameters()}


def test_splitting_leaves_the_backbone_as_it_was(backbones: dict[str, nn.Module]) -> None:
    before = {name: id(parameter) for name, parameter in backbones[MOBILENET].named_parameters()}
    split_backbone(backbones[MOBILENET], 20)
    assert {name: id(parameter) for name, parameter in backbones[MOBILENET].named_parameters()} == before


def test_the_last_20_layers_of_mobilenet_hold_the_parameters_that_keras_counts(
    backbones: dict[str, nn.Module],
) -> None:
    last = [*last_layer_parameters(backbones[MOBILENET], 20)]
    assert sum(parameter.numel() for parameter in last) == 1_206_080


def test_more_last_layers_hold_all_that_fewer_hold(backbones: dict[str, nn.Module]) -> None:
    sizes = [
        sum(parameter.numel() for parameter in last_layer_parameters(backbones[MOBILENET], count))
        for count in (1, 5, 20, 60, 10_000)
    ]
    assert sizes == sorted(sizes)
    assert sizes[-1] == sum(parameter.numel() for parameter in backbones[MOBILENET].parameters())


def test_more_layers_than_there_are_leave_no_trunk(backbones: dict[str, nn.Module]) -> None:
    trunk, tail = split_backbone(backbones[RESNET], 10_000)
    assert trunk is None
    assert tail is backbones[RESNET]


# Backbone, its blocks, the start of the names of the last one's parameters and of what comes after it.
BLOCKS = [
    ("tf_efficientnet_lite0", 16, ("blocks.6.0.", "conv_head", "bn2")),
    ("mobilenetv2_100", 17, ("blocks.6.0.", "conv_head", "bn2")),
    ("resnetv2_50", 16, ("stages.3.blocks.2.", "norm")),
    ("vit_small_patch16_224", 12, ("blocks.11.", "norm")),
    ("convnext_tiny", 18, ("stages.3.blocks.2.", "head.norm")),
    ("test_resnet", 4, ("layer4.0.",)),
    ("test_vit2", 8, ("blocks.7.", "fc_norm")),
    ("test_byobnet", 4, ("stages.3.0.",)),
]


@pytest.mark.parametrize(("name", "blocks", "starts"), BLOCKS)
def test_the_last_blocks_are_as_many_last_layers_as_hold_them_and_all_after_them(
    name: str, blocks: int, starts: tuple[str, ...]
) -> None:
    backbone = _backbone(name)
    depths, parameters = layer_depths(backbone), dict(backbone.named_parameters())
    expected = {id(parameter) for name, parameter in parameters.items() if name.startswith(starts)}
    assert expected == {id(parameter) for parameter in last_layer_parameters(backbone, last_blocks(backbone, 1))}
    all_but_stem = {id(parameter) for name, parameter in parameters.items() if depths[name] > 0}
    assert all_but_stem == {id(p) for p in last_layer_parameters(backbone, last_blocks(backbone, blocks))}
    everything = {id(parameter) for parameter in parameters.values()}
    assert everything == {id(p) for p in last_layer_parameters(backbone, last_blocks(backbone, blocks + 1))}


@pytest.mark.parametrize("name", [MOBILENET, "test_vit", "test_convnext", "test_maxvit"])
def test_the_trunk_above_the_last_blocks_has_none_of_their_parameters(name: str) -> None:
    backbone = _backbone(name)
    layers = last_blocks(backbone, 2)
    trunk, tail = split_backbone(backbone, layers)
    assert trunk is not None
    trained = {id(parameter) for parameter in last_layer_parameters(backbone, layers)}
    assert trained <= {id(parameter) for parameter in tail.parameters()}
    assert not trained & {id(parameter) for parameter in trunk.parameters()}
    images = _images(backbone_preprocessing(backbone, None).size)
    with torch.inference_mode():
        torch.testing.assert_close(tail(trunk(images)), backbone(images))


def test_depth_grows_by_one_with_each_block_from_the_stem() -> None:
    depths = layer_depths(_backbone("test_resnet"))
    assert depths["conv1.0.weight"] == 0
    assert [depths[f"layer{number}.0.conv1.weight"] for number in (1, 2, 3, 4)] == [1, 2, 3, 4]
    assert layer_depths(_backbone("test_convnext"))["head.norm.weight"] == 10  # above 9 blocks
    assert set(depths) == {name for name, _ in _backbone("test_resnet").named_parameters()}


def test_a_backbone_whose_blocks_are_unknown_is_refused() -> None:
    with pytest.raises(RecipeError, match="blocks of Linear; give unfrozen_last_layers"):
        last_blocks(nn.Linear(2, 2), 1)


@pytest.mark.parametrize("name", ["levit_128s", "eva02_tiny_patch14_224"])
def test_a_backbone_that_remembers_or_makes_constants_is_split_again_and_again_the_same(name: str) -> None:
    backbone = _backbone(name)
    names = [*backbone.state_dict()]
    layers = last_blocks(backbone, 1)
    codes = [getattr(part, "code", None) for _ in range(2) for part in split_backbone(backbone, layers)]
    assert codes[0] is not None
    assert codes[:2] == codes[2:]
    assert [*backbone.state_dict()] == names


class _Untraceable(nn.Module):
    """A model whose path depends on its input, which cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.last = nn.Linear(4, 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = self.first(inputs)
        return torch.as_tensor(self.last(hidden) if hidden.sum() > 0 else self.last(-hidden))


def test_a_backbone_that_cannot_be_traced_is_trained_whole_from_images() -> None:
    backbone = _Untraceable()
    trunk, tail = split_backbone(backbone, 1)
    assert trunk is None
    assert tail is backbone
    assert [*last_layer_parameters(backbone, 1)] == [backbone.last.weight, backbone.last.bias]


def test_the_last_blocks_of_a_backbone_that_cannot_be_traced_are_counted_as_they_are_registered() -> None:
    backbone = _Untraceable()
    backbone.group_matcher = lambda coarse: {"stem": "^first", "blocks": "^last"}  # type: ignore[assignment]
    assert [last_blocks(backbone, blocks) for blocks in (1, 2)] == [1, 2]


def test_running_statistics_count_as_not_trainable_as_in_keras() -> None:
    layer = nn.BatchNorm2d(5)
    assert count_parameters(layer) == (10, 10)
    layer.requires_grad_(False)
    assert count_parameters(layer) == (0, 20)
    assert len(running_statistics(layer)) == 2
