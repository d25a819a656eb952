"""The fastest way to run a module on this machine that computes what torch does in 32 bits."""

import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree import ElementTree

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from linnaeus.scale.device import best_device

Output = NDArray[np.float32]
Engine = Callable[[torch.Tensor], Output]

# Below this OpenVINO does not make up for the seconds that conversion takes (docs/log.md, 2026-11-24).
FEWEST_IMAGES = 384
CHECKED_IMAGES = 32
# Of outputs with those in 32 bits, the mean over the images that are checked (docs/log.md, 2026-11-28).
LOWEST_COSINE = 0.9995
# Whose rounding all later ones inherit: of EfficientNet-Lite's error in 16 bits these make most, of its time little.
FIRST_CONVOLUTIONS = 3

log = logging.getLogger(__name__)


def fastest_engine(module: nn.Module, example: torch.Tensor, images: int | None = None) -> Engine:
    """A function from batches like `example`, of any number of images, to the module's output in evaluation mode.

    The module stays as it is: the engine has a copy. images: how many there will be; None counts as few.
    On a GPU that is torch in 16 bits, on a CPU OpenVINO where the images are many. Whatever fails, or gives another
    output for the example's first images than torch in 32 bits, is left out with a warning in the log.
    """
    frozen = deepcopy(module).requires_grad_(False).eval()
    device = best_device()
    exact = _torch_engine(frozen, device)
    if device.type == "cpu" and (images or 0) < FEWEST_IMAGES:
        return exact
    faster = _openvino_engines(frozen, example) if device.type == "cpu" else _half_engines(frozen, device)
    kind, checked = type(module).__name__, example[:CHECKED_IMAGES]
    expected, refused = exact(checked), []
    try:
        for name, engine in faster:
            if _agree(engine(checked), expected):
                log.info("%s runs in %s", kind, name)
                return engine
            log.info("%s gives another output in %s than in torch's 32 bits", kind, name)
            refused.append(name)
        reason = f"its output is another in {' and in '.join(refused)}"
    except Exception as error:  # conversion runs the model's code on placeholders, which may raise anything
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    log.warning("%s runs in torch's 32 bits, which take longer, since: %s", kind, reason)
    return exact


def _agree(found: Output, expected: Output) -> bool:
    """Whether images' outputs point in the same direction and are as long, within what LOWEST_COSINE allows."""
    found, expected = (output.reshape(len(output), -1) for output in (found, expected))
    distances, lengths = (np.linalg.norm(rows, axis=1) for rows in (found - expected, expected))
    # Of two vectors that are as long, half the squared distance, in lengths, is what their cosine lacks to 1.
    lacks = 0.5 * (distances / np.maximum(lengths, np.finfo(np.float32).tiny)) ** 2
    return bool(np.mean(lacks) <= 1 - LOWEST_COSINE)


def _torch_engine(module: nn.Module, device: torch.device, half: torch.dtype | None = None) -> Engine:
    """torch on a device, in 32 bits or in mixed precision with `half`."""
    module = module.to(device).to(memory_format=torch.channels_last)

    def run(batch: torch.Tensor) -> Output:
        with torch.inference_mode(), torch.autocast(device.type, half, enabled=half is not None):
            output: Output = module(batch.to(device)).float().cpu().numpy()
        return output

    return run


def _half_engines(module: nn.Module, device: torch.device) -> Iterator[tuple[str, Engine]]:
    """torch in the 16 bits that the device computes in."""
    has_bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    half = torch.bfloat16 if has_bfloat16 else torch.float16
    yield f"torch, {device.type}, {half}", _torch_engine(module, device, half)


def _openvino_engines(module: nn.Module, example: torch.Tensor) -> Iterator[tuple[str, Engine]]:
    """OpenVINO in the precision that the processor is fastest in; where that is 16 bits, then also in more."""
    openvino = _import_openvino()
    model = _converted(openvino, module, example)

    def engine(model: Any, wish: dict[str, str]) -> tuple[str, Engine]:
        compiled = _core(openvino).compile_model(model, "CPU", {"PERFORMANCE_HINT": "LATENCY", **wish})
        precision = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        return precision, _openvino_engine(compiled, len(example))

    precision, run = engine(model, {})
    yield f"OpenVINO, {precision}", run
    if precision != "f32":
        yield f"OpenVINO, {precision}, the first convolutions f32", engine(_exact_at_first(openvino, model), {})[1]
        yield "OpenVINO, f32", engine(model, {"INFERENCE_PRECISION_HINT": "f32"})[1]


def _exact_at_first(openvino: Any, model: Any) -> Any:
    """A copy whose first convolutions, and all before the next, are marked to stay in 32 bits.

    OpenVINO takes such marks from files only. An edition that does not know them computes all in 16 bits.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.xml"
        openvino.save_model(model, path, compress_to_fp16=False)
        root = ElementTree.fromstring(path.read_bytes())
        weights = path.with_suffix(".bin").read_bytes()
    seen = 0
    for layer in root.iterfind("layers/layer"):
        seen += layer.get("type") in {"Convolution", "GroupConvolution"}
        if seen > FIRST_CONVOLUTIONS:
            break
        if layer.get("type") not in {"Parameter", "Const"}:
            marks = layer.find("rt_info")
            marks = ElementTree.SubElement(layer, "rt_info") if marks is None else marks
            ElementTree.SubElement(marks, "attribute", {"name": "precise", "version": "0"})
    return _core(openvino).read_model(ElementTree.tostring(root), weights)


def _openvino_engine(compiled: Any, size: int) -> Engine:
    """A compiled model that takes `size` images at a time, as a function that takes any number."""

    def run(batch: torch.Tensor) -> Output:
        outputs = []
        for part in torch.split(batch, size):
            missing = part.new_zeros(size - len(part), *part.shape[1:])
            full = torch.cat([part, missing]) if len(missing) else part
            outputs.append(compiled(full.contiguous().numpy())[0][: len(part)])
        return np.concatenate(outputs)

    return run


def _converted(openvino: Any, module: nn.Module, example: torch.Tensor) -> Any:
    """The module as an OpenVINO model for batches of the example's shape."""
    with _root_logger_kept(), warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # torch.jit is deprecated; torch.export takes five times as long

        def function(batch: torch.Tensor) -> Any:  # tracing a module takes three times as long
            return module(batch)

        traced = torch.jit.trace(function, example[:1], check_trace=False, strict=False)  # type: ignore[no-untyped-call]
        return openvino.convert_model(traced, example_input=example[:1], input=[*example.shape])


@contextmanager
def _root_logger_kept() -> Iterator[None]:
    """The root logger as it was. Where OpenVINO cannot convert a model, it leaves it silent for all but errors."""
    root = logging.getLogger()
    level, filters, handlers = root.level, [*root.filters], [*root.handlers]
    try:
        yield
    finally:
        root.setLevel(level)
        root.filters, root.handlers = filters, handlers


@cache
def _core(openvino: Any) -> Any:
    """OpenVINO's devices, which stay for the life of the process.

    The CPU's sets a stack for signal handlers and, when it goes, sets the one before again, which another core may have
    freed: the next signal with a handler, such as Ctrl-C, would then end the process.
    """
    return openvino.Core()


def _import_openvino() -> Any:
    """The openvino package. Raises ImportError."""
    # openvino reports its imports and conversions to its maker, unless it cannot import this package.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError as error:
        raise ImportError(f"{error}; pip install openvino") from None
    return openvino
