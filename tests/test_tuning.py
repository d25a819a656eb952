"""Searches leave their findings in the project, judge by validation alone, and go on where they stopped."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from colours import write_images
from linnaeus import jobs, stages
from linnaeus.cli.display import plain, show
from linnaeus.errors import RecipeError, TrainingError
from linnaeus.progress import Advance
from linnaeus.project import Project, open_project
from linnaeus.recipe import Plan, Recipe, checked, load_recipe
from linnaeus.recipe_sections import ScratchRecipe
from linnaeus.reporting.gather import gather_facts
from linnaeus.settings import CheckRecipe, CleanRecipe, SplitRecipe
from linnaeus.steps import tuning as module
from linnaeus.training.train import train_classifier

pytest.importorskip("optuna")

CLEAN = CleanRecipe(size=24)
FITTED = {"kind": "transfer", "backbone": "test_resnet", "weights": "random", "input_size": 24, "head": "probe"}


def recipe_of(name: str = "small", model: dict[str, object] | None = None, **data: object) -> Recipe:
    scratch: dict[str, object] = {"kind": "scratch", "conv_widths": [4], "pool_sizes": [4], "dense_widths": [8]}
    content = {"name": name, "model": model or scratch, "data": data, "training": {"epochs": 2, "batch_size": 16}}
    return checked(Recipe, content, where=name)


SMALL = recipe_of()
PROBE = recipe_of("probe", FITTED, augment=None, balance="none")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("data") / "colours", per_class=12)


@pytest.fixture(scope="module")
def divided(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("work") / "p"
    stages.catalogue(images, root)
    stages.clean(root, CLEAN)
    stages.split(root, SplitRecipe(near_duplicates=False))
    return root


@pytest.fixture
def project(divided: Path, tmp_path: Path) -> Project:
    """A divided project whose test images are deleted, so that nothing can read them."""
    opened = open_project(shutil.copytree(divided, tmp_path / "p"))
    splits = pd.read_parquet(opened.splits)
    for relpath in splits[splits["split"] == "test"]["relpath"]:
        (opened.clean_folder / relpath).unlink()
    return opened


def trials_of(project: Project, name: str = "small") -> pd.DataFrame:
    return pd.read_csv(project.tuning / name / "trials.csv")


def test_a_search_trains_the_best_settings_and_leaves_its_findings_without_reading_the_test_part(
    project: Project,
) -> None:
    result = jobs.tune(project, SMALL, minutes=0.04)
    folder = project.tuning / "small"
    assert {path.name for path in folder.iterdir()} - {"importances.png"} == {
        *("best.yaml", "search.json", "study.db", "trials.csv", "trials.png")
    }
    best = load_recipe(folder / "best.yaml")
    assert result.run.model_id == best.name == "small-tuned"
    assert result.run.recipe == best
    whole = result.trials[result.trials["state"] == "complete"].sort_values("val_loss")
    assert best.training.learning_rate == pytest.approx(whole["learning_rate"].iloc[0])
    assert best.training.optimizer == "adamw"
    assert result.run.history["val_loss"].min() == pytest.approx(whole["val_loss"].iloc[0], rel=1e-6)
    assert result.name == "small"
    assert json.loads((folder / "search.json").read_text())["importances"] == result.importances
    with Image.open(folder / "trials.png") as picture:
        assert picture.width > 500


def test_a_second_search_goes_on_and_force_begins_anew(project: Project) -> None:
    jobs.tune(project, SMALL, minutes=0)
    first = trials_of(project)
    assert len(first) == 1
    jobs.tune(project, SMALL, minutes=0.04)
    second = trials_of(project)
    assert len(second) > 1
    pd.testing.assert_frame_equal(second.iloc[:1][first.columns], first)
    jobs.tune(project, SMALL, minutes=0, force=True)
    assert len(trials_of(project)) == 1


def test_the_tuned_recipe_is_at_least_as_good_by_validation_as_the_recipe_s_own_settings(project: Project) -> None:
    result = jobs.tune(project, SMALL, minutes=0.04)
    own = result.trials.iloc[0]
    assert own["learning_rate"] == pytest.approx(SMALL.training.learning_rate)
    assert result.run.history["val_loss"].min() <= own["val_loss"] * (1 + 1e-6)


def test_a_search_on_other_splits_is_refused_until_it_is_forced(project: Project) -> None:
    jobs.tune(project, SMALL, minutes=0)
    stages.split(project, SplitRecipe(seed=1, near_duplicates=False))
    shutil.copytree(project.images, project.clean_folder, dirs_exist_ok=True)  # whose test images are others now
    with pytest.raises(TrainingError, match="--force"):
        jobs.tune(project, SMALL, minutes=0)


def test_a_recipe_that_starts_from_another_is_searched_by_itself(project: Project) -> None:
    changed = SMALL.model_copy(update={"name": "chained", "starts_from": "nowhere"})
    assert jobs.tune(project, changed, minutes=0).run.recipe.starts_from is None


def test_a_head_that_is_fitted_at_once_is_refused_by_both_searches(project: Project) -> None:
    with pytest.raises(RecipeError, match="chooses its only setting"):
        jobs.tune(project, PROBE, minutes=0)
    with pytest.raises(RecipeError, match="without a rate"):
        jobs.find_rate(project, PROBE)


def test_ctrl_c_says_that_the_search_goes_on_and_the_next_one_does(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module, "train_classifier", _stopping_at(2, train_classifier))
        with pytest.raises(KeyboardInterrupt, match=r"Stopped in trial 2\. The search goes on"):
            jobs.tune(project, SMALL, minutes=10)
    assert [*trials_of(project)["state"]] == ["complete", "fail"]
    assert not (project.tuning / "small" / "best.yaml").exists()
    result = jobs.tune(project, SMALL, minutes=0)
    assert [*result.trials["state"]] == ["complete", "fail"]
    assert result.run.model_id == "small-tuned"


def _stopping_at(call: int, train: Callable[..., Any]) -> Callable[..., Any]:
    calls = 0

    def stopping(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise KeyboardInterrupt
        return train(*arguments)

    return stopping


class Bars:
    """Notes each bar's length and how far it came."""

    def __init__(self) -> None:
        self.lengths: dict[str, int] = {}
        self.steps: dict[str, int] = {}

    @contextmanager
    def __call__(self, description: str, total: int) -> Iterator[Advance]:
        self.lengths[description], self.steps[description] = total, 0

        def advance(steps: int) -> None:
            self.steps[description] += steps

        yield advance


def test_the_bar_of_a_search_is_as_long_as_its_seconds_and_fills(project: Project) -> None:
    bars = Bars()
    jobs.tune(project, SMALL, minutes=0.03, progress=bars)
    assert bars.lengths["Searching settings of small"] == bars.steps["Searching settings of small"] == 2


def test_a_rate_is_found_without_a_run_and_without_reading_the_test_part(project: Project) -> None:
    bars = Bars()
    found = jobs.find_rate(project, recipe_of(augment=None), progress=bars)
    assert not project.runs.exists()
    assert [path.name for path in sorted(project.figures.iterdir())] == ["rates-small.csv", "rates-small.png"]
    pd.testing.assert_frame_equal(pd.read_csv(project.figures / "rates-small.csv"), found.table)
    assert bars.lengths["Trying learning rates"] == bars.steps["Trying learning rates"] == 100


def test_what_a_search_found_is_shown_and_is_json(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    import linnaeus.cli.display_search  # noqa: F401  # tells display how searches look

    result = jobs.tune(project, SMALL, minutes=0)
    show(result)
    printed = capsys.readouterr().out
    assert "Tried 1 settings of small, 1 of them to the end." in printed
    assert "learning rate" in printed
    assert "small-tuned: 2 epochs" in printed
    value = json.loads(json.dumps(plain(result), allow_nan=False))
    assert value["trials"][0]["trial"] == 0
    assert value["run"]["model_id"] == "small-tuned"
    found = jobs.find_rate(project, recipe_of(augment=None))
    json.dumps(plain(found))
    show(found)
    assert "loss" in capsys.readouterr().out


PLAN = Plan(
    folds=1,
    clean=CLEAN,
    check=CheckRecipe(judge_labels=False),
    split=SplitRecipe(near_duplicates=False),
    recipes=(SMALL, recipe_of("other"), PROBE),
)


@pytest.fixture(scope="module")
def hurried(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return jobs.run(images, tmp_path_factory.mktemp("hurried") / "p", PLAN, minutes=0)


def test_without_time_the_cheapest_model_is_trained_and_the_others_are_listed(
    hurried: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [run.model_id for run in hurried.runs] == ["probe"]
    assert [each.name for each in hurried.untried] == ["small", "other"]
    assert all(each.seconds > 0 for each in hurried.untried)
    show(hurried)
    printed = " ".join(capsys.readouterr().out.split())
    assert "for small: the same command with more --minutes" in printed
    assert "linnaeus tune" not in printed  # a probe has nothing to search
    assert [each["name"] for each in json.loads(json.dumps(plain(hurried)))["untried"]] == ["small", "other"]


def test_what_was_trained_before_takes_no_time_and_a_model_that_can_be_tuned_is_suggested(
    hurried: Any, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs.run(images, hurried.project, PLAN.model_copy(update={"recipes": (PROBE, SMALL)}))
    again = jobs.run(images, hurried.project, PLAN, minutes=0)
    assert [run.model_id for run in again.runs] == ["probe", "small"]
    assert [each.name for each in again.untried] == ["other"]
    show(again)
    printed = capsys.readouterr().out.replace("\n", "")
    recipe = hurried.project.runs / "small" / "recipe.yaml"
    assert f"--recipe {recipe}" in printed.replace("  ", " ")
    assert isinstance(load_recipe(recipe).model, ScratchRecipe)


def test_a_changed_recipe_is_not_taken_for_the_one_that_was_trained(hurried: Any, images: Path) -> None:
    changed = recipe_of("probe", FITTED | {"input_size": 32}, augment=None, balance="none")
    plan = PLAN.model_copy(update={"recipes": (recipe_of("knn", FITTED | {"head": "knn"}, augment=None), changed)})
    found = jobs.run(images, hurried.project, plan, minutes=0)
    assert [run.model_id for run in found.runs] == ["knn"]
    assert [each.name for each in found.untried] == ["probe"]


def test_the_report_tells_of_searches_on_the_splits_of_now(images: Path, tmp_path: Path) -> None:
    plan = PLAN.model_copy(update={"recipes": (SMALL,)})
    project = jobs.run(images, tmp_path / "p", plan).project
    before = project.report.read_text()
    assert 'id="searches"' not in before
    result = jobs.tune(project, SMALL, minutes=0)
    stages.report(project)
    page = project.report.read_text()
    assert 'id="searches"' in page
    assert "1 trial, judged by validation alone" in page
    (search,) = gather_facts(project, stages.compare(project).facts).searches
    assert search.name == "small"
    assert search.best["learning_rate"] == f"{result.trials['learning_rate'].iloc[0]:.4g}"
    assert search.importances_png is None
    jobs.run(images, project, plan.model_copy(update={"split": SplitRecipe(seed=1, near_duplicates=False)}))
    assert 'id="searches"' not in project.report.read_text()
