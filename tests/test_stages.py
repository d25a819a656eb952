"""The main job: killed anywhere and run again, it ends as if nothing had happened."""

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

import linnaeus
from colours import COLOURS, write_images
from linnaeus import files, jobs, stages, using
from linnaeus.data.store import ContentStore
from linnaeus.errors import CatalogueError, PredictionError, ProjectError, RecipeError
from linnaeus.evaluation.answering import load_answering
from linnaeus.evaluation.judge import image_outputs
from linnaeus.evaluation.running_cost import LATENCY_COLUMNS
from linnaeus.networks.classifier import load_classifier
from linnaeus.progress import Advance, silent
from linnaeus.recipe import Plan, Recipe, checked
from linnaeus.reporting import figures
from linnaeus.settings import CheckRecipe, CleanRecipe, SplitRecipe
from linnaeus.steps import evaluation
from linnaeus.steps.splitting import load_splits

TIMES = [
    *(
        "time",
        "train_seconds",
        "predict_ms_per_image",
        "seconds",
        "look",
        "p50_ms",
        "p99_ms",
        "images_per_second",
        "passes",
    ),
    *("backend", "latency_p50_ms", "latency_p99_ms", "is_front_latency", "is_front_training"),
]


def tiny_recipe(name: str, **changes: object) -> Recipe:
    content = {
        "name": name,
        "model": {
            "kind": "scratch",
            "conv_widths": [4, 8],
            "pool_sizes": [2, 2],
            "dense_widths": [8],
            "dropouts": [0.2],
        },
        "training": {"epochs": 2, "batch_size": 8, "patience": 2},
    }
    return checked(Recipe, content | changes, where=name)


TRANSFER = {
    "kind": "transfer",
    "backbone": "test_efficientnet",
    "weights": "random",
    "input_size": 32,
    "dense_widths": [8],
}
PLAN = Plan(
    clean=CleanRecipe(size=32),
    folds=1,
    check=CheckRecipe(backbone="test_efficientnet", weights="random", input_size=32),
    recipes=(
        tiny_recipe("scratch"),
        tiny_recipe("frozen", model=TRANSFER, data={"augment": None}),
        tiny_recipe(
            "finetuned", model=TRANSFER | {"unfrozen_last_layers": 5}, data={"augment": None}, starts_from="frozen"
        ),
    ),
)


def contents(project: Path) -> dict[str, object]:
    """Every file of a project by name, with what must not depend on when and how often it was worked on."""
    found: dict[str, object] = {}
    for path in sorted(path for path in project.rglob("*") if path.is_file()):
        name = path.relative_to(project).as_posix()
        if path.suffix == ".csv":
            table = pd.read_csv(path)
            found[name] = table.drop(columns=[c for c in TIMES if c in table]).to_csv()
        elif path.suffix in {".safetensors", ".npy", ".jpg", ".yaml"} or path.name == "model.json":
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.parent.name == "stages" and path.name != "report.json":  # whose inputs hold measured times
            found[name] = json.loads(path.read_text())["key"]
        else:
            found[name] = None  # pictures of times, the report, parquet twins of the CSV files
    return found


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("data") / "colours")


@pytest.fixture(scope="module")
def outcome(images: Path, tmp_path_factory: pytest.TempPathFactory) -> linnaeus.Outcome:
    return jobs.run(images, tmp_path_factory.mktemp("work") / "undisturbed", PLAN)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dying_progress(stage: str, occurrence: int) -> linnaeus.progress.Progress:
    """Progress that kills its process in the middle of the n-th bar whose description begins with `stage`."""
    seen = 0

    @contextmanager
    def progress(description: str, total: int) -> Iterator[Advance]:
        nonlocal seen
        seen += description.startswith(stage)
        is_last = description.startswith(stage) and seen == occurrence
        left = max(total // 2, 1)

        def advance(steps: int) -> None:
            nonlocal left
            left -= steps
            if is_last and left <= 0:
                die()

        yield advance

    return progress


def dying_whole(name: str) -> Callable[[Path], object]:
    """A `files.whole` that kills its process when the file `name` is written and not yet renamed."""
    plain = files.whole

    @contextmanager
    def whole(path: Path) -> Iterator[Path]:
        with plain(path) as partial:
            yield partial
            if path.name == name:
                die()

    return whole


def blank(figure: Figure) -> Image.Image:
    """What stands for a drawn figure: drawing is tested elsewhere, and takes half of the time of a tiny job."""
    return Image.new("P", (1, 1))


def untimed(classifier: object, size: int, *, images: torch.Tensor, seconds: float) -> pd.DataFrame:
    """What stands for the latencies of a network, whose measuring takes most of the rest."""
    return pd.DataFrame([("torch, cpu", 1.0, 2.0, 500.0, 30, "")], columns=LATENCY_COLUMNS)


@pytest.fixture(scope="module", autouse=True)
def _light_jobs() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "_draw", blank)
        patch.setattr(evaluation, "latencies", untimed)
        yield


def run_and_die(images: Path, project: Path, where: tuple[str, int] | str) -> None:
    # A process of its own, which ends here.
    figures._draw, evaluation.latencies = blank, untimed  # type: ignore[assignment, attr-defined]
    if isinstance(where, str):
        files.whole = dying_whole(where)  # type: ignore[assignment]
        jobs.run(images, project, PLAN)
    else:
        jobs.run(images, project, PLAN, progress=dying_progress(*where))


KILLS: list[tuple[str, int] | str] = [
    ("Reading images", 1),
    "catalogue.parquet",
    ("Cleaning images", 1),
    "duplicates.parquet",
    ("Computing features", 1),
    ("Judging labels", 1),
    "issues.parquet",
    "decisions.csv",
    "splits.parquet",
    "leaks.parquet",
    ("Training", 1),
    ("Computing features", 2),
    ("Training", 3),
    "training.json",
    ("Evaluating", 2),
    "metrics-test.json",
    ("Explaining", 1),
    "results.csv",
    "leaderboard.parquet",
    "report.html",
]


@pytest.mark.parametrize("where", KILLS, ids=str)
def test_a_run_killed_anywhere_and_run_again_equals_an_undisturbed_one(
    where: tuple[str, int] | str, images: Path, outcome: linnaeus.Outcome, tmp_path: Path
) -> None:
    project = tmp_path / "undisturbed"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["linnaeus.stages"])
    process = context.Process(target=run_and_die, args=(images, project, where))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    jobs.run(images, project, PLAN)
    assert contents(project) == contents(outcome.project.root)


def test_a_finished_project_is_recognised_and_nothing_is_done_again(images: Path, outcome: linnaeus.Outcome) -> None:
    root = outcome.project.root
    before = {path: path.stat().st_mtime_ns for path in (root / "stages").iterdir()}
    jobs.run(images, root, PLAN)
    assert {path: path.stat().st_mtime_ns for path in (root / "stages").iterdir()} == before


def test_a_changed_setting_redoes_its_stage_and_those_after_it_only(
    images: Path, outcome: linnaeus.Outcome, tmp_path: Path
) -> None:
    small = Plan(clean=CleanRecipe(size=32), folds=1, recipes=(tiny_recipe("scratch"),))
    first = jobs.run(images, tmp_path / "p", small)
    clean_stamp, evaluated = first.project.stamp("clean")["finished"], first.evaluations[0].metrics["time"]
    again = jobs.run(images, tmp_path / "p", small.model_copy(update={"split": SplitRecipe(seed=6)}))
    assert again.project.stamp("clean")["finished"] == clean_stamp
    assert list(again.splits.test["relpath"]) != list(first.splits.test["relpath"])
    assert again.evaluations[0].metrics["time"] != evaluated


def test_the_users_images_are_only_read(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "mine", per_class=12)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}
    stages.catalogue(folder, tmp_path / "p")
    stages.clean(tmp_path / "p", CleanRecipe(size=16))
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}
    assert after == before


def test_a_project_inside_the_image_folder_is_refused(images: Path) -> None:
    with pytest.raises(ProjectError, match="inside one another"):
        stages.catalogue(images, images / "project")
    assert not (images / "project").exists()


def test_a_project_about_other_images_is_refused(images: Path, outcome: linnaeus.Outcome, tmp_path: Path) -> None:
    other = write_images(tmp_path / "other", per_class=2)
    with pytest.raises(ProjectError, match="is about"):
        stages.catalogue(other, outcome.project)


def test_a_folder_that_is_none_leaves_no_project_behind(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="is no folder"):
        jobs.run(tmp_path / "nowhere", tmp_path / "p")
    assert not (tmp_path / "p").exists()


def test_a_stage_before_its_time_says_what_to_run_first(images: Path, tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="linnaeus catalogue"):
        stages.clean(tmp_path / "p")
    with pytest.raises(ProjectError, match="linnaeus catalogue"):
        stages.check(tmp_path / "p")
    stages.catalogue(images, tmp_path / "p")
    with pytest.raises(ProjectError, match="linnaeus clean"):
        stages.split(tmp_path / "p")
    with pytest.raises(ProjectError, match="linnaeus"):
        stages.train(tmp_path / "p", tiny_recipe("scratch"))


def test_results_and_leaderboard_have_the_decks_columns_and_rank_by_validation(outcome: linnaeus.Outcome) -> None:
    results = pd.read_csv(outcome.project.results)
    assert list(results.columns) == [
        *("time", "model_id", "learning_rate", "epochs", "batchsize", "acc_train", "acc_val", "accuracy"),
        *("precision", "recall", "f1_score", "parameters", "size_mb", "train_seconds", "predict_ms_per_image"),
    ]
    assert sorted(results["model_id"]) == ["finetuned", "frozen", "scratch"]
    assert outcome.comparison.table["acc_val"].is_monotonic_decreasing


def test_the_log_agrees_with_the_stored_predictions(outcome: linnaeus.Outcome) -> None:
    for judged in outcome.evaluations:
        test, val = judged.run.predictions("test"), judged.run.predictions("val")
        assert judged.metrics["accuracy"] == (test["label"] == test["predicted"]).mean()
        assert judged.metrics["acc_val"] == (val["label"] == val["predicted"]).mean()
        assert sorted(test["relpath"]) == sorted(outcome.splits.test["relpath"])


def test_the_cheapest_kinds_of_models_are_trained_first(outcome: linnaeus.Outcome) -> None:
    assert [run.model_id for run in outcome.runs] == ["frozen", "finetuned", "scratch"]


def test_a_continued_run_counts_on_from_the_run_it_started_from(outcome: linnaeus.Outcome) -> None:
    (history,) = (run.history for run in outcome.runs if run.model_id == "finetuned")
    assert list(history["model_id"]) == ["frozen", "frozen", "finetuned", "finetuned"]
    assert list(history["epoch"]) == [1, 2, 3, 4]


def test_predicting_a_raw_test_image_gives_the_very_probabilities_of_its_evaluation(
    images: Path, outcome: linnaeus.Outcome
) -> None:
    chosen = linnaeus.Run(outcome.project.runs / outcome.comparison.chosen)
    stored = chosen.predictions("test").sort_values("relpath")
    sources = outcome.cleaned.images.set_index("relpath")["source"]
    paths = [images / sources[relpath] for relpath in stored["relpath"]]
    predicted = using.predict(outcome.project, paths, top=1)
    assert list(predicted["class_1"]) == list(stored["predicted_category"])
    np.testing.assert_allclose(predicted["probability_1"], stored["probability"], atol=1e-5)


@pytest.mark.parametrize("model_id", ["frozen", "finetuned"])
def test_what_is_frozen_is_not_computed_again_to_evaluate_and_the_whole_classifier_says_the_same(
    outcome: linnaeus.Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model_id: str
) -> None:
    copy = shutil.copytree(outcome.project.root, tmp_path / "copy")
    monkeypatch.setattr(ContentStore, "add", None)  # nothing new is kept, so nothing new was computed
    (judged,) = stages.evaluate(copy, [model_id], final=True, force=True)
    splits = load_splits(outcome.project)
    for part in ("val", "test"):
        stored = judged.run.predictions(part)
        classifier = load_classifier(judged.run.folder)
        whole = image_outputs(classifier, splits.part(part), outcome.project.clean_folder)
        probabilities = load_answering(judged.run.folder).probabilities(whole)
        names = [f"p_{name}" for name in classifier.facts.classes]
        np.testing.assert_allclose(stored[names], probabilities, atol=1e-4)
        assert list(stored["relpath"]) == list(splits.part(part)["relpath"])


def test_a_file_that_cannot_be_read_becomes_a_row_with_its_reason(
    images: Path, outcome: linnaeus.Outcome, tmp_path: Path
) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    good = next((images / "blue").glob("*.png"))
    table = using.predict(outcome.project, [tmp_path / "broken.jpg", good, tmp_path / "gone.png"])
    assert list(table["error"].ne("")) == [True, False, True]
    assert table["class_1"].notna().tolist() == [False, True, False]


def test_predict_takes_folders_and_globs(images: Path, outcome: linnaeus.Outcome) -> None:
    assert len(using.predict(outcome.runs[0], images / "amber")) == 21  # 20 images and readme.txt, which has its reason
    assert len(using.predict(outcome.runs[0], str(images / "*" / "0?.png"))) == 30
    with pytest.raises(PredictionError, match="nothing matches"):
        using.predict(outcome.runs[0], str(images / "*.gif"))


def test_a_saved_run_folder_alone_is_enough_to_predict(images: Path, outcome: linnaeus.Outcome, tmp_path: Path) -> None:
    for name in ("model.safetensors", "model.json"):
        (tmp_path / name).write_bytes((outcome.runs[0].folder / name).read_bytes())
    table = using.predict(tmp_path, images / "blue" / "00.png", progress=silent)
    assert set(table.filter(like="class_").iloc[0]) == set(COLOURS)


def test_runs_of_other_splits_are_left_out_of_the_leaderboard_and_named(images: Path, tmp_path: Path) -> None:
    plan = Plan(clean=CleanRecipe(size=32), folds=1, recipes=(tiny_recipe("first"),))
    jobs.run(images, tmp_path / "p", plan)
    changed = plan.model_copy(update={"split": SplitRecipe(seed=9), "recipes": (tiny_recipe("second"),)})
    comparison = jobs.run(images, tmp_path / "p", changed).comparison
    assert list(comparison.table["model_id"]) == ["second"]
    assert comparison.stale == ("first",)
    assert [judged.run.model_id for judged in stages.evaluate(tmp_path / "p")] == ["second"]
    with pytest.raises(ProjectError, match="train it again"):
        stages.evaluate(tmp_path / "p", ["first"])


def test_a_stage_done_again_asks_for_those_that_read_from_it(tmp_path: Path) -> None:
    folder, project = write_images(tmp_path / "mine"), tmp_path / "p"
    jobs.run(folder, project, Plan(clean=CleanRecipe(size=32), folds=1, recipes=(tiny_recipe("only"),)))
    (folder / "blue" / "new.png").write_bytes((folder / "coral" / "00.png").read_bytes())
    stages.catalogue(folder, project)
    with pytest.raises(ProjectError, match="linnaeus clean"):
        stages.train(project, tiny_recipe("only"))
    stages.clean(project, CleanRecipe(size=32))
    with pytest.raises(ProjectError, match="linnaeus split"):
        stages.evaluate(project)
    stages.split(project)
    with pytest.raises(ProjectError, match="no model trained on its present splits"):
        stages.evaluate(project)


def test_a_run_that_was_deleted_or_trained_again_leaves_the_project_usable(tmp_path: Path) -> None:
    folder, project = write_images(tmp_path / "mine"), tmp_path / "p"
    plan = Plan(clean=CleanRecipe(size=32), folds=1, recipes=(tiny_recipe("one"), tiny_recipe("two")))
    jobs.run(folder, project, plan)
    shutil.rmtree(project / "runs" / "one")
    assert list(stages.compare(project).table["model_id"]) == ["two"]
    stages.train(project, tiny_recipe("two"), force=True)
    with pytest.raises(ProjectError, match="nothing to compare"):
        stages.compare(project)
    (project / "results.csv").unlink()
    assert len(stages.evaluate(project)) == 1
    assert stages.report(project).is_file()


def test_a_folder_with_other_things_or_the_images_in_it_is_no_place_for_a_project(images: Path, tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="inside one another"):
        stages.catalogue(images, images.parent)
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(ProjectError, match="holds other things"):
        stages.catalogue(images, tmp_path)


def test_a_project_finds_its_images_again_where_they_were_moved_to(tmp_path: Path) -> None:
    folder, project = write_images(tmp_path / "mine", per_class=2), tmp_path / "p"
    stages.catalogue(folder, project)
    folder.rename(tmp_path / "moved")
    with pytest.raises(ProjectError, match="no longer at"):
        stages.clean(project)
    stages.catalogue(tmp_path / "moved", project)
    assert len(stages.clean(project, CleanRecipe(size=16)).images) == 6


def test_a_recipe_that_starts_from_itself_is_refused(outcome: linnaeus.Outcome) -> None:
    with pytest.raises(RecipeError, match="starts from itself"):
        stages.train(outcome.project, tiny_recipe("snake", starts_from="snake"))


def test_a_catalogue_of_the_users_own_can_be_split(tmp_path: Path) -> None:
    rows = pd.DataFrame({"relpath": [f"{n}.jpg" for n in range(40)], "category": ["007", "NA"] * 20})
    rows.to_csv(tmp_path / "mine.csv", index=False)
    splits = stages.split(tmp_path / "p", table=tmp_path / "mine.csv")
    assert splits.classes == ("007", "NA")
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [28, 8, 4]
