import logging
import sys
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from linnaeus.scale import backends as source
from linnaeus.scale.backends import Backend, backends
from linnaeus.scale.engine import Engine


@pytest.fixture(autouse=True)
def _on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "best_device", lambda: torch.device("cpu"))


def _images(count: int, size: int = 16) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def _network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5)]
    return nn.Sequential(*layers, nn.Linear(7 * 7 * 4, 5))


def _expected(module: nn.Module, images: torch.Tensor) -> np.ndarray:
    with torch.inference_mode():
        return np.asarray(module.eval()(images).numpy())


def _needs_onnx() -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package} is not installed (linnaeus[export])")


def _check(backend: Backend, *, closeness: float) -> None:
    assert backend.reason == ""
    assert backend.run is not None
    for count in (1, 2, 3, 4, 9):
        outputs, expected = backend.run(_images(count)), _expected(_network(), _images(count))
        assert outputs.shape == expected.shape
        assert outputs.dtype == np.float32
        np.testing.assert_allclose(outputs, expected, atol=closeness)


def test_torch_and_openvino_give_what_torch_gives_for_any_number_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    by_torch, openvino, _ = backends(_network(), _images(4))
    assert by_torch.name == "torch, cpu"
    assert openvino.name.startswith("OpenVINO, ")
    _check(by_torch, closeness=1e-6)
    _check(openvino, closeness=1e-5 if openvino.name == "OpenVINO, f32" else 0.05)


def test_onnxruntime_gives_what_torch_gives_for_any_number_of_images_and_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    _needs_onnx()
    monkeypatch.setitem(sys.modules, "openvino", None)
    (*_, onnxruntime) = backends(_network(), _images(4))
    assert onnxruntime.name == "ONNX Runtime"
    _check(onnxruntime, closeness=1e-5)
    assert capfd.readouterr() == ("", "")


def test_the_module_stays_as_it_was_and_its_later_weights_are_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    module = _network().train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    found = [*backends(module, _images(2))][:2]
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(part.training for part in module.modules())
    assert all(parameter.requires_grad for parameter in module.parameters())
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    for backend in found:
        assert backend.run is not None
        np.testing.assert_allclose(backend.run(_images(2)), _expected(_network(), _images(2)), atol=0.05)


def test_without_the_packages_each_reason_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    _, openvino, onnxruntime = backends(_network(), _images(2))
    assert (openvino.name, openvino.run) == ("OpenVINO", None)
    assert "pip install openvino" in openvino.reason
    assert (onnxruntime.name, onnxruntime.run) == ("ONNX Runtime", None)
    assert "pip install 'linnaeus[export]'" in onnxruntime.reason


class _Unconvertible(nn.Module):
    """Uses an operation that the runtimes do not have."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.flatten(torch.special.bessel_j0(images), 1)


class _Choosing(nn.Module):
    """Does another thing for other values, which an export cannot follow."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images if bool(images.sum() > 0) else -images


@pytest.mark.parametrize("module", [_Unconvertible(), _Choosing()])
def test_what_cannot_be_converted_is_returned_with_a_reason_of_one_line_and_nothing_is_printed(
    module: nn.Module, capfd: pytest.CaptureFixture[str]
) -> None:
    _needs_onnx()
    before = logging.root.manager.disable, [*warnings.filters]
    by_torch, *_, onnxruntime = backends(module, _images(2))
    assert by_torch.run is not None
    assert onnxruntime.run is None
    assert onnxruntime.reason
    assert "\n" not in onnxruntime.reason
    assert "\x1b" not in onnxruntime.reason
    assert (logging.root.manager.disable, [*warnings.filters]) == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("wrong_for", ["one", "many"])
def test_another_output_than_torch_s_is_refused_and_named(monkeypatch: pytest.MonkeyPatch, wrong_for: str) -> None:
    def coarse(batch: torch.Tensor) -> np.ndarray:
        is_wrong = (len(batch) == 1) == (wrong_for == "one")
        return np.asarray((batch * (1.05 if is_wrong else 1)).numpy())

    def fine(batch: torch.Tensor) -> np.ndarray:
        return np.asarray((batch * 1.01).numpy())

    def offer(*candidates: tuple[str, Engine]) -> None:
        monkeypatch.setattr(source, "_openvino_engines", lambda *_: iter(candidates))

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    offer(("coarse", coarse), ("fine", fine))
    assert [backend.name for backend in backends(nn.Identity(), torch.ones(2, 3))][1] == "fine"
    offer(("coarse", coarse), ("coarser", coarse))
    refused = [*backends(nn.Identity(), torch.ones(2, 3))][1]
    assert (refused.name, refused.run) == ("OpenVINO", None)
    assert refused.reason == "another output than torch's in coarse and in coarser"


def test_a_network_that_torch_cannot_run_raises_what_it_raises() -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        next(backends(nn.Linear(7, 2), torch.zeros(2, 3)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_runs_in_32_and_in_16_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "best_device", lambda: torch.device("cuda"))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    in_32, in_16, openvino, _ = backends(_network(), _images(4))
    assert (in_32.name, in_16.name[:12]) == ("torch, cuda", "torch, cuda,")
    _check(in_32, closeness=0.01)  # TF32
    _check(in_16, closeness=0.05)
    assert openvino.run is not None
