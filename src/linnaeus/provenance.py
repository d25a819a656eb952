"""What a run was made with: versions, machine, and the command."""

import os
import platform
import shlex
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# What the weights of a trained network may depend on.
PACKAGES = (
    *("linnaeus", "torch", "torchvision", "timm", "lightning", "openvino", "numpy", "scikit-learn"),
    *("opencv-python-headless", "simplejpeg", "pillow", "pandas"),
)


def provenance() -> dict[str, Any]:
    """The versions of Python and of the packages that matter, the machine, and the command that runs, as JSON holds
    them. A package that is not installed is left out."""
    return {
        "command": command(),
        "versions": {"python": platform.python_version(), **_versions()},
        "machine": {
            "system": platform.platform(),
            "processor": _processor(),
            "cores": os.cpu_count(),
            "memory_mib": _memory_mib(),
        },
    }


def command() -> str:
    """The command line of this process, for a shell."""
    program, *arguments = sys.argv or [""]
    path = Path(program)
    is_own = path.stem == "linnaeus" or path.parts[-2:] == ("linnaeus", "__main__.py")
    return shlex.join([*(["linnaeus"] if is_own else ["python", path.name]), *arguments])


def _versions() -> dict[str, str]:
    found: dict[str, str] = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def _memory_mib() -> int | None:
    """The machine's memory, None where the system does not tell."""
    if not hasattr(os, "sysconf"):
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
