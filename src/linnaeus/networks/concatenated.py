"""Several backbones as one body, whose features are those of all of them in a row."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from linnaeus.errors import RecipeError
from linnaeus.networks.backbone import backbone_preprocessing, build_backbone, feature_width, timm_name
from linnaeus.recipe_sections import TransferRecipe
from linnaeus.records import Preprocessing


class Member(nn.Module):
    """A backbone that takes images as another preprocessing makes them, (batch, 3, given.size, given.size), and gives
    its features (batch, features).

    Where its own preprocessing differs, the images are normalised anew and resized (bilinear, antialiased); where it is
    the same, they reach the backbone untouched.
    """

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, backbone: nn.Module, own: Preprocessing, given: Preprocessing) -> None:
        super().__init__()
        self.backbone = backbone
        self.own, self.given = own, given
        mean, std, given_mean, given_std = (
            torch.tensor(values).reshape(1, 3, 1, 1) for values in (own.mean, own.std, given.mean, given.std)
        )
        self.register_buffer("scale", given_std / std, persistent=False)
        self.register_buffer("shift", (given_mean - mean) / std, persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The backbone's features of a batch."""
        own, given = self.own, self.given
        if own.size != given.size:
            size = (own.size, own.size)
            images = functional.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)
        if (own.mean, own.std) != (given.mean, given.std):
            images = images * self.scale + self.shift
        features: torch.Tensor = self.backbone(images)
        return features

    def extra_repr(self) -> str:
        """The two preprocessings, by which this module differs from another with the same weights."""
        return f"own={self.own}, given={self.given}"


class Concatenated(nn.Module):
    """Images (batch, 3, size, size), preprocessed as `preprocessing` says, to the features of all `members` in a row,
    (batch, num_features).

    `preprocessing` is the first member's, at the largest size that any of them takes. Each member is a module of its
    own from those images to its features.
    """

    def __init__(self, backbones: list[nn.Module], input_size: int | None = None) -> None:
        super().__init__()
        owns = [backbone_preprocessing(backbone, input_size) for backbone in backbones]
        largest = max(own.size for own in owns)
        self.preprocessing = Preprocessing(largest, owns[0].mean, owns[0].std)
        members = [Member(backbone, own, self.preprocessing) for backbone, own in zip(backbones, owns, strict=True)]
        self.members = nn.ModuleList(members)
        self.num_features = sum(feature_width(backbone) for backbone in backbones)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The features of a batch, in the members' order."""
        return torch.cat([member(images) for member in self.members], dim=1)


def build_concatenated(recipe: TransferRecipe, *, pretrained: bool) -> Concatenated:
    """The recipe's backbone and its `more_backbones` as one body, in evaluation mode.

    Raises RecipeError for a name that timm does not know or that is given twice, and WeightsError.
    """
    names = [recipe.backbone, *recipe.more_backbones]
    known = [timm_name(name) for name in names]
    for place, name in enumerate(known):
        if name in known[:place]:
            raise RecipeError(f"{names[place]} is among the backbones twice; its features would only be repeated")
    single: dict[str, Any] = {"more_backbones": ()}
    backbones = [
        build_backbone(recipe.model_copy(update=single | {"backbone": name}), pretrained=pretrained) for name in names
    ]
    return Concatenated(backbones, recipe.input_size).eval()
