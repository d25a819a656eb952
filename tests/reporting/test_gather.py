"""What a report tells comes from the project's files as they are now."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from colours import write_images
from linnaeus import jobs, stages
from linnaeus.project import Project, open_project
from linnaeus.recipe import Plan, Recipe, checked
from linnaeus.reporting.facts import ReportFacts
from linnaeus.reporting.gather import gather_facts
from linnaeus.settings import CheckRecipe, CleanRecipe, SplitRecipe

RECIPE = {
    "name": "small",
    "model": {"kind": "scratch", "conv_widths": [4], "pool_sizes": [4], "dense_widths": [8]},
    "training": {"epochs": 1, "batch_size": 16},
}
PLAN = Plan(
    folds=1,
    clean=CleanRecipe(size=24),
    check=CheckRecipe(judge_labels=False),
    split=SplitRecipe(seed=3, near_duplicates=False),
    recipes=(checked(Recipe, RECIPE, where="small"),),
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Of coloured images, one of which has a copy in its class and one in another, which the user relabelled."""
    root = tmp_path_factory.mktemp("gather")
    folder = write_images(root / "colours", per_class=12)
    original = folder / "blue" / "00.png"
    shutil.copy(original, folder / "blue" / "copy.png")
    shutil.copy(original, folder / "coral" / "copy.png")
    stages.catalogue(folder, root / "p")
    opened = open_project(root / "p")
    opened.decisions.write_text("relpath,decision,relabel_to\ncoral/copy.png,relabel,blue\nblue/01.png,drop,\n")
    jobs.run(folder, opened, PLAN, allow_leaks=True)
    return opened


def gathered(project: Project) -> ReportFacts:
    return gather_facts(project, stages.compare(project).facts)


def test_images_in_use_are_known_by_their_originals_and_as_decided(project: Project) -> None:
    told = gathered(project)
    assert told.in_use.loc["coral/copy.png", "category"] == "blue"
    assert set(told.catalogue.images["relpath"]) - set(told.in_use.index) == {"blue/01.png"}
    copied = told.copies[told.copies["relpath"].str.contains("copy")]
    assert [*copied["category"]] == ["blue", "blue"]
    assert told.copy_groups["classes"].max() == 1


def test_settings_decisions_and_findings_are_those_of_the_files(project: Project) -> None:
    told = gathered(project)
    assert told.division.recipe == PLAN.split
    assert told.decisions.counts() == {"keep": 0, "drop": 1, "relabel": 1}
    assert told.issues is not None
    assert not told.judges_labels
    assert len(told.division.leaks) == len(pd.read_parquet(project.leaks))
    assert told.read_thumbnail("raw", "coral/copy.png").startswith(b"\xff\xd8")


def test_findings_about_former_images_are_none_about_these(project: Project, tmp_path: Path) -> None:
    shutil.copytree(project.root, tmp_path / "p")
    later = open_project(tmp_path / "p")
    compared = stages.compare(later).facts
    assert gather_facts(later, compared).issues is not None
    pd.read_parquet(later.catalogue).iloc[1:].to_parquet(later.catalogue)
    assert gather_facts(later, compared).issues is None
    (later.root / "stages" / "check.json").unlink()
    assert gather_facts(later, compared).issues is None
