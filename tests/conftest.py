"""What the tests share: the reference data beside the checkout where it is there, the demo, a
browser, and what is decoded."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from linnaeus.data import scan

FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync", "--disable-quic"),
    *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars"),
]


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Tensors are computed by one thread, which is fastest for tiny ones. Another number would round otherwise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference tables and photographs; a test that needs it is skipped where it is absent."""
    folder = Path(os.environ.get("LINNAEUS_SHARED", Path(__file__).parents[2] / "shared"))
    if not (folder / "reference").is_dir():
        pytest.skip("reference data not found beside the checkout (set LINNAEUS_SHARED to its folder)")
    return folder


def make(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """`make` in the checkout, with the tests' own environment in the place of a new one."""
    venv = Path(sys.prefix)
    command = ["make", f"VENV={venv}", "-o", str(venv / ".linnaeus-ready"), *arguments]
    return subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder that `make demo` made, and what it printed."""
    folder = tmp_path_factory.mktemp("demo") / "linnaeus-demo"
    made = make("demo", f"DEMO={folder}")
    assert made.returncode == 0, made.stderr
    return folder, made.stdout


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium without a window, which notes what its console says."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no chromium with chromedriver on this machine")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in [*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=driver)
    with webdriver.Chrome(options=options, service=service) as started:
        yield started


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are decoded from now on."""
    names: list[str] = []
    decode_one = scan._scan_one

    def noted(path: str, max_pixels: int) -> object:
        names.append(Path(path).name)
        return decode_one(path, max_pixels)

    monkeypatch.setattr(scan, "_scan_one", noted)
    return names
