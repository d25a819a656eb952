import json
import platform
import sys
from importlib.metadata import version

import pytest

from linnaeus import provenance as module
from linnaeus.provenance import command, provenance


def test_what_a_run_was_made_with_survives_json() -> None:
    origin = provenance()
    assert json.loads(json.dumps(origin)) == origin
    assert {*origin} == {"command", "versions", "machine"}


def test_the_versions_of_what_weights_depend_on_are_recorded() -> None:
    versions = provenance()["versions"]
    assert versions["python"] == platform.python_version()
    for package in ("linnaeus", "torch", "timm", "lightning", "scikit-learn"):
        assert versions[package] == version(package)


def test_a_package_that_is_absent_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PACKAGES", ("torch", "no-such-package"))
    assert {*provenance()["versions"]} == {"python", "torch"}


def test_the_machine_has_a_system_a_processor_and_at_least_one_core() -> None:
    machine = provenance()["machine"]
    assert machine["system"]
    assert isinstance(machine["processor"], str)
    assert machine["cores"] >= 1
    assert machine["memory_mib"] is None or machine["memory_mib"] > 64


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["/usr/bin/linnaeus", "train", "my pets", "-r", "a"], "linnaeus train 'my pets' -r a"),
        ([r"linnaeus.exe", "demo"], "linnaeus demo"),
        (["/src/linnaeus/__main__.py", "demo"], "linnaeus demo"),
        (["/lib/pytest/__main__.py", "-q"], "python __main__.py -q"),
        (["/home/me/sweep.py", "0.1"], "python sweep.py 0.1"),
        (["-c"], "python -c"),
        ([], "python ''"),
    ],
)
def test_the_command_can_be_given_to_a_shell_again(
    arguments: list[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", arguments)
    assert command() == expected
