from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from linnaeus.data.dataset import preprocessed
from linnaeus.data.decode import resized, rgb_pixels
from linnaeus.errors import WeightsError
from linnaeus.networks import weights as module
from linnaeus.networks.backbone import backbone_preprocessing
from linnaeus.networks.weights import backbones_at_hand, load_pretrained, packaged_weights

LITE0 = "tf_efficientnet_lite0"


def _small(name: str, *, pretrained: bool) -> nn.Module:
    return nn.Linear(3, 2)


def _no_network(name: str, *, pretrained: bool) -> nn.Module:
    raise ConnectionError("Max retries exceeded\nwith a long trace")


def test_lite0_s_weights_are_installed_and_need_no_network() -> None:
    assert packaged_weights(LITE0) is not None
    assert LITE0 in backbones_at_hand()


def test_a_backbone_without_a_package_has_no_installed_weights() -> None:
    assert packaged_weights("mobilenetv2_100") is None


def test_every_installed_tensor_of_lite0_arrives_under_timm_s_name_for_it() -> None:
    path = packaged_weights(LITE0)
    assert path is not None
    packaged: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
    state = load_pretrained(timm.create_model, LITE0, "auto").state_dict()
    pairs = {
        "conv_stem.weight": "_conv_stem.weight",
        "bn1.running_var": "_bn0.running_var",
        "blocks.0.0.conv_dw.weight": "_blocks.0._depthwise_conv.weight",
        "conv_head.weight": "_conv_head.weight",
        "bn2.bias": "_bn1.bias",
        "classifier.weight": "_fc.weight",
    }
    assert len(state) == len(packaged)
    for ours, theirs in pairs.items():
        assert torch.equal(state[ours], packaged[theirs]), ours


def test_lite0_knows_a_cat_on_the_preprocessing_that_goes_with_it(shared: Path) -> None:
    paths = sorted((shared / "data" / "animals9" / "gatto").iterdir())[:6]
    model = load_pretrained(timm.create_model, LITE0, "auto").eval()
    pixels = [resized(rgb_pixels(path.read_bytes()), 224, 224) for path in paths]
    images = preprocessed(np.stack(pixels), backbone_preprocessing(model, None))
    with torch.inference_mode():
        places = model(images).argmax(dim=1)
    cats = range(281, 288)  # ImageNet's tabby to lynx
    assert sum(int(place) in cats for place in places) >= 4


def test_without_a_network_the_error_names_what_there_is() -> None:
    with pytest.raises(WeightsError) as caught:
        load_pretrained(_no_network, "mobilenetv2_100", "auto")
    message = str(caught.value)
    assert "mobilenetv2_100" in message
    assert "Max retries exceeded)" in message
    assert f"Without a network there are: {LITE0}" in message
    assert "model.weights:" in message
    assert "long trace" not in message


def test_without_any_package_the_error_says_that_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PACKAGES", {})
    with pytest.raises(WeightsError, match="Without a network there are: none"):
        load_pretrained(_no_network, "mobilenetv2_100", "auto")


def test_the_hub_is_asked_only_where_nothing_is_installed() -> None:
    asked: list[tuple[str, bool]] = []

    def note(name: str, *, pretrained: bool) -> Any:
        asked.append((name, pretrained))
        return timm.create_model(name, pretrained=False) if name == LITE0 else nn.Linear(1, 1)

    load_pretrained(note, LITE0, "auto")
    load_pretrained(note, "mobilenetv2_100", "auto")
    assert asked == [(LITE0, False), ("mobilenetv2_100", True)]


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_come_from_a_file_of_one_s_own(tmp_path: Path, suffix: str) -> None:
    state = {"weight": torch.full((2, 3), 7.0), "bias": torch.ones(2)}
    path = tmp_path / f"own{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    loaded = load_pretrained(_small, "any", str(path))
    assert torch.equal(loaded.state_dict()["weight"], state["weight"])


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_of_another_model_is_refused(tmp_path: Path, suffix: str) -> None:
    state = {"weight": torch.zeros(9, 9), "bias": torch.ones(2)}
    path = tmp_path / f"other{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    with pytest.raises(WeightsError, match="does not fit the backbone"):
        load_pretrained(_small, "any", str(path))


@pytest.mark.parametrize("name", ["none.safetensors", "none.pth", "bad.safetensors", "bad.pth"])
def test_a_file_without_weights_is_refused_by_its_name(tmp_path: Path, name: str) -> None:
    if name.startswith("bad"):
        (tmp_path / name).write_bytes(b"no weights at all")
    with pytest.raises(WeightsError, match=f"{name} holds no readable weights"):
        load_pretrained(_small, "any", str(tmp_path / name))


class _Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("harm",)


def test_a_file_that_would_run_code_is_refused_and_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"weight": _Harmful()}, tmp_path / "harmful.pth")
    with pytest.raises(WeightsError, match="no readable weights"):
        load_pretrained(_small, "any", str(tmp_path / "harmful.pth"))
    assert "harm" not in capsys.readouterr().out


def test_a_file_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    torch.save([1, 2, 3], tmp_path / "list.pth")
    with pytest.raises(WeightsError):
        load_pretrained(_small, "any", str(tmp_path / "list.pth"))
