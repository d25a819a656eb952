import os
import sys
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from linnaeus.scale.energy import measured_energy


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def _zone(folder: Path, name: str, microjoules: int, most: int = 1_000_000_000) -> Path:
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "max_energy_range_uj").write_text(f"{most}\n")
    _set(folder, microjoules)
    return folder


def _set(zone: Path, microjoules: int) -> None:
    (zone / "energy_uj").write_text(f"{microjoules}\n")


def test_joules_are_those_between_start_and_end(tmp_path: Path) -> None:
    zone = _zone(tmp_path / "intel-rapl:0", "package-0", 5_000_000)
    with measured_energy(tmp_path) as energy:
        _set(zone, 7_500_000)
    _set(zone, 9_000_000)
    assert energy.joules == 2.5


def test_packages_add_up_and_what_is_within_or_around_them_does_not_count(tmp_path: Path) -> None:
    zones = {
        "intel-rapl:0": "package-0",
        "intel-rapl:0:0": "core",
        "intel-rapl:0:1": "dram",
        "intel-rapl:1": "package-1",
        "intel-rapl:2": "psys",
        "intel-rapl-mmio:0": "package-0",
    }
    for folder, name in zones.items():
        _zone(tmp_path / folder, name, 0)
    with measured_energy(tmp_path) as energy:
        for place, folder in enumerate(zones):
            _set(tmp_path / folder, 2**place * 1_000_000)
    assert energy.parts == {"package-0": 1, "package-1": 8}
    assert energy.joules == 9


def test_a_meter_that_starts_again_from_0_goes_on(tmp_path: Path) -> None:
    zone = _zone(tmp_path / "intel-rapl:0", "package-0", 90_000_000, most=100_000_000)
    with measured_energy(tmp_path) as energy:
        _set(zone, 20_000_000)
    assert energy.joules == 30


def test_a_meter_that_starts_again_twice_has_been_looked_at_in_between(tmp_path: Path) -> None:
    zone = _zone(tmp_path / "intel-rapl:0", "package-0", 90_000_000, most=100_000_000)
    with measured_energy(tmp_path, looks_every_seconds=0.001) as energy:
        for microjoules in (70_000_000, 50_000_000, 30_000_000):
            before = energy.joules
            other = zone / "next"  # renamed, so that the thread never sees an empty file
            other.write_text(str(microjoules))
            other.replace(zone / "energy_uj")
            deadline = time.monotonic() + 5
            while energy.joules == before and time.monotonic() < deadline:
                time.sleep(0.001)
    assert energy.joules == 240


def test_where_there_are_no_meters_nothing_is_known(tmp_path: Path) -> None:
    with measured_energy(tmp_path / "absent") as energy:
        pass
    assert energy.joules is None
    assert energy.parts == {}


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_text("")], ids=["absent", "empty"])
@pytest.mark.parametrize("file", ["energy_uj", "max_energy_range_uj"])
def test_one_package_that_cannot_be_read_leaves_the_sum_unknown(tmp_path: Path, file: str, spoil: object) -> None:
    _zone(tmp_path / "intel-rapl:0", "package-0", 0)
    assert callable(spoil)
    spoil(_zone(tmp_path / "intel-rapl:1", "package-1", 0) / file)
    with measured_energy(tmp_path) as energy:
        pass
    assert energy.joules is None


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_meter_that_only_root_may_read_is_unknown(tmp_path: Path) -> None:
    (_zone(tmp_path / "intel-rapl:0", "package-0", 0) / "energy_uj").chmod(0)
    with measured_energy(tmp_path) as energy:
        pass
    assert energy.joules is None


def test_a_meter_that_fails_on_the_way_leaves_nothing_known(tmp_path: Path) -> None:
    zone = _zone(tmp_path / "intel-rapl:0", "package-0", 0)
    with measured_energy(tmp_path) as energy:
        (zone / "energy_uj").unlink()
    assert energy.joules is None


def test_an_error_within_passes_through_and_leaves_no_thread(tmp_path: Path) -> None:
    with pytest.raises(KeyError), measured_energy(tmp_path):
        raise KeyError
    assert "energy" not in [thread.name for thread in threading.enumerate()]


def _nvml(error: type[Exception], millijoules: Iterator[int], broken: str = "") -> SimpleNamespace:
    """NVIDIA's bindings, of which one call may fail."""

    def fails() -> None:
        raise error("not supported")

    calls = {
        "nvmlInit": lambda: None,
        "nvmlDeviceGetHandleByUUID": lambda uuid: uuid,
        "nvmlDeviceGetTotalEnergyConsumption": lambda handle: next(millijoules) * len(handle),
    }
    return SimpleNamespace(NVMLError=error, **calls | ({broken: lambda *_: fails()} if broken else {}))


def _give_gpus(monkeypatch: pytest.MonkeyPatch, bindings: SimpleNamespace | None) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda place: SimpleNamespace(uuid="abc"))
    monkeypatch.setitem(sys.modules, "pynvml", bindings)


def test_a_gpu_s_millijoules_are_added_to_the_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zone = _zone(tmp_path / "intel-rapl:0", "package-0", 0)
    _give_gpus(monkeypatch, _nvml(RuntimeError, count(0, 500)))
    with measured_energy(tmp_path) as energy:
        _set(zone, 1_000_000)
    assert energy.parts == {"package-0": 1, "GPU 0": 0.5 * len("GPU-abc")}


@pytest.mark.parametrize("broken", ["nvmlInit", "nvmlDeviceGetHandleByUUID", "nvmlDeviceGetTotalEnergyConsumption"])
def test_a_gpu_without_a_meter_leaves_the_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    _zone(tmp_path / "intel-rapl:0", "package-0", 0)
    _give_gpus(monkeypatch, _nvml(RuntimeError, count(), broken))
    with measured_energy(tmp_path) as energy:
        pass
    assert energy.parts == {"package-0": 0}


def test_a_gpu_without_nvidia_s_bindings_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _give_gpus(monkeypatch, None)
    with measured_energy(tmp_path) as energy:
        pass
    assert energy.joules is None
