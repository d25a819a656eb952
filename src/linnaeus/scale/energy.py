"""Joules that the system says it spent while something ran, where it says so."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from threading import Event, Thread
from typing import Any

import torch

POWERCAP = Path("/sys/class/powercap")


@dataclass
class Energy:
    """What each part of the machine ("package-0", "GPU 0") spent, in joules; complete once the measurement has ended.

    All that runs on a part counts, other programs too. Parts that the system does not expose are missing.
    """

    parts: dict[str, float] = field(default_factory=dict)

    @property
    def joules(self) -> float | None:
        """The sum of the parts; None where the system exposes none."""
        return sum(self.parts.values()) if self.parts else None


@dataclass
class _Counter:
    """A meter of the system's, which only grows until it starts again from 0."""

    name: str
    read: Callable[[], int]
    units_per_joule: int
    wraps_at: int
    last: int = field(init=False)

    def __post_init__(self) -> None:
        self.last = self.read()

    def joules_since_last(self) -> float:
        """What was spent since the last look, within which the meter may have started again once."""
        before, self.last = self.last, self.read()
        return (self.last - before) % self.wraps_at / self.units_per_joule


@contextmanager
def measured_energy(root: Path = POWERCAP, *, looks_every_seconds: float = 60) -> Iterator[Energy]:
    """What the processors' packages and NVIDIA's GPUs spend until the block ends, in joules.

    `with measured_energy() as energy: ...`, then `energy.joules`. root: where Linux shows its power zones. A
    package's meter starts again after some minutes of full load, so a thread looks at it in between. Where a meter
    fails on the way, nothing is known. Sources: Linux, Documentation/power/powercap/powercap.rst; NVIDIA's NVML,
    nvmlDeviceGetTotalEnergyConsumption.
    """
    counters = [*_packages(root), *_gpus()]
    energy, has_ended = Energy({counter.name: 0.0 for counter in counters}), Event()

    def look() -> None:
        try:
            spent = {counter.name: counter.joules_since_last() for counter in counters}
            energy.parts = {name: before + spent[name] for name, before in energy.parts.items()}
        except (OSError, ValueError):
            energy.parts = {}

    def look_now_and_then() -> None:
        while not has_ended.wait(looks_every_seconds):
            look()

    watch = Thread(target=look_now_and_then, name="energy", daemon=True)
    watch.start()
    try:
        yield energy
    finally:
        has_ended.set()
        watch.join()
        look()


def _packages(root: Path) -> list[_Counter]:
    """The processors' packages; none where one of them cannot be read, since the others' sum would mislead.

    What is within a package (cores, memory) has zones of its own, and the whole platform (psys) has one beside them.
    """
    try:
        return [_package(zone) for zone in sorted(root.glob("intel-rapl:*")) if _is_package(zone)]
    except (OSError, ValueError):  # many systems let only root read them, since CVE-2020-8694
        return []


def _is_package(zone: Path) -> bool:
    return zone.name.count(":") == 1 and (zone / "name").read_text().startswith("package")


def _package(zone: Path) -> _Counter:
    def microjoules() -> int:
        return int((zone / "energy_uj").read_text())

    name, range_uj = ((zone / file).read_text().strip() for file in ("name", "max_energy_range_uj"))
    return _Counter(name, microjoules, units_per_joule=1_000_000, wraps_at=int(range_uj))


def _gpus() -> list[_Counter]:
    """The GPUs that torch sees; none where NVIDIA's bindings are not installed or a GPU has no meter (before Volta)."""
    if not torch.cuda.is_available():
        return []
    try:
        nvml = import_module("pynvml")  # no dependency of ours, so it may be missing
        _known_errors(nvml, nvml.nvmlInit)
        return [_gpu(nvml, place) for place in range(torch.cuda.device_count())]
    except (ImportError, OSError):
        return []


def _gpu(nvml: Any, place: int) -> _Counter:
    # By its name, since CUDA_VISIBLE_DEVICES numbers GPUs anew for torch and not for NVML.
    name = f"GPU-{torch.cuda.get_device_properties(place).uuid}"
    handle = _known_errors(nvml, lambda: nvml.nvmlDeviceGetHandleByUUID(name))

    def millijoules() -> int:
        return int(_known_errors(nvml, lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle)))

    return _Counter(f"GPU {place}", millijoules, units_per_joule=1000, wraps_at=2**64)


def _known_errors(nvml: Any, call: Callable[[], Any]) -> Any:
    """What the call returns. Raises OSError in place of NVML's own errors."""
    try:
        return call()
    except nvml.NVMLError as error:
        raise OSError(str(error)) from None
