from typing import Any

import pytest
import yaml

from linnaeus.errors import RecipeError
from linnaeus.recipe import Recipe, checked
from linnaeus.recipe_sections import FITTED_HEADS, AugmentRecipe, ScratchRecipe, TrainingRecipe, TransferRecipe


def _recipe(model: dict[str, Any] | None = None, **sections: Any) -> Recipe:
    return checked(Recipe, {"name": "x", "model": {"kind": "transfer"} | (model or {}), **sections}, where="x")


def _transfer(**model: Any) -> TransferRecipe:
    found = _recipe(model, data={"augment": None}).model
    assert isinstance(found, TransferRecipe)
    return found


@pytest.mark.parametrize("head", FITTED_HEADS)
def test_a_fitted_head_has_no_dense_layers(head: str) -> None:
    model = _transfer(head=head)
    assert (model.head, model.dense_widths, model.dropouts) == (head, (), ())


@pytest.mark.parametrize("head", FITTED_HEADS)
@pytest.mark.parametrize("more", [{"dense_widths": [8]}, {"unfrozen_last_layers": 3}, {"unfrozen_last_blocks": 1}])
def test_a_fitted_head_goes_neither_with_dense_layers_nor_with_fine_tuning(head: str, more: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=f"a {head} is fitted to frozen features"):
        _transfer(head=head, **more)


@pytest.mark.parametrize("head", ["probe", "knn", "mlp", "dense256"])
def test_a_recipe_with_a_named_head_comes_back_the_same_from_yaml(head: str) -> None:
    recipe = _recipe({"head": head}, data={"augment": None})
    assert checked(Recipe, yaml.safe_load(yaml.safe_dump(recipe.model_dump(mode="json"))), where="x") == recipe


def test_layers_and_blocks_to_unfreeze_contradict_each_other() -> None:
    with pytest.raises(RecipeError, match="either unfrozen_last_layers or unfrozen_last_blocks"):
        _transfer(unfrozen_last_layers=3, unfrozen_last_blocks=1)


@pytest.mark.parametrize(
    ("settings", "is_frozen"), [({}, True), ({"unfrozen_last_layers": 1}, False), ({"unfrozen_last_blocks": 1}, False)]
)
def test_a_backbone_is_frozen_where_nothing_of_it_is_trained(settings: dict[str, int], is_frozen: bool) -> None:
    assert _transfer(**settings).is_frozen is is_frozen


def test_several_backbones_stay_frozen_and_take_no_weights_from_a_file() -> None:
    with pytest.raises(RecipeError, match="several backbones stay frozen"):
        _transfer(more_backbones=["resnet18"], unfrozen_last_blocks=1)
    with pytest.raises(RecipeError, match="a weights file fits one backbone"):
        _transfer(more_backbones=["resnet18"], weights="own.safetensors")


def test_views_are_of_augmented_images() -> None:
    assert _recipe(data={"augment": {}, "views": 3}).data.views == 3
    with pytest.raises(RecipeError, match="without augment there is nothing to keep views of"):
        _recipe(data={"augment": None, "views": 3})


def test_by_default_a_cnn_and_its_training_are_the_deck_s_and_nothing_newer_is_on() -> None:
    model = ScratchRecipe(conv_widths=(4,), pool_sizes=(2,)).model_dump()
    training, augment = TrainingRecipe().model_dump(), AugmentRecipe().model_dump()
    assert model.items() >= {"padding": False, "batch_norm": False, "residual": False, "stem_stride": 1}.items()
    assert model["pooling"] == "flatten"
    assert training.items() >= {"optimizer": "adam", "schedule": "constant", "batch_size": 32}.items()
    newer = ("weight_decay", "warm_up", "label_smoothing", "mix_up", "cut_mix", "average", "unfreeze_epochs")
    assert {training[name] for name in newer} == {0}
    assert (training["backbone_rate"], training["layer_decay"]) == (1, 1)
    assert {augment[name] for name in ("shift", "rotate", "rand_augment", "erase")} == {0}


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("training", "optimizer", "lion"),
        ("training", "schedule", "steps"),
        ("training", "warm_up", 1),
        ("training", "label_smoothing", -0.1),
        ("training", "mix_up", -1),
        ("training", "average", 1),
        ("training", "backbone_rate", 0),
        ("training", "layer_decay", 1.5),
        ("training", "unfreeze_epochs", -1),
        ("training", "learning_rate", float("nan")),
        ("training", "learning_rate", float("inf")),
        ("training", "mix_up", float("inf")),
        ("training", "cut_mix", float("nan")),
        ("data", "views", 0),
    ],
)
def test_a_value_out_of_its_range_is_refused_with_its_place(section: str, key: str, value: object) -> None:
    with pytest.raises(RecipeError, match=rf"{section}\.{key}"):
        _recipe(**{section: {key: value}})
