import pytest
import torch
from torch import nn

from linnaeus.errors import RecipeError
from linnaeus.networks.backbone import backbone_preprocessing, build_backbone, feature_width
from linnaeus.networks.concatenated import Concatenated, Member, build_concatenated
from linnaeus.recipe_sections import TransferRecipe
from linnaeus.records import Preprocessing

FIRST, SECOND = "test_resnet", "test_vit"
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5,) * 3, (0.5,) * 3)


def _recipe(*names: str, input_size: int | None = None) -> TransferRecipe:
    return TransferRecipe(
        backbone=names[0], more_backbones=names[1:], weights="random", input_size=input_size, dense_widths=()
    )


@pytest.fixture(scope="module")
def body() -> Concatenated:
    torch.manual_seed(0)
    return build_concatenated(_recipe(FIRST, SECOND), pretrained=False)


class _Seen(nn.Module):
    """Keeps the images that it is given."""

    images: torch.Tensor

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.images = images
        return images.mean(dim=(2, 3))


def _member(own: Preprocessing, given: Preprocessing) -> tuple[Member, _Seen]:
    seen = _Seen()
    return Member(seen, own, given), seen


def _names(member: nn.Module) -> list[str]:
    assert isinstance(member, Member)
    return [*member.backbone.state_dict()]


def _images(size: int) -> torch.Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))


def _normalised(images: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    return (images - mean) / std


def test_the_features_are_those_of_all_members_in_a_row(body: Concatenated) -> None:
    images = _images(body.preprocessing.size)
    with torch.inference_mode():
        features, single = body(images), [member(images) for member in body.members]
    assert torch.equal(features, torch.cat(single, dim=1))
    assert features.shape == (2, body.num_features)
    assert feature_width(body) == body.num_features


def test_a_member_with_the_same_preprocessing_gets_the_images_untouched() -> None:
    member, seen = _member(Preprocessing(8, *HALF), Preprocessing(8, *HALF))
    images = _images(8)
    member(images)
    assert seen.images is images


def test_a_member_gets_images_normalised_as_it_expects() -> None:
    own, given = Preprocessing(8, *IMAGENET), Preprocessing(8, *HALF)
    member, seen = _member(own, given)
    images = _images(8)
    member(_normalised(images, given))
    torch.testing.assert_close(seen.images, _normalised(images, own))


def test_a_member_gets_images_of_its_own_size() -> None:
    member, seen = _member(Preprocessing(8, *HALF), Preprocessing(16, *HALF))
    checkers = torch.ones(1, 3, 16, 16)
    checkers[..., ::2, ::2] = checkers[..., 1::2, 1::2] = -1
    member(checkers)
    assert seen.images.shape == (1, 3, 8, 8)
    assert seen.images.abs().max() < 0.2  # a fine pattern becomes grey, as it does only with antialiasing


def test_the_first_s_preprocessing_at_the_largest_size_is_everyone_s() -> None:
    backbones = [build_backbone(_recipe(name), pretrained=False) for name in (FIRST, "test_vit", "resnet18")]
    body = Concatenated(backbones)
    own = backbone_preprocessing(backbones[0], None)
    assert body.preprocessing == Preprocessing(224, own.mean, own.std)


def test_an_input_size_is_that_of_every_member() -> None:
    body = build_concatenated(_recipe(FIRST, SECOND, input_size=96), pretrained=False)
    assert body.preprocessing.size == 96
    assert [member.own.size for member in body.members] == [96, 96]


def test_the_weights_of_all_members_are_saved_and_nothing_else(body: Concatenated) -> None:
    names = [f"members.{place}.backbone.{name}" for place, member in enumerate(body.members) for name in _names(member)]
    assert [*body.state_dict()] == names


def test_members_that_differ_in_preprocessing_alone_can_be_told_apart() -> None:
    one, other = (_member(Preprocessing(size, *HALF), Preprocessing(16, *HALF))[0] for size in (8, 16))
    assert str(one) != str(other)


@pytest.mark.parametrize("names", [(FIRST, SECOND, FIRST), ("MobileNetV2", "mobilenetv2_100")])
def test_a_backbone_twice_is_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(RecipeError, match=f"{names[-1]} is among the backbones twice"):
        build_concatenated(_recipe(*names), pretrained=False)


def test_an_unknown_backbone_among_others_is_refused() -> None:
    with pytest.raises(RecipeError, match="no backbone 'zzzz'"):
        build_concatenated(_recipe(FIRST, "zzzz"), pretrained=False)
