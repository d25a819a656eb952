"""Evaluating, comparing and explaining: the test part is opened once, seeds count as one, and reasons can be had."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from colours import write_images
from linnaeus import stages, using
from linnaeus.errors import PredictionError, ProjectError
from linnaeus.evaluation.answering import load_answering
from linnaeus.looks import read_looks
from linnaeus.project import Project, open_project
from linnaeus.recipe import Recipe, checked
from linnaeus.runs import Run
from linnaeus.settings import CleanRecipe, SplitRecipe
from linnaeus.steps import folds
from linnaeus.steps.folds import folds_needed
from linnaeus.steps.splitting import load_splits
from linnaeus.training.train import train_classifier

MODEL = {"kind": "scratch", "conv_widths": [4], "pool_sizes": [4], "dense_widths": [8]}
TINY = checked(Recipe, {"name": "tiny", "model": MODEL, "training": {"epochs": 2, "batch_size": 16}}, where="tiny")
OTHER = TINY.changed({"training.epochs": 1}, name="other")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Three runs, two of them by one recipe, evaluated on validation."""
    root = tmp_path_factory.mktemp("judging")
    stages.catalogue(write_images(root / "colours"), root / "p")
    stages.clean(root / "p", CleanRecipe(size=24))
    stages.split(root / "p", SplitRecipe(test=0.2))
    for recipe in (TINY, TINY.seeded(1), OTHER):
        stages.train(root / "p", recipe)
    stages.evaluate(root / "p")
    return open_project(root / "p")


@pytest.fixture(scope="module")
def opened(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    copy = open_project(shutil.copytree(project.root, tmp_path_factory.mktemp("opened") / "p"))
    stages.evaluate(copy, ["tiny", "tiny-seed1"], final=True)
    stages.evaluate(copy, ["other"], final=True)
    return copy


def table_of_looks(project: Project) -> pd.DataFrame:
    return read_looks(project.looks, project.current_inputs()["splits"]).table


def test_until_it_is_opened_nothing_says_anything_of_the_test_part(project: Project) -> None:
    comparison = stages.compare(project)
    assert comparison.part == "val"
    assert comparison.table["accuracy"].isna().all()
    assert not comparison.looks.is_open
    assert not [*project.runs.glob("*/*-test*")]
    page = stages.report(project).read_text()
    assert "The test part has not been opened for it" in page
    assert pd.read_csv(project.results)["accuracy"].isna().all()


def test_each_command_that_opens_it_is_a_look_and_asking_again_for_the_same_is_none(opened: Project) -> None:
    before = table_of_looks(opened)
    assert [*before["look"]] == [1, 1, 2]
    assert [*before["model_id"]] == ["tiny", "tiny-seed1", "other"]
    stages.evaluate(opened, final=True)
    assert table_of_looks(opened).equals(before)
    stages.evaluate(opened, ["tiny"], final=True, force=True)
    assert table_of_looks(opened).equals(before)


def test_two_seeds_of_a_recipe_are_one_row_with_their_mean_and_pairs_count_them_together(opened: Project) -> None:
    comparison = stages.compare(opened)
    assert sorted(comparison.table["model_id"]) == ["other", "tiny"]
    row = comparison.table.set_index("model_id").loc["tiny"]
    single = [Run(opened.runs / name).metrics["acc_val"] for name in ("tiny", "tiny-seed1")]
    assert row["acc_val"] == pytest.approx(np.mean(single))
    assert row["acc_val_sd"] == pytest.approx(np.std(single, ddof=1))
    assert len(comparison.pairs.pairs) == 1
    assert len(pd.read_csv(opened.pairs.with_suffix(".csv"))) == 1


def test_runs_that_are_named_are_compared_each_on_its_own(opened: Project) -> None:
    comparison = stages.compare(opened, ["tiny", "tiny-seed1"])
    assert len(comparison.table) == 2
    assert "tiny" in comparison.sentences[0]
    with pytest.raises(ProjectError, match="nowhere"):
        stages.compare(opened, ["tiny", "nowhere"])


def test_the_images_that_two_runs_differ_in_are_those_that_one_alone_gets_right(opened: Project) -> None:
    found = stages.differences(opened, "tiny", "other")
    said = {name: Run(opened.runs / name).predictions("test").set_index("relpath") for name in ("tiny", "other")}
    right = {name: table["label"] == table["predicted"] for name, table in said.items()}
    assert {*found.images["relpath"]} == {*right["tiny"].index[right["tiny"] != right["other"]]}
    for row in found.images.to_dict("records"):
        assert right[row["right"]][row["relpath"]]
    assert found.sheet.read_bytes().startswith(b"\xff\xd8")
    assert found.pair.first_only + found.pair.second_only == len(found.images)


def test_every_figure_of_a_part_is_in_its_tables_and_agrees_with_the_predictions(opened: Project) -> None:
    run = Run(opened.runs / "tiny")
    predictions, measures = run.predictions("test"), run.measures("test")
    overall = measures[measures["class"] == ""].set_index("measure")
    assert overall.loc["top_1", "value"] == (predictions["label"] == predictions["predicted"]).mean()
    assert overall.loc["top_1", "value"] == run.metrics["accuracy"]
    assert (overall["low"] <= overall["value"]).all()
    for name in ("curves.csv", "reliability.csv", "slices.csv", "confusion.png", "reliability.png", "curves.png"):
        assert run.of("test", name).is_file()
    slices = pd.read_csv(run.of("test", "slices.csv"))
    assert {"category", "brightness", "sharpness"} <= {*slices["column"]}
    assert {"smaller_side", "aspect", "channels"} <= {*pd.read_csv(run.of("test", "unsliced.csv"))["column"]}


def test_stored_probabilities_are_calibrated_by_a_temperature_from_validation(opened: Project) -> None:
    run = Run(opened.runs / "tiny")
    answering = load_answering(run.folder)
    table = pd.read_csv(run.of("val", "reliability.csv"))
    assert {*table["is_calibrated"]} == {True, False}
    shares = run.predictions("val").filter(regex="^p_").to_numpy()
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    labels = run.predictions("val")["label"].to_numpy()

    def loss(temperature: float) -> float:
        logits = np.log(shares) * answering.temperature / temperature
        calibrated = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return float(-calibrated[np.arange(len(labels)), labels].mean())

    assert answering.temperature != 1  # this run has mistakes to learn from
    assert loss(answering.temperature) <= min(loss(answering.temperature * 1.1), loss(answering.temperature / 1.1))


def test_known_images_keep_their_class_as_often_as_asked_for_on_validation(opened: Project, tmp_path: Path) -> None:
    run, val = Run(opened.runs / "tiny"), load_splits(opened).val
    source = pd.read_parquet(opened.clean_catalogue).set_index("relpath")["source"]
    paths = [opened.images / source[relpath] for relpath in val["relpath"]]
    for kept in (1.0, 0.5):
        answers = using.predict(run, paths, kept=kept)["answer"]
        share = (answers != "none of these").mean()
        assert kept <= share <= kept + 2 / len(val)
    assert "answer" not in using.predict(run, paths[:1])
    for name in ("model.safetensors", "model.json"):
        (tmp_path / name).write_bytes((run.folder / name).read_bytes())
    with pytest.raises(PredictionError, match="evaluate"):
        using.predict(tmp_path, paths[:1], kept=0.95)


def test_reasons_have_a_picture_and_training_images_for_each_example_and_a_map(opened: Project) -> None:
    reasons = stages.explain(opened, "tiny")
    train = {*load_splits(opened).train["relpath"]}
    assert len(reasons.examples)
    for row in reasons.examples.to_dict("records"):
        assert (reasons.folder / row["picture"]).read_bytes().startswith(b"\xff\xd8")
        assert row["nearest_1"] in train
        assert row["method"] == "grad-cam"
    places = reasons.run.feature_map(reasons.part)
    assert sorted(places["relpath"]) == sorted(load_splits(opened).test["relpath"])
    assert (reasons.folder / "map.png").is_file()


def test_reasons_by_another_method_replace_the_former_ones(opened: Project) -> None:
    reasons = stages.explain(opened, "other", method="integrated-gradients")
    assert {*reasons.examples["method"]} == {"integrated-gradients"}
    assert {*stages.explain(opened, "other").examples["method"]} == {"integrated-gradients"}
    assert {*stages.explain(opened, "other", method="grad-cam").examples["method"]} == {"grad-cam"}


def test_folds_judge_every_image_outside_of_test_once_by_a_classifier_that_never_saw_it(
    opened: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[str]] = []
    plain = train_classifier

    def noted(classifier: Any, recipe: Any, images: Any, watch: Any) -> Any:
        seen.append({*images.splits.train["relpath"]})
        return plain(classifier, recipe, images, watch)

    monkeypatch.setattr(folds, "train_classifier", noted)
    stages.evaluate(opened, ["other"], folds=3)
    predictions = pd.read_parquet(opened.runs / "other" / "predictions-folds.parquet")
    splits = load_splits(opened)
    assert sorted(predictions["relpath"]) == sorted([*splits.train["relpath"], *splits.val["relpath"]])
    right = (predictions["label"] == predictions["predicted"]).mean()
    assert Run(opened.runs / "other").metrics["acc_folds"] == right
    for number, drawn in predictions.groupby("fold"):
        assert seen[int(str(number))].isdisjoint(drawn["relpath"])
    assert stages.compare(opened).table["acc_folds"].notna().sum() == 1


def test_folds_are_needed_only_where_validation_is_small_and_as_many_as_can_be_had(
    opened: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert folds_needed(opened) == 5
    copy = open_project(shutil.copytree(opened.root, tmp_path / "p"))
    table = load_splits(copy).table
    few = table["split"].eq("test") | (table.groupby("label").cumcount() < 4)
    table[few].to_parquet(copy.splits)
    assert folds_needed(copy) == 4
    tied = table.assign(group=table["label"])  # each class one group, which no two folds can share
    tied.to_parquet(copy.splits)
    assert folds_needed(copy) is None
    monkeypatch.setattr(folds, "FEWEST_TO_CHOOSE_BY", 5)
    assert folds_needed(opened) is None


def test_the_model_card_has_the_hubs_metadata_and_the_reports_figures(opened: Project) -> None:
    stages.report(opened)
    chosen = stages.compare(opened).chosen
    card = (opened.runs / chosen / "README.md").read_text()
    head = card.split("---")[1]
    for field in ("library_name: linnaeus", "pipeline_tag: image-classification", "model-index", "type: accuracy"):
        assert field in head
    accuracy = Run(opened.runs / chosen).metrics["accuracy"]
    assert f"value: {round(accuracy, 4)}" in head
    assert "## What to worry about" in card


def test_reasons_are_never_of_images_that_the_run_was_not_judged_on(opened: Project, tmp_path: Path) -> None:
    copy = open_project(shutil.copytree(opened.root, tmp_path / "p"))
    stages.split(copy, SplitRecipe(test=0.2, seed=9))
    with pytest.raises(ProjectError, match="not evaluated on the present splits"):
        stages.explain(copy, "tiny")


def test_reasons_stay_of_the_method_that_was_asked_for_when_the_report_is_made(opened: Project) -> None:
    chosen = stages.compare(opened).chosen
    stages.explain(opened, chosen, method="integrated-gradients")
    assert "integrated gradients" in stages.report(opened).read_text()
    stages.explain(opened, chosen, method="grad-cam")


def test_a_report_can_be_made_after_the_test_part_was_opened_halfway(project: Project, tmp_path: Path) -> None:
    copy = open_project(shutil.copytree(project.root, tmp_path / "p"))
    stages.evaluate(copy, final=True)
    for path in copy.runs.glob("*/*-test*"):  # as if it had been stopped before
        path.unlink()
    assert stages.report(copy).is_file()


def test_where_only_one_of_two_seeds_was_opened_the_report_speaks_of_validation(
    project: Project, tmp_path: Path
) -> None:
    copy = open_project(shutil.copytree(project.root, tmp_path / "p"))
    stages.evaluate(copy, ["tiny", "other"], final=True)
    assert stages.compare(copy).facts.part_of("tiny") == "val"
    assert stages.compare(copy).facts.part_of("other") == "test"
    assert "names \u2013" not in stages.report(copy).read_text()


def test_a_table_of_ones_own_can_be_sliced_by_its_columns(tmp_path: Path) -> None:
    root = tmp_path / "p"
    stages.catalogue(write_images(tmp_path / "colours"), root)
    table = stages.clean(root, CleanRecipe(size=24)).images
    table["camera"] = np.where(np.arange(len(table)) % 2, "left", "right")
    table.to_csv(tmp_path / "mine.csv", index=False)
    stages.split(root, SplitRecipe(val=0.4, test=0.2), table=tmp_path / "mine.csv")
    stages.train(root, OTHER)
    (evaluation,) = stages.evaluate(root)
    slices = evaluation.run.slices("val")
    assert [*slices.loc[slices["column"] == "camera", "slice"].sort_values()] == ["left", "right"]
    assert stages.report(root).is_file()


def test_classes_called_true_and_false_are_like_any_others(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "colours")
    (folder / "amber").rename(folder / "true")
    (folder / "blue").rename(folder / "false")
    root = tmp_path / "p"
    stages.catalogue(folder, root)
    stages.clean(root, CleanRecipe(size=24))
    stages.split(root)
    stages.train(root, OTHER)
    (evaluation,) = stages.evaluate(root)
    assert [*evaluation.confusion.columns] == [*evaluation.confusion.index] == ["coral", "false", "true"]


def test_another_seed_of_a_recipe_of_ones_own_starts_from_its_own_run(opened: Project) -> None:
    going_on = TINY.changed({"starts_from": "tiny"}, name="going-on")
    stages.train(opened, going_on.seeded(3))
    assert Run(opened.runs / "tiny-seed3").recipe.training.seed == 3
    assert Run(opened.runs / "going-on-seed3").recipe.starts_from == "tiny-seed3"
