"""What is cheap comes first, behind what it starts from; what it will take is told before."""

import math
from pathlib import Path

import pytest
import torch
from tiny_images import tiny_images, transfer_of

from linnaeus.networks.classifier import build_classifier
from linnaeus.recipe import Recipe, default_recipes
from linnaeus.settings import CleanRecipe
from linnaeus.training import cost
from linnaeus.training.cost import cheapest_first, estimated_seconds
from linnaeus.training.train import TrainingImages, train_classifier

SIDE = 16
CLEAN = CleanRecipe(size=SIDE)
SCRATCH: dict[str, object] = {"kind": "scratch", "conv_widths": [4], "pool_sizes": [4]}
TRANSFER = transfer_of(SIDE)
FITTED = {key: value for key, value in TRANSFER.items() if key != "dense_widths"}
TUNED = TRANSFER | {"unfrozen_last_layers": 8}
PLAIN: dict[str, object] = {"augment": None, "balance": "none"}


def recipe_of(
    name: str,
    model: dict[str, object] = SCRATCH,
    *,
    starts_from: str | None = None,
    data: dict[str, object] = PLAIN,
    epochs: int = 2,
) -> Recipe:
    training = {"epochs": epochs, "batch_size": 8}
    content = {"name": name, "model": model, "starts_from": starts_from, "data": data, "training": training}
    return Recipe.model_validate(content)


@pytest.fixture
def images(tmp_path: Path) -> TrainingImages:
    """Forty images, two classes; the test part's files are deleted."""
    return tiny_images(tmp_path, {"dark": 20, "light": 20}, SIDE)


def names(recipes: list[Recipe]) -> list[str]:
    return [recipe.name for recipe in recipes]


def test_the_cheapest_kinds_come_first_and_stay_as_they_came_within_a_kind() -> None:
    recipes = [
        recipe_of("scratch-b"),
        recipe_of("scratch-a"),
        recipe_of("tuned", TUNED),
        recipe_of("frozen", TRANSFER),
        recipe_of("knn", FITTED | {"head": "knn"}),
        recipe_of("probe", FITTED | {"head": "probe"}),
    ]
    assert names(cheapest_first(recipes)) == ["knn", "probe", "frozen", "tuned", "scratch-b", "scratch-a"]


def test_the_default_recipes_are_the_cheapest_first_already() -> None:
    assert cheapest_first(default_recipes()) == [*default_recipes()]


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_a_recipe_stays_behind_what_it_starts_from_in_whatever_order_they_come(order: tuple[int, ...]) -> None:
    recipes = [
        recipe_of("last", TRANSFER, starts_from="tuned"),  # of a cheaper kind than what it starts from
        recipe_of("tuned", TUNED, starts_from="first"),
        recipe_of("first", TRANSFER),
        recipe_of("scratch", starts_from="elsewhere"),
    ]
    found = names(cheapest_first([recipes[place] for place in order]))
    assert sorted(found) == ["first", "last", "scratch", "tuned"]
    assert [name for name in found if name != "scratch"] == ["first", "tuned", "last"]


def test_recipes_that_start_from_one_another_are_all_there_for_training_to_refuse() -> None:
    circle = [recipe_of("a", starts_from="b"), recipe_of("b", starts_from="a"), recipe_of("c", starts_from="c")]
    assert sorted(names(cheapest_first(circle))) == ["a", "b", "c"]


KINDS: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "scratch": (SCRATCH, {}),
    "frozen": (TRANSFER, PLAIN),
    "frozen, augmented": (TRANSFER, {}),
    "frozen, on views": (TRANSFER, {"views": 2}),
    "fine-tuned": (TUNED, PLAIN),
    "fine-tuned, augmented": (TUNED, {}),
    "wholly fine-tuned": (TRANSFER | {"unfrozen_last_layers": 1000}, PLAIN),
}


@pytest.mark.parametrize(("model", "data"), KINDS.values(), ids=KINDS)
def test_the_estimate_is_finite_and_more_for_many_more_epochs(
    images: TrainingImages, model: dict[str, object], data: dict[str, object]
) -> None:
    few, many = (
        estimated_seconds(recipe_of("r", model, data=data, epochs=epochs), images, CLEAN) for epochs in (1, 1000)
    )
    assert 0 < few < many < math.inf


@pytest.mark.parametrize("head", ["probe", "knn"])
def test_a_head_that_is_fitted_at_once_takes_a_pass_of_the_images_whatever_its_epochs(
    images: TrainingImages, monkeypatch: pytest.MonkeyPatch, head: str
) -> None:
    monkeypatch.setattr(cost, "_seconds_to_train", None)
    assert estimated_seconds(recipe_of("r", FITTED | {"head": head}, epochs=1000), images, CLEAN) > 0


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each image takes a second to pass the trunk, and a thousandth to be trained on."""
    monkeypatch.setattr(cost, "_passed", lambda trunk, inputs, images: (torch.zeros(8, 96), 1.0))
    monkeypatch.setattr(cost, "_seconds_to_train", lambda network, inputs, recipe: 0.001)


@pytest.mark.usefixtures("counted")
def test_every_image_passes_the_trunk_once_a_view_and_is_trained_on_once_an_epoch(images: TrainingImages) -> None:
    train, val = len(images.splits.train), len(images.splits.val)
    plain = estimated_seconds(recipe_of("r", TRANSFER, epochs=3), images, CLEAN)
    views = estimated_seconds(recipe_of("r", TRANSFER, data={"views": 2, "balance": 50}, epochs=3), images, CLEAN)
    assert plain == pytest.approx(train + val + 0.003 * (train + val / 3))
    assert views == pytest.approx(2 * train + val + 0.003 * (100 + val / 3))


@pytest.mark.usefixtures("counted")
def test_what_an_earlier_run_has_computed_is_not_counted_again(images: TrainingImages) -> None:
    recipe = recipe_of("r", TRANSFER, epochs=1)
    before = estimated_seconds(recipe, images, CLEAN)
    train_classifier(build_classifier(recipe.model, images.splits.classes, CLEAN), recipe, images)
    after = estimated_seconds(recipe, images, CLEAN)
    assert before > len(images.splits.train)
    assert 0 < after < 1
