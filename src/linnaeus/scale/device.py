"""The device that models run on, and the settings that make it fast."""

import ctypes
import sys
from typing import Literal

import torch

Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]


def best_device() -> torch.device:
    """CUDA where there is one, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def training_precision(wish: Precision, device: torch.device) -> Precision:
    """`wish`, or for "auto" the mixed precision that the device computes faster than 32 bits.

    On a CPU that is bfloat16 only where the processor multiplies matrices of it (AMX or AVX512-BF16);
    elsewhere bfloat16 is emulated and slower.
    """
    if wish != "auto":
        return wish
    if device.type == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    return "bf16-mixed" if device.type == "cpu" and _multiplies_bfloat16() else "32-true"


def _multiplies_bfloat16() -> bool:
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check, lambda: False)() for check in checks)


def keep_freed_memory() -> None:
    """Tell glibc to keep the memory that tensors free, for the life of this process; elsewhere do nothing.

    By default glibc maps and unmaps every large tensor, and page faults then cost training of small CNNs half its
    speed (`docs/log.md`). To be called by a program that owns its process, before its first tensor.
    Source of the parameters: the manual page of mallopt(3).
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # musl
        return
    m_trim_threshold, m_top_pad, m_mmap_max = -1, -2, -4
    mallopt(m_mmap_max, 0)
    mallopt(m_trim_threshold, -1)
    mallopt(m_top_pad, 64 * 1024 * 1024)
