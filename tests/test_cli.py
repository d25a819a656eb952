"""The command line: exit codes, what it prints, and that help is quick."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from colours import write_images
from linnaeus.cli.main import app

RUNNER = CliRunner()
COMMANDS = [
    *("run", "catalogue", "clean", "split", "train", "evaluate", "compare", "report", "predict", "models", "demo"),
    *("reproduce", "explain"),
]
HEAVY = {"torch", "timm", "lightning", "pandas", "numpy", "sklearn", "matplotlib", "PIL", "pydantic", "yaml"}

RECIPE = """
name: small
model: {kind: scratch, conv_widths: [4], pool_sizes: [4], dense_widths: [8]}
training: {epochs: 1, batch_size: 16}
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("data") / "colours", per_class=12)


@pytest.fixture(scope="module")
def project(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    (folder / "small.yaml").write_text(RECIPE)
    (folder / "other.yaml").write_text(RECIPE.replace("name: small", "name: other"))
    options = ["--project", str(folder / "p"), "--size", "24", "--quiet"]
    recipes = ["--recipe", str(folder / "small.yaml"), "--recipe", str(folder / "other.yaml")]
    result = RUNNER.invoke(app, ["run", str(images), *options, *recipes])
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(folder / "p" / "report.html")
    return folder / "p"


def test_help_imports_nothing_heavy() -> None:
    code = f"import sys, linnaeus.cli.main; print(sorted({HEAVY!r} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    result = RUNNER.invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert f"linnaeus {command}" in result.output.replace("\n", " ")


def test_a_failure_is_one_line_on_standard_error_and_exit_code_1(tmp_path: Path) -> None:
    result = RUNNER.invoke(app, ["catalogue", str(tmp_path / "nowhere")])
    assert result.exit_code == 1
    assert result.stderr.startswith("CatalogueError: ")
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "arguments", [["predict"], ["no-such-command"], ["models", "--classes", "many"], ["models", "no-such-recipe"]]
)
def test_a_wrong_call_has_exit_code_2(arguments: list[str]) -> None:
    assert RUNNER.invoke(app, arguments).exit_code == 2


def test_two_forms_at_once_is_a_wrong_call(project: Path) -> None:
    assert RUNNER.invoke(app, ["predict", str(project), "x.png", "--csv", "--json"]).exit_code == 2


def test_models_prints_the_decks_layer_table() -> None:
    result = RUNNER.invoke(app, ["models", "conv4invto128_dense256_upsamp"])
    assert "(None, 12, 12, 128)" in result.output
    assert "4,718,848" in result.output
    assert "Trainable params: 4,818,858" in result.output


def test_models_lists_pretrained_backbones_and_says_unknown_where_it_does_not_know() -> None:
    result = RUNNER.invoke(app, ["models", "--pretrained", "resnet18*"], env={"COLUMNS": "120"})
    assert "resnet18.a1_in1k" in result.stdout
    assert "69.75" in result.stdout  # resnet18.tv_in1k
    assert "unknown" in RUNNER.invoke(app, ["models", "--pretrained", "vit_base_patch16_clip_224.openai"]).stdout
    wrong = RUNNER.invoke(app, ["models", "resnet", "--pretrained", "resnet*"])
    assert wrong.exit_code == 2


def test_models_without_a_name_lists_every_recipe() -> None:
    names = [row["name"] for row in json.loads(RUNNER.invoke(app, ["models", "--json"]).stdout)]
    assert {"conv4invto128-dense256-up", "mobnet2-dense256", "lite0-dense256-finetune"} <= set(names)


def test_catalogue_prints_the_decks_tables_and_what_was_left_out(images: Path, project: Path) -> None:
    output = RUNNER.invoke(app, ["catalogue", str(images), "--project", str(project)]).stdout
    assert "36 images of 3 classes" in output
    assert "width: 1 distinct, most common 48 (36 times)" in output
    assert "not an image" in output


def test_json_is_one_value_for_each_result(images: Path, project: Path) -> None:
    catalogue = json.loads(RUNNER.invoke(app, ["catalogue", str(images), "-p", str(project), "--json"]).stdout)
    assert catalogue["classes"] == {"amber": 12, "blue": 12, "coral": 12}
    assert catalogue["excluded"][0]["reason"] == "not an image"
    leaderboard = json.loads(RUNNER.invoke(app, ["compare", str(project), "--json"]).stdout)["leaderboard"]
    assert [row["rank"] for row in leaderboard] == [1, 2]
    summary = json.loads(RUNNER.invoke(app, ["models", "conv5invto128-dense1", "--json"]).stdout)
    assert summary["trainable"] == 509_402


def test_two_reports_are_shown_side_by_side(project: Path) -> None:
    found = json.loads(RUNNER.invoke(app, ["compare", str(project), "small", "other", "--json"]).stdout)
    assert {"class", "small f1-score", "other f1-score", "support"} <= set(found["reports"][0])
    assert "cannot tell" in found["sentence"]
    assert RUNNER.invoke(app, ["compare", str(project), "small"]).exit_code == 2
    assert "Class by class" in RUNNER.invoke(app, ["compare", str(project), "small", "other"]).stdout


def test_the_leaderboard_comes_as_markdown_latex_and_csv(project: Path) -> None:
    def printed(form: str) -> list[str]:
        return RUNNER.invoke(app, ["compare", str(project), form]).stdout.strip().splitlines()

    markdown = printed("--markdown")
    assert [line.count("|") for line in markdown] == [markdown[0].count("|")] * 4
    assert markdown[0].startswith("| model | acc train | acc val | test |")
    assert printed("--latex")[0].startswith(r"\begin{tabular}{lr")
    assert printed("--csv")[0].startswith("rank,model_id,seeds,acc_val,acc_val_low")
    assert RUNNER.invoke(app, ["compare", str(project), "--csv", "--latex"]).exit_code == 2


def test_evaluate_says_where_every_figure_lies(project: Path) -> None:
    output = RUNNER.invoke(app, ["evaluate", str(project), "small"]).stdout
    assert "cohen kappa" in output
    assert "roc auc macro" in output
    assert RUNNER.invoke(app, ["evaluate", str(project), "small", "--folds", "1"]).exit_code == 2


def test_explaining_files_writes_a_picture_for_each_that_can_be_read(
    images: Path, project: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.png").write_bytes(b"nothing")
    inputs = [str(images / "blue" / "00.png"), str(tmp_path / "broken.png")]
    options = ["--folder", str(tmp_path / "why"), "--method", "integrated-gradients", "--json"]
    rows = json.loads(RUNNER.invoke(app, ["explain", str(project), *inputs, *options]).stdout)
    assert [Path(row["picture"]).is_file() and bool(row["picture"]) for row in rows] == [True, False]
    assert RUNNER.invoke(app, ["explain", str(project), "--method", "magic"]).exit_code == 2
    assert "map" in RUNNER.invoke(app, ["explain", str(project), "--model", "other"]).stdout


def test_predict_may_answer_none_of_these(images: Path, project: Path) -> None:
    inputs = ["predict", str(project), str(images / "blue" / "00.png"), "--unknown", "--kept", "0", "--json"]
    (row,) = json.loads(RUNNER.invoke(app, inputs).stdout)
    assert row["answer"] in {"none of these", row["top"][0]["class"]}
    csv = RUNNER.invoke(app, [*inputs[:-1], "--csv"]).stdout
    assert csv.startswith("path,error,answer,class_1")


def test_predictions_come_as_table_csv_and_json(images: Path, project: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"nothing")
    inputs = [str(images / "blue" / "00.png"), str(tmp_path / "broken.png")]
    rows = json.loads(RUNNER.invoke(app, ["predict", str(project), *inputs, "--top", "2", "--json"]).stdout)
    assert [len(row["top"]) for row in rows] == [2, 0]
    assert rows[0]["error"] is None
    assert "no known image format" in rows[1]["error"]
    csv = RUNNER.invoke(app, ["predict", str(project), *inputs, "--top", "1", "--csv"]).stdout
    assert csv.splitlines()[0] == "path,error,class_1,probability_1"
    assert RUNNER.invoke(app, ["predict", str(project), *inputs]).exit_code == 0


def test_a_setting_can_be_changed_and_gives_the_run_a_name_of_its_own(project: Path) -> None:
    arguments = ["train", str(project), "--recipe", str(project.parent / "small.yaml"), "--set", "training.epochs=2"]
    result = RUNNER.invoke(app, [*arguments, "--json"])
    assert [row["model_id"] for row in json.loads(result.stdout)] == ["small-epochs2"]
    wrong = RUNNER.invoke(app, [*arguments[:-1], "training.epoch=2"])
    assert wrong.exit_code == 2
    assert "did you mean 'epochs'" in wrong.stderr


def test_a_backbone_without_weights_at_hand_names_those_that_are(project: Path) -> None:
    result = RUNNER.invoke(app, ["train", str(project), "--backbone", "no_such_net"])
    assert result.exit_code == 2
    assert "timm has no backbone" in result.stderr


def test_brackets_in_a_text_are_printed_as_they_are(images: Path, project: Path, tmp_path: Path) -> None:
    (tmp_path / "IMG [copy].png").write_bytes(b"nothing")
    output = RUNNER.invoke(app, ["predict", str(project), str(tmp_path / "IMG [copy].png")]).stdout
    assert "[copy]" in output.replace("\n", "")


def test_options_that_would_be_ignored_are_a_wrong_call(images: Path, project: Path, tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text("clean: {size: 24}")
    assert (
        RUNNER.invoke(app, ["run", str(images), "--plan", str(tmp_path / "plan.yaml"), "--size", "32"]).exit_code == 2
    )
    assert RUNNER.invoke(app, ["train", str(project), "-r", "demo-cnn", "--head", "2dense"]).exit_code == 2


def test_the_public_set_says_what_to_do_where_it_cannot_be_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    result = RUNNER.invoke(app, ["run", "animals10"])
    assert result.exit_code == 1
    assert "pip install 'linnaeus[kaggle]'" in result.stderr
