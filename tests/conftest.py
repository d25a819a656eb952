"""What the tests share: the reference data beside the checkout, where it is there."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference tables and photographs; a test that needs it is skipped where it is absent."""
    folder = Path(os.environ.get("LINNAEUS_SHARED", Path(__file__).parents[2] / "shared"))
    if not (folder / "reference").is_dir():
        pytest.skip("reference data not found beside the checkout (set LINNAEUS_SHARED to its folder)")
    return folder
