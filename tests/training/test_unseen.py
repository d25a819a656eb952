"""The test part is unseen: whatever it holds, training ends with the very same weights."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from tiny_images import tiny_images, transfer_of

from colours import write_images
from linnaeus import stages
from linnaeus.data.split import Splits
from linnaeus.files import write_table
from linnaeus.networks.classifier import build_classifier
from linnaeus.recipe import Recipe
from linnaeus.settings import CleanRecipe
from linnaeus.training.fit import Fitted
from linnaeus.training.train import TrainingImages, train_classifier

pytestmark = pytest.mark.usefixtures("one_thread")

SIDE = 32
COUNTS = {"dark": 20, "light": 12}
SCRATCH = {"kind": "scratch", "conv_widths": [4], "pool_sizes": [4], "batch_norm": True, "padding": True}
TRANSFER = transfer_of(SIDE)
FITTED = {key: value for key, value in TRANSFER.items() if key != "dense_widths"}
TUNED = TRANSFER | {"unfrozen_last_layers": 8}
KINDS: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "scratch": (SCRATCH, {"augment": {}}),
    "frozen": (TRANSFER, {"augment": None}),
    "frozen, augmented": (TRANSFER, {"augment": {}}),
    "frozen, in two views": (TRANSFER, {"augment": {}, "views": 2}),
    "probe": (FITTED | {"head": "probe"}, {"augment": None, "balance": "class-weights"}),
    "nearest neighbours": (FITTED | {"head": "knn"}, {"augment": None, "balance": "none"}),
    "fine-tuned": (TUNED, {"augment": None, "balance": "up"}),
    "fine-tuned, augmented": (TUNED | {"batch_norm": "updated"}, {"augment": {}, "balance": "class-weights"}),
}


def _recipe(model: dict[str, object], data: dict[str, object]) -> Recipe:
    training = {"epochs": 3, "learning_rate": 0.01, "patience": 1, "batch_size": 8, "precision": "32-true"}
    return Recipe.model_validate({"name": "tiny", "model": model, "data": data, "training": training})


@pytest.fixture
def images(tmp_path: Path) -> TrainingImages:
    """Dark and light images, hard to tell apart, with their splits."""
    levels = {"dark": (20, 170), "light": (60, 210)}
    return tiny_images(tmp_path, COUNTS, SIDE, levels=levels, keeps_test=True)


def _with_other_labels(table: pd.DataFrame, part: str) -> pd.DataFrame:
    """The table in which every image of a part has the label and the category of another class."""
    classes = table.drop_duplicates("label").set_index("label")["category"].sort_index()
    is_of_part, changed = table["split"].eq(part), table.copy()
    changed.loc[is_of_part, "label"] = (table["label"] + 1) % len(classes)
    changed["category"] = changed["label"].map(classes)
    assert int((changed["label"] != table["label"]).sum()) == int(is_of_part.sum()) > 0
    return changed


def _poisoned(images: TrainingImages) -> TrainingImages:
    """The same but for the test part: its files are gone, its hashes are made up, and every label is wrong."""
    relpaths = images.splits.test["relpath"]
    for relpath in relpaths:
        (images.folder / relpath).unlink()
    hashes = images.hashes.copy()
    hashes[relpaths] = "f" * 64
    splits = Splits(_with_other_labels(images.splits.table, "test"))
    caches = {"cache": images.cache.with_name("other"), "pixels": images.pixels.with_name("others")}
    return replace(images, splits=splits, hashes=hashes, **caches)


def _trained(recipe: Recipe, images: TrainingImages) -> tuple[dict[str, torch.Tensor], Fitted]:
    classifier = build_classifier(recipe.model, sorted(COUNTS), CleanRecipe(size=SIDE), pretrained=False)
    fitted = train_classifier(classifier, recipe, images)
    return classifier.state_dict(), fitted


def _differences(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> list[str]:
    return [name for name, value in one.items() if not torch.equal(value, other[name])]


@pytest.mark.parametrize("kind", KINDS)
def test_no_test_image_and_no_test_label_has_a_part_in_training(kind: str, images: TrainingImages) -> None:
    recipe = _recipe(*KINDS[kind])
    honest, fitted = _trained(recipe, images)
    blind, fitted_blind = _trained(recipe, _poisoned(images))
    assert _differences(honest, blind) == []
    assert fitted.best_epoch == fitted_blind.best_epoch
    histories = [each.history.drop(columns="seconds") for each in (fitted, fitted_blind)]
    pd.testing.assert_frame_equal(histories[0], histories[1], check_exact=True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_training_label_would_have_been_noticed(kind: str, images: TrainingImages) -> None:
    recipe = _recipe(*KINDS[kind])
    honest, _ = _trained(recipe, images)
    misled, _ = _trained(recipe, replace(images, splits=Splits(_with_other_labels(images.splits.table, "train"))))
    assert _differences(honest, misled)


def test_the_train_stage_gives_the_very_same_model_without_the_test_part(tmp_path: Path) -> None:
    project = tmp_path / "p"
    stages.catalogue(write_images(tmp_path / "images"), project)
    stages.clean(project, CleanRecipe(size=SIDE))
    splits = stages.split(project)
    models = []
    for kind in ("scratch", "nearest neighbours"):
        recipe = _recipe(*KINDS[kind])
        models.append((recipe, (stages.train(project, recipe, force=True).folder / "model.safetensors").read_bytes()))
    for relpath in splits.test["relpath"]:
        (project / "clean" / relpath).unlink()
    write_table(_with_other_labels(pd.read_parquet(project / "splits.parquet"), "test"), project / "splits.parquet")
    for recipe, honest in models:
        blind = stages.train(project, recipe, force=True).folder / "model.safetensors"
        assert blind.read_bytes() == honest
