"""The deck's models trained again: each beside the deck's figures, and what happens where one cannot be trained."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

import linnaeus
from colours import write_images
from linnaeus import reproduction, stages
from linnaeus.cli.main import app
from linnaeus.data.split import split_table
from linnaeus.deck import deck_ladder, deck_rows
from linnaeus.errors import WeightsError
from linnaeus.outcomes import DeckResult, Reproduction
from linnaeus.project import Project
from linnaeus.recipe import Recipe
from linnaeus.runs import Run
from linnaeus.settings import SplitRecipe

RUNNER = CliRunner()
CHAIN = ["conv5invto128-dense1", "conv5invto128-dense1-70", "conv5invto128-dense1-80"]
FAILING = ["mobnet2-small", "mobnet2-2dense", "mobnet2-small-tune20-1e-5", "resnet2-small"]
ONE_EPOCH = 0.01


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_images(tmp_path_factory.mktemp("data") / "colours", per_class=12)
    shutil.copy(folder / "blue" / "00.png", folder / "blue" / "twin.png")
    return folder


@pytest.fixture(scope="module")
def made(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Reproduction:
    """The deck's chain of three CNNs, an epoch each."""
    project = tmp_path_factory.mktemp("work") / "p"
    return linnaeus.reproduce("deck", images, project, only="conv5invto128-dense1*", epochs_scale=ONE_EPOCH)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Transfer models, a CNN, one that starts from the first, and one on another backbone, while no weights can be had;
    the models whose training is asked for."""
    names: list[str] = []
    train = stages.train
    wished = ("mobnet2-small", "mobnet2-2dense", CHAIN[0], "mobnet2-small-tune20-1e-5", "resnet2-small")
    ladder = [deck_ladder(name, ONE_EPOCH)[-1] for name in wished]

    def refusing(project: Project, recipe: Recipe, **options: Any) -> Run:
        names.append(recipe.name)
        if recipe.model.kind == "transfer":
            raise WeightsError("there is no [network]")
        return train(project, recipe, **options)

    monkeypatch.setattr(reproduction, "train", refusing)
    monkeypatch.setattr(reproduction, "deck_ladder", lambda only, epochs_scale: ladder)
    return names


def test_a_chain_is_trained_and_evaluated_in_the_deck_s_order_from_scaled_runs(made: Reproduction) -> None:
    assert [result.row.recipe for result in made.results] == CHAIN
    assert [result.model_id for result in made.results] == [f"{name}-epochsx0.01" for name in CHAIN]
    last = Run(made.project.runs / made.results[-1].model_id)
    assert [*last.history["model_id"]] == [result.model_id for result in made.results]


def test_each_row_has_the_deck_s_accuracies_and_ours_with_its_interval(made: Reproduction) -> None:
    row = made.table.iloc[1]
    assert (row["deck_acc_train"], row["deck_acc_val"], row["deck_accuracy"]) == (0.81528, 0.68888, 0.71276)
    metrics = Run(made.project.runs / row["model_id"]).metrics
    assert [row[name] for name in ("acc_val", "accuracy")] == [metrics["acc_val"], metrics["accuracy"]]
    assert row["accuracy_low"] < row["accuracy"] + 1e-9
    assert row["accuracy_high"] > row["accuracy"] - 1e-9
    assert row["difference_points"] == pytest.approx(100 * (row["accuracy"] - row["deck_accuracy"]))
    assert row["deck_is_within"] == (row["accuracy_low"] <= row["deck_accuracy"] <= row["accuracy_high"])


@pytest.mark.parametrize(("interval", "is_within"), [((0.5, 0.6), True), ((0.53, 0.6), False), ((0.4, 0.52), False)])
def test_the_deck_s_figure_lies_in_the_interval_or_not(interval: tuple[float, float], is_within: bool) -> None:
    row = deck_rows()[0]
    assert row.accuracy == 0.52597
    result = DeckResult(row, row.recipe, {"accuracy": 0.50597}, interval)
    assert result.is_deck_within is is_within
    assert result.points == pytest.approx(-2)


def test_the_table_is_written_in_the_project_as_csv_and_parquet(images: Path, made: Reproduction) -> None:
    linnaeus.reproduce("deck", images, made.project, only="conv5invto128-dense1*", epochs_scale=ONE_EPOCH)
    assert pd.read_parquet(made.project.deck).equals(made.table)
    assert [*pd.read_csv(made.project.deck.with_suffix(".csv"))["recipe"]] == CHAIN


def test_the_split_is_the_deck_s_plain_one_and_what_it_parts_is_counted(made: Reproduction) -> None:
    clean = linnaeus.read_catalogue(made.project.clean_catalogue)
    splits = pd.read_parquet(made.project.splits)
    assert splits.equals(split_table(clean, SplitRecipe(near_duplicates=False)).table)
    assert made.leaks == len(pd.read_parquet(made.project.leaks))


def test_a_second_call_does_nothing_again_and_gives_the_same(images: Path, made: Reproduction) -> None:
    costs = made.project.costs()
    again = linnaeus.reproduce("deck", images, made.project, only="conv5invto128-dense1*", epochs_scale=ONE_EPOCH)
    assert again.project.costs() == costs
    assert again.table.equals(made.table)


def test_a_model_that_cannot_be_trained_is_listed_with_the_reason_and_the_others_go_on(
    images: Path, made: Reproduction, asked: list[str]
) -> None:
    mixed = linnaeus.reproduce("deck", images, made.project, epochs_scale=ONE_EPOCH)
    assert [result.row.recipe for result in mixed.failed] == FAILING
    assert mixed.results[0].failure == mixed.results[4].failure == "WeightsError: there is no [network]"
    assert mixed.results[2].metrics == made.results[0].metrics
    table = pd.read_parquet(made.project.deck)
    assert [*table["accuracy"].isna()] == [True, True, False, True, True]
    assert [*table["failure"]] == [result.failure for result in mixed.results]


def test_what_needs_a_failed_model_or_the_same_weights_is_not_tried(
    images: Path, made: Reproduction, asked: list[str]
) -> None:
    mixed = linnaeus.reproduce("deck", images, made.project, epochs_scale=ONE_EPOCH)
    assert [name.removesuffix("-epochsx0.01") for name in asked] == ["mobnet2-small", CHAIN[0], "resnet2-small"]
    assert mixed.results[1].failure == "its pretrained weights could not be had for mobnet2-small"
    assert mixed.results[3].failure == "it starts from mobnet2-small, which failed"


def test_the_command_s_exit_code_is_1_where_a_model_failed_and_it_says_which_and_why(
    images: Path, made: Reproduction, asked: list[str]
) -> None:
    call = ["reproduce", "deck", str(images), "--project", str(made.project.root), "--epochs-scale", str(ONE_EPOCH)]
    result = RUNNER.invoke(app, call)
    assert result.exit_code == 1
    assert "WeightsError: there is no [network]" in result.stdout
    assert f"Not trained (the reasons are above): {', '.join(FAILING)}." in result.stdout.replace("\n", " ").replace(
        "  ", " "
    )
    facts = json.loads(RUNNER.invoke(app, [*call, "--json"]).stdout)
    assert facts["failed"] == FAILING
    quiet = RUNNER.invoke(app, [*call, "--quiet"])
    assert (quiet.exit_code, quiet.stdout.strip()) == (1, str(made.project.deck.with_suffix(".csv")))


def test_the_command_prints_a_line_a_model_with_both_accuracies(images: Path, made: Reproduction) -> None:
    call = ["reproduce", "deck", str(images), "--project", str(made.project.root), "--epochs-scale", str(ONE_EPOCH)]
    result = RUNNER.invoke(app, [*call, "--only", "conv5invto128-dense1*"])
    assert result.exit_code == 0
    row = made.results[2]
    assert row.metrics is not None
    assert f"71.4/{100 * row.metrics['accuracy']:.1f}" in result.stdout
    assert f"{row.points:+.1f}" in result.stdout
    facts = json.loads(RUNNER.invoke(app, [*call, "--only", "conv5invto128-dense1*", "--json"]).stdout)
    assert [line["recipe"] for line in facts["rows"]] == CHAIN
    assert facts["rows"][2]["accuracy"] == row.metrics["accuracy"]


@pytest.mark.parametrize("wrong", [["paper"], ["deck", "--only", "conv9*"], ["deck", "--epochs-scale", "0"]])
def test_a_wrong_call_has_exit_code_2_before_anything_is_read(wrong: list[str]) -> None:
    assert RUNNER.invoke(app, ["reproduce", wrong[0], "no-such-folder", *wrong[1:]]).exit_code == 2


def test_without_a_project_it_is_made_beside_and_named_after_the_deck(
    images: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reproduction, "deck_ladder", lambda only, epochs_scale: deck_ladder("mobnet2-small"))
    assert linnaeus.reproduce("deck", images).project.root == Path("colours-deck")


def test_interrupted_the_rows_until_then_are_written(
    images: Path, made: Reproduction, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = stages.train

    def interrupted(project: Project, recipe: Recipe, **options: Any) -> Run:
        if recipe.name.startswith(CHAIN[1]):
            raise KeyboardInterrupt
        return train(project, recipe, **options)

    monkeypatch.setattr(reproduction, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        linnaeus.reproduce("deck", images, made.project, only="conv5invto128-dense1*", epochs_scale=ONE_EPOCH)
    assert [*pd.read_parquet(made.project.deck)["recipe"]] == CHAIN[:1]
