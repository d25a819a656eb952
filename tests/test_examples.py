"""The notebooks in examples/, run from top to bottom on a few small images."""

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from linnaeus.project import Project

EXAMPLES = Path(__file__).parents[1] / "examples"
NOTEBOOKS = ("1-preprocessing.ipynb", "2-cnns-from-scratch.ipynb", "3-transfer-learning.ipynb")
COLOURS = {"cane": (200, 90, 40), "gatto": (60, 170, 80), "ragno": (50, 80, 200)}
IMAGES_A_CLASS = 20
SIDE = 96  # pixels; the deck's five convolutions need 94

Variables = dict[str, Any]


def _content(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((EXAMPLES / name).read_text(encoding="utf-8"))
    return content


def _code(name: str) -> Iterator[tuple[str, str]]:
    """(id, source) of each code cell."""
    for cell in _content(name)["cells"]:
        if cell["cell_type"] == "code":
            yield cell["id"], "".join(cell["source"])


def _write_images(folder: Path) -> None:
    """A noisy square on a noisy ground, in the colour of its class; every fourth image is a PNG with alpha."""
    random = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for number in range(IMAGES_A_CLASS):
            pixels = random.integers(0, 90, (64, 64, 3))
            left, top = random.integers(4, 28, 2)
            pixels[top : top + 32, left : left + 32] += np.array(colour) // 2
            image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            if number % 4:
                image.save(folder / name / f"{number:02}.jpg")
            else:
                image.convert("RGBA").save(folder / name / f"{number:02}.png")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the notebooks are run in."""
    return tmp_path_factory.mktemp("examples")


@pytest.fixture(scope="module")
def notebooks(place: Path) -> Iterator[list[Variables]]:
    """The variables that each notebook leaves, all run in order, as a reader would run them."""
    _write_images(place / "raw-img")
    settings = {"IMAGES": "raw-img", "PROJECT": "animals", "EPOCHS": "1", "SIZE": str(SIDE)}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        for name, value in settings.items():
            patch.setenv(f"LINNAEUS_{name}", value)
        left = []
        for name in NOTEBOOKS:
            variables: Variables = {"__name__": "__main__"}
            for cell, source in _code(name):
                exec(compile(source, f"{name}, cell {cell}", "exec"), variables)
            plt.close("all")
            left.append(variables)
        yield left


@pytest.fixture(scope="module")
def project(notebooks: list[Variables], place: Path) -> Project:
    return Project(place / "animals")


def test_the_first_notebook_catalogues_every_image_under_its_english_class(notebooks: list[Variables]) -> None:
    by_class = notebooks[0]["catalogue"].by_class()
    assert by_class.to_dict() == dict.fromkeys(["cat", "dog", "spider"], IMAGES_A_CLASS)


def test_the_first_notebook_cleans_to_square_rgb_jpegs(notebooks: list[Variables], project: Project) -> None:
    cleaned = notebooks[0]["cleaned"].images
    assert {*zip(cleaned["width"], cleaned["height"], cleaned["mode"], strict=True)} == {(SIDE, SIDE, "RGB")}
    assert len([*project.clean_folder.rglob("*.jpg")]) == len(cleaned) == 3 * IMAGES_A_CLASS


def test_the_first_notebook_divides_seven_to_two_to_one_in_every_class(notebooks: list[Variables]) -> None:
    counts = notebooks[0]["splits"].counts()
    assert counts.to_dict("list") == {"train": [14] * 3, "val": [4] * 3, "test": [2] * 3}


def test_the_first_notebook_draws_a_batch_of_preprocessed_images(notebooks: list[Variables]) -> None:
    batch = notebooks[0]["batch"]
    assert tuple(batch.shape) == (8, 3, SIDE, SIDE)
    assert 0 <= float(batch.min()) < float(batch.max()) <= 1
    assert isinstance(notebooks[0]["figure"], Figure)


def test_the_second_notebook_shows_the_deck_s_table_3(notebooks: list[Variables]) -> None:
    summary = notebooks[1]["summary"]
    assert [*summary.layers["parameters"]] == [448, 0, 4640, 0, 18496, 0, 73856, 0, 0, 4718848, 0, 2570]
    assert (summary.total, summary.trainable) == (4_818_858, 4_818_858)


def test_the_second_notebook_logs_a_row_for_each_cnn_under_its_recipe_s_name(notebooks: list[Variables]) -> None:
    results = notebooks[1]["results"]
    assert [*results["model_id"]] == [
        "conv3invert-dense1",
        "conv5invto128-dense1",
        "conv5invto128-dense1-70",
        "conv4invto128-dense256-up",
    ]
    assert [*results["epochs"]] == [1, 1, 1, 1]
    assert results["accuracy"].between(0, 1).all()


def test_the_second_notebook_counts_a_continued_run_s_epochs_on(notebooks: list[Variables]) -> None:
    history = notebooks[1]["continued"].history
    assert [*history["epoch"]] == [1, 2]
    assert [*history["model_id"].unique()] == ["conv5invto128-dense1", "conv5invto128-dense1-70"]


def test_the_third_notebook_trains_the_head_alone_and_then_the_last_layers_too(notebooks: list[Variables]) -> None:
    frozen, finetuned = notebooks[2]["frozen"].training, notebooks[2]["finetuned"].training
    assert frozen.trainable_parameters < finetuned.trainable_parameters < finetuned.parameters == frozen.parameters


def test_the_third_notebook_sets_both_reports_side_by_side(notebooks: list[Variables]) -> None:
    reports = notebooks[2]["reports"]
    assert [*reports.columns.get_level_values(0).unique()] == ["frozen", "fine-tuned", ""]
    assert {"cat", "dog", "spider"} <= {*reports.index}


def test_the_third_notebook_compares_the_runs_of_both_and_reports_on_them(
    notebooks: list[Variables], project: Project
) -> None:
    assert len(notebooks[2]["comparison"].table) == len(pd.read_csv(project.results)) == 6
    page = project.report.read_text(encoding="utf-8")
    assert notebooks[2]["comparison"].chosen in page
    assert "lite0-dense256-finetune" in page


def test_the_third_notebook_names_raw_images_of_the_test_part(notebooks: list[Variables]) -> None:
    predictions = notebooks[2]["predictions"]
    assert len(predictions) == 5
    assert predictions["error"].eq("").all()
    assert predictions["class_1"].isin(["cat", "dog", "spider"]).all()
    assert all(Path(path).parts[0] == "raw-img" for path in predictions["path"])


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_explains_each_of_its_code_cells_in_the_cell_above(name: str) -> None:
    kinds = [cell["cell_type"] for cell in _content(name)["cells"]]
    assert all(above == "markdown" for above, kind in pairwise(kinds) if kind == "code")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_holds_no_outputs(name: str) -> None:
    cells = [cell for cell in _content(name)["cells"] if cell["cell_type"] == "code"]
    assert [cell["outputs"] for cell in cells] == [[]] * len(cells)
    assert {cell["execution_count"] for cell in cells} == {None}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_names_no_path_of_a_machine(name: str) -> None:
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    assert not re.findall(r"""["'(\s](?:/|~/|[A-Za-z]:\\)\w+""", text)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_plain_python_in_the_format_4_5_with_an_id_a_cell(name: str) -> None:
    content = _content(name)
    ids = [cell["id"] for cell in content["cells"]]
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    assert content["metadata"]["kernelspec"]["name"] == "python3"
    assert len(ids) == len({*ids})
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", cell_id) for cell_id in ids)
    for cell_id, source in _code(name):
        compile(source, cell_id, "exec")


def test_every_notebook_of_the_folder_is_run() -> None:
    assert [path.name for path in sorted(EXAMPLES.glob("*.ipynb"))] == [*NOTEBOOKS]
