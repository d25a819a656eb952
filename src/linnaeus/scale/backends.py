"""The ways in which this machine can run a network: torch, OpenVINO, ONNX Runtime."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from copy import deepcopy
from dataclasses import dataclass
from importlib import import_module
from io import StringIO

import numpy as np
import torch
from torch import nn

from linnaeus.errors import MissingExtraError
from linnaeus.scale.device import best_device
from linnaeus.scale.engine import (
    CHECKED_IMAGES,
    Engine,
    Output,
    _agree,
    _half_engines,
    _openvino_engines,
    _torch_engine,
)


@dataclass(frozen=True)
class Backend:
    """A way to run a network, by its runtime and, where that chooses it, its precision.

    run: from a batch of any number of images, at least one, to what the network gives; None where this machine cannot
    run the network so, and then `reason` says why.
    """

    name: str
    run: Engine | None
    reason: str = ""


def backends(module: nn.Module, example: torch.Tensor) -> Iterator[Backend]:
    """Each way in which this machine can run the module in evaluation mode, or why it cannot.

    torch on the best device, in 32 bits and, on a GPU, in 16; then, both on the CPU, OpenVINO in the precision that
    `fastest_engine` would choose, and ONNX Runtime in 32 bits. The module stays as it is. example: a batch; an engine
    is made ready for single images and for batches of this many, and takes others too. Each but the first must give
    what torch in 32 bits gives for it. Each is prepared when it is asked for, which takes seconds. Raises what the
    module raises where torch cannot run it.
    """
    frozen, device = deepcopy(module).cpu().requires_grad_(False).eval(), best_device()
    checked = example[:CHECKED_IMAGES]
    exact = _torch_engine(deepcopy(frozen), device)
    expected = exact(checked)
    yield Backend(f"torch, {device.type}", exact)

    def first_alike(family: str, candidates: Callable[[], Iterator[tuple[str, Engine]]]) -> Backend:
        refused = []
        try:
            for name, run in candidates():
                if _agree(run(checked), expected) and _agree(run(checked[:1]), expected[:1]):
                    return Backend(name, run)
                refused.append(name)
        except Exception as error:  # conversion runs the model's code on placeholders, which may raise anything
            return Backend(family, None, _root_of(error))
        return Backend(family, None, f"another output than torch's in {' and in '.join(refused)}")

    if device.type != "cpu":
        yield first_alike(f"torch, {device.type}, 16 bits", lambda: _half_engines(deepcopy(frozen), device))
    yield first_alike("OpenVINO", lambda: _openvino_for_one_and_many(frozen, example))
    yield first_alike("ONNX Runtime", lambda: _onnxruntime(frozen, example))


def _root_of(error: BaseException) -> str:
    """The first line of what went wrong at first, which exporters wrap in advice to their developers."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _openvino_for_one_and_many(module: nn.Module, example: torch.Tensor) -> Iterator[tuple[str, Engine]]:
    """OpenVINO's engines, twice: filling one image up to a batch would take as long as the batch."""
    ones, many = _openvino_engines(module, example[:1]), _openvino_engines(module, example)
    for (name, run_one), (_, run_many) in zip(ones, many, strict=True):
        yield name, _by_number(run_one, run_many)


def _by_number(run_one: Engine, run_many: Engine) -> Engine:
    return lambda batch: (run_one if len(batch) == 1 else run_many)(batch)


def _onnxruntime(module: nn.Module, example: torch.Tensor) -> Iterator[tuple[str, Engine]]:
    """ONNX Runtime, on the CPU. Raises MissingExtraError, and whatever the exporter raises."""
    try:
        onnxruntime, _ = import_module("onnxruntime"), import_module("onnxscript")  # torch exports with the latter
    except ImportError:
        raise MissingExtraError("ONNX Runtime", "export") from None
    onnxruntime.disable_telemetry_events()
    two = torch.cat([example[:1]] * 2)  # a number of 1 would be taken for a constant
    with _quiet(), torch.no_grad():
        any_number = ({0: torch.export.Dim.DYNAMIC},)
        program = torch.onnx.export(module, (two,), dynamo=True, dynamic_shapes=any_number, verbose=False)
    assert program is not None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(
        program.model_proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (taken,) = session.get_inputs()

    def run(batch: torch.Tensor) -> Output:
        return np.asarray(session.run(None, {taken.name: batch.contiguous().numpy()})[0])

    yield "ONNX Runtime", run


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings, log or printed graphs: the exporter's failure is in what it raises."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
