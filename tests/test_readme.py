"""The README's commands do what it says."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from conftest import make
from linnaeus.cli.main import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line.partition(" #")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]


def test_the_two_commands_that_do_everything_come_first() -> None:
    assert COMMANDS[:2] == ["make demo", "make test"]


def test_make_test_lints_checks_types_and_runs_the_tests() -> None:
    plan = make("--dry-run", "test").stdout
    assert [word in plan for word in ("ruff check", "ruff format", "mypy", "pytest")] == [True] * 4


def test_a_new_environment_is_made_from_pyproject() -> None:
    plan = subprocess.run(["make", "-n", "VENV=/new", "demo"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "-m venv /new" in plan.stdout
    assert "--editable '.[dev]'" in plan.stdout


def test_the_main_job_ends_with_the_reports_path(demo: tuple[Path, str]) -> None:
    folder, output = demo
    report = folder / "digits-linnaeus" / "report.html"
    assert report.is_file()
    assert str(report) in output.replace("\n", "")


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("linnaeus ")])
def test_every_other_command_of_the_readme_runs(
    command: str, demo: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are written for the folder that `make demo` made, so that whoever reads can type them."""
    monkeypatch.chdir(demo[0].parent)
    arguments = shlex.split(command)[1:]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output


def test_every_file_that_the_readme_links_to_exists() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
