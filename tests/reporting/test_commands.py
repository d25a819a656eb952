"""The commands of a report are understood by the command line, and give every stage the settings it had."""

import shlex
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from linnaeus import stages
from linnaeus.cli.main import app
from linnaeus.files import write_table, write_text
from linnaeus.project import Project, create_project
from linnaeus.recipe import load_recipe
from linnaeus.reporting.commands import commands
from linnaeus.runs import Run
from linnaeus.settings import CheckRecipe, CleanRecipe, DuplicateRecipe, LabelRecipe, ScanRecipe, Section, SplitRecipe

SPLITS = [
    SplitRecipe(),
    SplitRecipe(val=0.25, test=0.15, seed=9, near_duplicates=False, group_pattern=r"-(?P<group>\d+) '\.jpg"),
    SplitRecipe(method="kfold", folds=4, fold=2, group_column="the patient"),
    SplitRecipe(method="hash", group_pattern="--x"),
]
SCAN = ScanRecipe(max_megapixels=12.5, duplicates=DuplicateRecipe(radius=4))
CHECK = CheckRecipe(
    judge_labels=False, blurry=1e-05, labels=LabelRecipe(folds=3), backbone="resnet18", weights="my: weights #1.pt"
)
LEAK = pd.DataFrame([{"first": "a/1.jpg", "second": "a/2.jpg", "kind": "near"}])


def finished(
    root: Path, split: SplitRecipe = SPLITS[0], *, rename: dict[str, str] | None = None, table: str | None = None
) -> Project:
    """A project whose stages left their stamps, and nothing else that commands are made from."""
    (root / "my pets").mkdir(parents=True)
    project = create_project(root / "my pets", root / "the project")
    write_table(LEAK.head(0), project.leaks)
    stamp(project, "catalogue", SCAN, rename=rename or {})
    stamp(project, "clean", CleanRecipe(size=64, quality=80, fit="pad"))
    stamp(project, "check", CHECK)
    stamp(project, "split", split, own_table=table)
    recipe = load_recipe("lite0-dense256")
    write_text(project.runs / recipe.name / "recipe.yaml", yaml.safe_dump(recipe.model_dump(mode="json")))
    project.finish(f"train-{recipe.name}", {}, [], lambda: None)
    return project


def stamp(project: Project, stage: str, recipe: Section, **inputs: object) -> None:
    project.finish(stage, {"recipe": recipe.model_dump(mode="json"), **inputs}, [], lambda: None)


def lines(project: Project) -> tuple[str, ...]:
    return commands(project, [Run(project.runs / name) for name in project.trained()])


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[Any, ...]]:
    """What each stage was called with by the command line, instead of any work."""
    calls: dict[str, tuple[Any, ...]] = {}

    def recorder(name: str) -> Any:
        def record(*args: Any, **options: Any) -> Any:
            calls[name] = (*args, options)
            return []

        return record

    for name in ("catalogue", "clean", "check", "split", "train", "evaluate", "report"):
        monkeypatch.setattr(stages, name, recorder(name))
    return calls


def invoke(line: str) -> None:
    program, *arguments = shlex.split(line, comments=True) or ["linnaeus", "--help"]
    assert program == "linnaeus"
    quiet = [] if "--help" in arguments else ["--quiet"]
    result = CliRunner().invoke(app, [*arguments, *quiet])
    assert result.exit_code == 0, f"{line}: {result.output}"


@pytest.mark.parametrize("split", SPLITS, ids=lambda recipe: recipe.method)
def test_each_command_is_parsed_and_gives_its_stage_the_very_settings(
    split: SplitRecipe, called: dict[str, tuple[Any, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = finished(tmp_path, split, table="/tables/my own.csv")
    monkeypatch.chdir(tmp_path)
    for line in lines(project):
        invoke(line)
    root = Path("the project")
    assert called["catalogue"][:3] == (tmp_path / "my pets", root, SCAN)
    assert called["clean"][:2] == (root, CleanRecipe(size=64, quality=80, fit="pad"))
    assert called["check"][:2] == (root, CHECK)
    assert called["split"][:2] == (root, split)
    assert called["split"][-1]["table"] == Path("/tables/my own.csv")
    assert called["train"][:2] == (root, load_recipe("lite0-dense256"))
    assert called["train"][-1]["allow_leaks"] is False
    assert called["evaluate"][:2] == (root, ["lite0-dense256"])
    assert called["report"][0] == root


def test_settings_as_they_come_are_not_repeated(tmp_path: Path) -> None:
    project = finished(tmp_path)
    stamp(project, "catalogue", ScanRecipe(), rename={})
    stamp(project, "check", CheckRecipe())
    assert "--set" not in "\n".join(lines(project))
    assert "--fold" not in "\n".join(lines(project))


def test_leaks_are_allowed_again_where_there_are_any(called: dict[str, Any], tmp_path: Path, monkeypatch: Any) -> None:
    project = finished(tmp_path)
    write_table(LEAK, project.leaks)
    monkeypatch.chdir(tmp_path)
    for line in lines(project):
        invoke(line)
    assert called["train"][-1]["allow_leaks"] is True


def test_decisions_that_change_images_are_named_before_the_cleaning(tmp_path: Path) -> None:
    project = finished(tmp_path)
    project.decisions.write_text("relpath,decision,relabel_to\na.jpg,keep,\n")
    assert not [line for line in lines(project) if line.startswith("#")]
    project.decisions.write_text("relpath,decision,relabel_to\na.jpg,drop,\nb.jpg,relabel,cat\nc.jpg,drop,\n")
    told = lines(project)
    place = next(place for place, line in enumerate(told) if line.startswith("#"))
    assert "decisions.csv must be there: it drops 2 images and relabels 1" in told[place]
    assert told[place + 1].startswith("linnaeus clean")


def test_a_check_that_was_never_made_is_not_among_them(tmp_path: Path) -> None:
    project = finished(tmp_path)
    (project.root / "stages" / "check.json").unlink()
    assert not [line for line in lines(project) if line.startswith("linnaeus check")]


def test_a_built_in_map_of_names_is_called_by_its_name(tmp_path: Path) -> None:
    assert "--rename NAMES.json" in lines(finished(tmp_path, rename={"gatto": "cat"}))[0]
