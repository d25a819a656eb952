from pathlib import Path

import pandas as pd
import pytest
import yaml

from linnaeus.errors import RecipeError
from linnaeus.networks.backbone import ALIASES
from linnaeus.recipe import (
    RECIPE_FOLDER,
    Plan,
    Recipe,
    canonical_name,
    checked,
    default_recipes,
    load_plan,
    load_recipe,
    recipe_names,
    transfer_recipe,
)
from linnaeus.recipe_sections import HEADS, ScratchRecipe, TransferRecipe
from linnaeus.settings import CleanRecipe, SplitRecipe

BALANCES = {"min": "down", "max": "up", "mean": "mid"}


def _numbers(text: object) -> tuple[float, ...]:
    return () if pd.isna(text) else tuple(float(part) for part in str(text).split("-"))  # type: ignore[call-overload]


def _epochs_in_all(recipe: Recipe) -> int:
    """The recipe's epochs and those of what it starts from."""
    before = _epochs_in_all(load_recipe(recipe.starts_from)) if recipe.starts_from else 0
    return recipe.training.epochs + before


def _patience(cell: float) -> int | None:
    return None if pd.isna(cell) else int(cell)


def test_there_are_recipes() -> None:
    assert len(recipe_names()) >= 27 + 15


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_that_comes_along_loads_under_its_file_s_name(name: str) -> None:
    assert load_recipe(name).name == name


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_starts_from_one_that_has_the_same_layers(name: str) -> None:
    recipe = load_recipe(name)
    if recipe.starts_from is None:
        return
    earlier = load_recipe(recipe.starts_from).model
    same = {"unfrozen_last_layers": 0}
    assert recipe.model.model_copy(update=same) == earlier.model_copy(update=same)


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_s_header_tells_the_command_that_runs_it(name: str) -> None:
    header = (RECIPE_FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    command = "linnaeus demo" if name.startswith("demo-") else f"linnaeus train PROJECT --recipe {name}"
    assert f"# {command}\n" in header


def test_every_cnn_of_the_deck_is_found_by_its_model_id_and_is_that_cnn(shared: Path) -> None:
    zoo = pd.read_csv(shared / "reference" / "zoo.csv")
    assert len(zoo) == 27
    for row in zoo.to_dict("records"):
        recipe = load_recipe(str(row["model_id"]))
        model = recipe.model
        assert isinstance(model, ScratchRecipe), row["model_id"]
        assert model.conv_widths == _numbers(row["conv_widths"]), row["model_id"]
        assert model.pool_sizes == _numbers(row["pool_sizes"]), row["model_id"]
        assert model.dense_widths == _numbers(row["dense_widths"]), row["model_id"]
        assert model.dropouts == _numbers(row["dropouts"]), row["model_id"]
        assert recipe.training.learning_rate == row["learning_rate"], row["model_id"]
        assert _epochs_in_all(recipe) == row["epochs"], row["model_id"]
        assert recipe.training.patience == _patience(row["patience"]), row["model_id"]
        assert recipe.data.balance == BALANCES[str(row["train_sampling"])], row["model_id"]
        assert recipe.data.augment is not None, row["model_id"]


def test_each_cnn_of_the_deck_has_a_recipe_of_its_own(shared: Path) -> None:
    zoo = pd.read_csv(shared / "reference" / "zoo.csv")
    assert len({load_recipe(model_id).name for model_id in zoo["model_id"]}) == 27


def _transfer_recipe_of(row: dict[str, object]) -> Recipe:
    """The deck gives two models one name, which differ in the rate."""
    name = str(row["model_id"])
    twins = {"mobnet2_small_tune20", "resnet2_small_finetune"}
    if name not in twins:
        return load_recipe(name)
    return load_recipe(f"{name}-{'1e-4' if row['learning_rate'] == 0.0001 else '1e-5'}")


def test_every_transfer_model_of_the_deck_has_its_recipe(shared: Path) -> None:
    rows = pd.read_csv(shared / "reference" / "transfer.csv").to_dict("records")
    recipes = [_transfer_recipe_of({str(key): value for key, value in row.items()}) for row in rows]
    assert len({recipe.name for recipe in recipes}) == len(rows) == 15
    for row, recipe in zip(rows, recipes, strict=True):
        model, name = recipe.model, row["model_id"]
        assert isinstance(model, TransferRecipe), name
        assert model.backbone == ALIASES[str(row["backbone"])], name
        assert model.dense_widths == _numbers(row["head_dense_widths"]), name
        assert model.dropouts == _numbers(row["head_dropouts"]), name
        assert model.unfrozen_last_layers == row["unfrozen_last_layers"], name
        assert model.input_size == 224, name
        assert recipe.training.epochs == row["epochs"], name
        assert recipe.training.patience == _patience(row["patience"]), name
        if recipe.training.epochs:
            assert recipe.training.learning_rate == row["learning_rate"], name
        assert recipe.data.balance == "mid", name


def test_what_the_deck_fine_tunes_starts_from_what_the_deck_names(shared: Path) -> None:
    rows = pd.read_csv(shared / "reference" / "transfer.csv").to_dict("records")
    for row in rows:
        stage, recipe = (
            str(row["stage"]),
            _transfer_recipe_of({str(key): value for key, value in row.items()}),
        )
        if stage.startswith("finetune of "):
            assert recipe.starts_from == canonical_name(stage.removeprefix("finetune of "))
        elif stage == "continued":
            assert recipe.starts_from == "mobnet2-small-tune20-1e-4"
        else:
            assert recipe.starts_from is None


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("conv4invto128_dense256_upsamp", "conv4invto128-dense256-up"),
        ("conv4invto128-dense256-upsamp", "conv4invto128-dense256-up"),
        ("conv4invto128-dense256-up", "conv4invto128-dense256-up"),
        ("base_upsamp_augment+", "base-up-augment+"),
        ("base-upsamp-augment+", "base-up-augment+"),
        ("base_downsamp_augment+", "base-downsamp-augment+"),
        ("conv5invto128_dense1 (continued to 70)", "conv5invto128-dense1-70"),
        ("conv4lesspoll_dense1 (80)", "conv4lesspoll-dense1-80"),
        ("mobnet2_dense256 (again)", "mobnet2-dense256-again"),
        ("effnet2S_small_finetune", "effnet2s-small-finetune"),
        ("effnet2S-small", "effnet2s-small"),
    ],
)
def test_a_recipe_is_found_by_each_spelling_of_the_deck(spelling: str, name: str) -> None:
    assert load_recipe(spelling).name == name


def test_an_unknown_name_gets_the_nearest_ones() -> None:
    with pytest.raises(RecipeError, match=r"did you mean .*mobnet2-small"):
        load_recipe("mobnet2-smal")


def test_a_name_like_no_other_gets_the_way_to_the_list() -> None:
    with pytest.raises(RecipeError, match="linnaeus models"):
        load_recipe("zzzzzzzz")


def test_a_recipe_of_one_s_own_is_loaded_by_path(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text("name: small\nmodel: {kind: scratch, conv_widths: [4], pool_sizes: [2]}\n")
    recipe = load_recipe(path)
    assert isinstance(recipe.model, ScratchRecipe)
    assert (recipe.name, recipe.model.conv_widths, recipe.training.epochs) == ("small", (4,), 15)


def test_a_missing_recipe_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.yaml"):
        load_recipe(tmp_path / "none.yaml")


def test_a_file_that_is_no_yaml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("name: [unclosed")
    with pytest.raises(RecipeError, match=r"broken\.yaml is not valid YAML"):
        load_recipe(path)


@pytest.mark.parametrize("content", [b"", b"just words", b"- a\n- list\n", b"\xff\xfe\x00"])
def test_a_file_that_holds_no_recipe_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=r"odd\.yaml"):
        load_recipe(path)


def test_a_saved_recipe_comes_back_the_same(tmp_path: Path) -> None:
    for name in recipe_names():
        recipe = load_recipe(name)
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
        assert load_recipe(path) == recipe


@pytest.mark.parametrize(
    ("key", "value", "meant"),
    [
        ("training.epoch", 3, "'epochs'"),
        ("training.learning_rat", 0.1, "'learning_rate'"),
        ("data.ballance", "up", "'balance'"),
        ("data.augment.hues", 0.1, "'hue'"),
        ("model.conv_width", [4], "'conv_widths'"),
    ],
)
def test_an_unknown_setting_gets_the_one_that_was_meant(key: str, value: object, meant: str) -> None:
    with pytest.raises(RecipeError, match=f"no such setting; did you mean {meant}"):
        load_recipe("conv3-dense1").changed({key: value})


def test_a_setting_like_no_other_is_refused_without_a_guess() -> None:
    with pytest.raises(RecipeError, match=r"no such setting$"):
        load_recipe("conv3-dense1").changed({"training.qqqqqq": 1})


def test_a_change_changes_that_setting_alone() -> None:
    recipe = load_recipe("conv3-dense1")
    changed = recipe.changed({"training.epochs": 2})
    assert changed.training.epochs == 2
    assert changed.model_copy(update={"name": recipe.name, "training": recipe.training}) == recipe
    assert changed.training.model_copy(update={"epochs": 35}) == recipe.training


def test_a_changed_recipe_is_named_after_its_changes() -> None:
    changed = load_recipe("conv3-dense1").changed({"training.epochs": 2, "data.balance": "up"})
    assert changed.name == "conv3-dense1-balanceup-epochs2"


def test_a_changed_recipe_may_have_a_name_of_its_own() -> None:
    assert load_recipe("conv3-dense1").changed({"training.epochs": 2}, name="mine").name == "mine"


def test_another_seed_has_a_name_of_its_own_and_starts_from_the_run_with_that_seed() -> None:
    recipe = load_recipe("lite0-dense256-finetune")
    seeded = recipe.seeded(2)
    assert (seeded.name, seeded.training.seed) == ("lite0-dense256-finetune-seed2", 2)
    assert seeded.starts_from == "lite0-dense256-seed2"
    assert recipe.seeded(recipe.training.seed) is recipe
    assert load_recipe("lite0-dense256-seed2") == load_recipe("lite0-dense256").seeded(2)


def test_augmentation_can_be_switched_off() -> None:
    assert load_recipe("conv3-dense1").changed({"data.augment": None}).data.augment is None


def test_one_setting_of_augmentation_can_be_changed() -> None:
    augment = load_recipe("conv3-dense1").changed({"data.augment.flip_vertical": False}).data.augment
    assert augment is not None
    assert (augment.flip_vertical, augment.flip_horizontal) == (False, True)


@pytest.mark.parametrize("key", ["trainning.epochs", "name.epochs", "training.epochs.more"])
def test_a_change_in_no_section_is_refused(key: str) -> None:
    with pytest.raises(RecipeError, match="no section"):
        load_recipe("conv3-dense1").changed({key: 2})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training.epochs", -1),
        ("training.learning_rate", 0),
        ("training.batch_size", 0),
        ("training.patience", 0),
        ("data.balance", "sideways"),
        ("data.balance", 0),
        ("model.dropouts", [1.0]),
        ("model.conv_widths", []),
        ("model.dense_widths", [0]),
        ("training.precision", "64"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_with_its_place(key: str, value: object) -> None:
    with pytest.raises(RecipeError, match=key.replace(".", r"\.")):
        load_recipe("conv3-dense1").changed({key: value})


def test_as_many_pools_as_convolutions_are_needed() -> None:
    with pytest.raises(RecipeError, match="3 conv_widths but 2 pool_sizes"):
        load_recipe("conv3-dense1").changed({"model.pool_sizes": [2, 2]})


def test_as_many_dropouts_as_dense_layers_are_needed() -> None:
    with pytest.raises(RecipeError, match="1 dense_widths but 2 dropouts"):
        load_recipe("conv3-dense1").changed({"model.dropouts": [0.1, 0.2]})


@pytest.mark.parametrize("head", HEADS)
def test_a_head_of_the_deck_may_be_given_by_name(head: str) -> None:
    content = {"name": "x", "model": {"kind": "transfer", "backbone": "resnet18", "head": head}}
    model = checked(Recipe, content, where="x").model
    assert (model.dense_widths, model.dropouts) == HEADS[head]


def test_the_named_heads_are_the_deck_s() -> None:
    for head, name in {"dense128": "mobnet2-small", "dense256": "mobnet2-dense256"}.items():
        assert HEADS[head][0] == load_recipe(name).model.dense_widths
    for head in ("2dense", "3dense"):
        model = load_recipe(f"mobnet2-{head}").model
        assert HEADS[head] == (model.dense_widths, model.dropouts)


def test_an_unknown_head_is_refused_with_the_known_ones() -> None:
    content = {"name": "x", "model": {"kind": "transfer", "head": "dense512"}}
    with pytest.raises(RecipeError, match="no head 'dense512'; there are dense128, dense256, 2dense, 3dense"):
        checked(Recipe, content, where="x")


def test_a_named_head_and_its_own_widths_contradict_each_other() -> None:
    content = {"name": "x", "model": {"kind": "transfer", "head": "dense128", "dense_widths": [4]}}
    with pytest.raises(RecipeError, match="either head, or"):
        checked(Recipe, content, where="x")


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "with space"])
def test_a_name_that_cannot_be_a_folder_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match="name"):
        checked(Recipe, {"name": name, "model": {"kind": "transfer"}}, where="x")


def test_an_unknown_kind_of_model_is_refused() -> None:
    with pytest.raises(RecipeError, match="kind"):
        checked(Recipe, {"name": "x", "model": {"kind": "magic"}}, where="x")


@pytest.mark.parametrize("head", ["dense128", "dense256", "2dense", "3dense"])
def test_any_backbone_gets_a_recipe_trained_as_the_deck_trains_such(head: str) -> None:
    recipe = transfer_recipe("convnext_tiny.fb_in1k", head)
    assert recipe.name == f"convnext_tiny.fb_in1k-{head}"
    assert isinstance(recipe.model, TransferRecipe)
    assert recipe.model.backbone == "convnext_tiny.fb_in1k"
    assert recipe.model.unfrozen_last_layers == 0
    assert recipe.data.augment is None
    assert recipe.training.learning_rate == 0.0005


def test_a_backbone_from_a_hub_gets_a_name_without_slashes() -> None:
    assert transfer_recipe("hf-hub:timm/resnet18.a1_in1k").name == "hf-hub-timm-resnet18.a1_in1k-dense256"


def test_a_plan_may_name_recipes_and_contain_them(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("name: own\nmodel: {kind: transfer, backbone: resnet18}\n")
    path = tmp_path / "plan.yaml"
    inside = {"name": "inside", "model": {"kind": "scratch", "conv_widths": [4], "pool_sizes": [2]}}
    content = {"rename": "animals10", "split": {"val": 0.1}, "recipes": ["mobnet2_small", str(own), inside]}
    path.write_text(yaml.safe_dump(content))
    plan = load_plan(path)
    assert [recipe.name for recipe in plan.recipes] == ["mobnet2-small", "own", "inside"]
    assert (plan.rename, plan.split.val, plan.split.test, plan.clean.size) == ("animals10", 0.1, 0.1, 224)


def test_a_plan_without_recipes_trains_the_default_ones(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text("clean: {size: 64}\n")
    assert load_plan(path).recipes == default_recipes()


def test_the_default_job_has_a_probe_a_frozen_backbone_a_fine_tuned_one_and_a_cnn_from_scratch() -> None:
    probe, frozen, tuned, scratch = Plan().recipes
    assert isinstance(probe.model, TransferRecipe)
    assert probe.model.head == "probe"
    assert isinstance(scratch.model, ScratchRecipe)
    assert isinstance(frozen.model, TransferRecipe)
    assert isinstance(tuned.model, TransferRecipe)
    assert frozen.model.unfrozen_last_layers == 0 < tuned.model.unfrozen_last_layers
    assert tuned.starts_from == frozen.name


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("recipes: []\n", "recipes"),
        ("recipes: [conv3-dense9]\n", "conv3-dense1"),
        ("renames: animals10\n", "did you mean 'rename'"),
        ("split: {val: 0.6, test: 0.4}\n", "leave a share for training"),
        ("clean: {size: 2}\n", "size"),
        ("rename: animals11\n", "rename"),
    ],
)
def test_a_wrong_plan_is_refused_with_the_reason(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(content)
    with pytest.raises(RecipeError, match=complaint):
        load_plan(path)


def test_the_defaults_are_the_deck_s() -> None:
    assert (CleanRecipe().size, CleanRecipe().fit) == (224, "squash")
    assert (SplitRecipe().val, SplitRecipe().test, SplitRecipe().seed) == (0.2, 0.1, 5)
