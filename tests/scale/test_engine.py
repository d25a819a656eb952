import logging
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module

import numpy as np
import pytest
import timm
import torch
from torch import nn

from linnaeus.networks.backbone import split_backbone
from linnaeus.scale import engine
from linnaeus.scale.engine import FEWEST_IMAGES, Engine, fastest_engine

MANY = FEWEST_IMAGES
IN_32_BITS = "runs in OpenVINO, f32"


@pytest.fixture(autouse=True)
def _on_a_cpu(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(engine, "best_device", lambda: torch.device("cpu"))
    caplog.set_level(logging.INFO, "linnaeus")


def _images(count: int, size: int = 64) -> torch.Tensor:
    images = torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))
    return images.contiguous(memory_format=torch.channels_last)


def _backbone() -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = timm.create_model("test_resnet", num_classes=0)
    return model


def _trunk() -> nn.Module:
    trunk, _ = split_backbone(_backbone().eval(), 3)
    assert trunk is not None
    return trunk


def _convolutions() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(4, 8, 3), nn.MaxPool2d(2), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(14 * 14 * 8, 5), nn.Dropout(0.5))


MODULES = pytest.mark.parametrize("build", [_backbone, _trunk, _convolutions])


def _by_torch(module: nn.Module, images: torch.Tensor) -> np.ndarray:
    with torch.inference_mode():
        return np.asarray(module.eval()(images).numpy())


@MODULES
def test_many_images_go_through_openvino_and_give_what_torch_gives(
    build: Callable[[], nn.Module], caplog: pytest.LogCaptureFixture
) -> None:
    images = _images(9)
    outputs = fastest_engine(build(), images[:4], MANY)(images)
    expected = _by_torch(build(), images)
    assert "runs in OpenVINO" in caplog.text
    assert outputs.shape == expected.shape
    assert outputs.dtype == np.float32
    distances = np.linalg.norm((outputs - expected).reshape(9, -1), axis=1)
    lengths = np.linalg.norm(expected.reshape(9, -1), axis=1)
    assert (distances <= (1e-5 if IN_32_BITS in caplog.text else 0.05) * lengths).all()


@pytest.mark.parametrize("images", [None, FEWEST_IMAGES - 1])
def test_few_images_go_through_torch_itself(images: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object) -> None:
        raise AssertionError("OpenVINO was asked")

    monkeypatch.setattr(engine, "_openvino_engines", refused)
    np.testing.assert_array_equal(
        fastest_engine(_convolutions(), _images(2), images)(_images(2)), _by_torch(_convolutions(), _images(2))
    )


@pytest.mark.parametrize("count", [MANY, None])
def test_an_image_s_output_does_not_depend_on_the_images_beside_it(count: int | None) -> None:
    images = _images(9)
    run = fastest_engine(_backbone(), images[:4], count)
    together = run(images)
    alone = np.concatenate([run(images[place : place + 1]) for place in range(9)])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)


@MODULES
@pytest.mark.parametrize("images", [MANY, None])
def test_the_module_stays_as_it_was(build: Callable[[], nn.Module], images: int | None) -> None:
    module = build().train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    strides = [parameter.stride() for parameter in module.parameters()]
    run = fastest_engine(module, _images(2), images)
    run(_images(2))
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(part.training for part in module.modules())
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert [parameter.stride() for parameter in module.parameters()] == strides


@pytest.mark.parametrize("images", [MANY, None])
def test_an_engine_computes_with_the_weights_that_the_module_had(images: int | None) -> None:
    module = _backbone()
    expected = _by_torch(_backbone(), _images(2))
    run = fastest_engine(module, _images(2), images)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    np.testing.assert_allclose(run(_images(2)), expected, rtol=0.1, atol=0.01)  # a processor's 16 bits are enough


class _Moody(nn.Module):
    """Another output for one image alone than for several, which a trace of one cannot know."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images if len(images) == 1 else -images


class _Unconvertible(nn.Module):
    """Uses an operation that OpenVINO does not have."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.flatten(torch.special.bessel_j0(images), 1)


class _Broken(nn.Module):
    """Cannot compute one image alone."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if len(images) < 2:
            raise ValueError("one image alone")
        return images


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (_Moody(), "_Moody runs in torch's 32 bits, which take longer, since: its output is another in OpenVINO, "),
        (_Unconvertible(), "_Unconvertible runs in torch's 32 bits, which take longer, since: "),
        (_Broken(), "_Broken runs in torch's 32 bits, which take longer, since: one image alone"),
    ],
)
def test_what_openvino_cannot_compute_goes_through_torch_and_the_log_says_so(
    module: nn.Module, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    outputs = fastest_engine(module, _images(2, size=8), MANY)(_images(2, size=8))
    np.testing.assert_array_equal(outputs, _by_torch(module, _images(2, size=8)))
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert said in warning.message


def test_without_openvino_torch_computes_and_the_log_names_the_package(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    outputs = fastest_engine(_convolutions(), _images(2), MANY)(_images(2))
    np.testing.assert_array_equal(outputs, _by_torch(_convolutions(), _images(2)))
    assert "pip install openvino" in caplog.text


def test_16_bits_that_give_another_output_leave_room_for_32(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def candidates(*arguments: object) -> list[tuple[str, Engine]]:
        return [("coarse", lambda batch: (batch * 1.05).numpy()), ("fine", lambda batch: (batch * 1.02).numpy())]

    monkeypatch.setattr(engine, "_openvino_engines", candidates)
    outputs = fastest_engine(nn.Identity(), torch.ones(2, 3), MANY)(torch.ones(2, 3))
    np.testing.assert_allclose(outputs, 1.02)
    assert "another output in coarse" in caplog.text
    assert "runs in fine" in caplog.text


def test_marks_keep_the_first_convolutions_in_32_bits() -> None:
    openvino = engine._import_openvino()
    layers = [layer for width in (3, 4, 4, 4, 4) for layer in (nn.Conv2d(width, 4, 3), nn.ReLU())]
    model = engine._converted(openvino, nn.Sequential(*layers).requires_grad_(False), _images(1))
    marks = [
        any("Precision" in name or "precise" in name for name in operation.get_rt_info())
        for operation in engine._exact_at_first(openvino, model).get_ordered_ops()
        if operation.get_type_name() == "Convolution"
    ]
    assert marks == [True, True, True, False, False]


def test_outputs_that_are_all_zero_agree() -> None:
    assert engine._agree(np.zeros((2, 3, 4), np.float32), np.zeros((2, 3, 4), np.float32))


def test_outputs_that_are_no_numbers_do_not_agree() -> None:
    assert not engine._agree(np.full((1, 3), np.nan, np.float32), np.ones((1, 3), np.float32))


def test_openvino_reports_to_nobody() -> None:
    """Its own package for that sends a message at import, and writes files into the user's home."""
    engine._import_openvino()
    with pytest.raises(ImportError):
        import_module("openvino_telemetry")
    assert sys.modules["openvino.tools.ovc.convert_impl"].tm.__name__ == "openvino.tools.ovc.telemetry_stub"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_computes_in_16_bits_what_a_cpu_computes_in_32(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(engine, "best_device", lambda: torch.device("cuda"))
    outputs = fastest_engine(_backbone(), _images(4))(_images(9))
    expected = _by_torch(_backbone(), _images(9))
    assert "runs in torch, cuda" in caplog.text
    assert (np.linalg.norm(outputs - expected, axis=1) <= 0.05 * np.linalg.norm(expected, axis=1)).all()


def test_a_model_that_openvino_cannot_convert_leaves_logging_as_it_is() -> None:
    pytest.importorskip("openvino")
    root = logging.getLogger()
    before = root.level, [*root.filters], [*root.handlers]
    fastest_engine(_Unconvertible(), _images(4), MANY)
    assert (root.level, root.filters, root.handlers) == before


def test_signals_are_survived_when_engines_have_come_and_gone() -> None:
    pytest.importorskip("openvino")
    script = """
import faulthandler, os, signal
faulthandler.enable()  # gives signal handlers a stack of their own, as many programs do
import torch
from torch import nn
from linnaeus.scale.engine import fastest_engine
signal.signal(signal.SIGTERM, lambda *_: print("survived"))
engine = None
for width in (2, 3, 4):
    module = nn.Sequential(nn.Conv2d(3, width, 3), nn.Flatten())
    engine = fastest_engine(module, torch.rand(4, 3, 16, 16), images=10_000)
del engine
os.kill(os.getpid(), signal.SIGTERM)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "survived\n"), ended.stderr
