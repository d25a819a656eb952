import subprocess
import sys

import pytest
import torch

from linnaeus.scale.device import best_device, training_precision

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda"), torch.device("mps")


def test_a_device_that_is_there_is_chosen() -> None:
    assert torch.ones(2, device=best_device()).sum() == 2


def test_cuda_goes_before_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert best_device() == CUDA


@pytest.mark.parametrize("device", [CPU, CUDA, MPS])
def test_a_wish_for_a_precision_is_kept(device: torch.device) -> None:
    assert training_precision("32-true", device) == "32-true"
    assert training_precision("bf16-mixed", device) == "bf16-mixed"


@pytest.mark.parametrize(("has_bf16", "precision"), [(True, "bf16-mixed"), (False, "16-mixed")])
def test_cuda_is_mixed(monkeypatch: pytest.MonkeyPatch, has_bf16: bool, precision: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: has_bf16)
    assert training_precision("auto", CUDA) == precision


@pytest.mark.parametrize("has_amx", [True, False])
@pytest.mark.parametrize("has_avx512_bf16", [True, False])
def test_a_cpu_trains_in_bfloat16_only_where_it_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, has_amx: bool, has_avx512_bf16: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_amx, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_avx512_bf16, raising=False)
    precision = "bf16-mixed" if has_amx or has_avx512_bf16 else "32-true"
    assert training_precision("auto", CPU) == precision


def test_apple_s_device_is_not_mixed() -> None:
    assert training_precision("auto", MPS) == "32-true"


def test_a_process_that_keeps_its_memory_still_computes() -> None:
    program = (
        "from linnaeus.scale.device import keep_freed_memory; keep_freed_memory();"
        "import torch; print(int(torch.ones(1000, 1000).sum()))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "1000000"
