"""The deck's models: what each is, what its recipe's header tells, how many parameters it has, and that it learns."""

import csv
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

from linnaeus.deck import DECK_TABLE, DeckRow, deck_ladder, deck_rows
from linnaeus.errors import RecipeError
from linnaeus.networks.backbone import ALIASES, count_parameters
from linnaeus.networks.classifier import Classifier, build_classifier, freeze
from linnaeus.recipe import RECIPE_FOLDER, load_recipe
from linnaeus.recipe_sections import ScratchRecipe, TransferRecipe
from linnaeus.settings import CleanRecipe

# recipe, convolutions, pools, dense layers, dropouts, rate, epochs in all, patience, balance
SCRATCH = """
base-downsamp-augment+         128-32          3-2       128    0.3     0.0007 15 5 down
base-up-augment+               128-32          3-2       128    0.3     0.0007 15 5 up
base-meansamp-augment+         128-32          3-2       128    0.3     0.0007 15 5 mid
conv4dense2                    128-64-64-32    3-3-2-2   128-32 0.3-0.2 0.0007 25 5 mid
conv4small-dense1              64-64-32-32     3-2-2-2   128    0.3     0.0007 30 5 mid
conv5-dense1                   128-64-32-32-16 3-2-2-2-2 128    0.3     0.0007 30 5 mid
conv5small-dense1              32-64-32-32-16  2-2-2-2-2 128    0.3     0.0007 30 5 mid
conv4small-dense2-lowlr        64-64-32-32     3-2-2-2   128-32 0.3-0.3 0.0005 30 5 mid
conv4lesspoll-dense1           64-64-32-32     2-2-2-2   128    0.3     0.0005 35 5 mid
conv3-dense2                   128-32-32       3-2-2     128-16 0.3-0.3 0.0005 35 5 mid
conv3-dense1                   128-64-32       3-2-2     128    0.3     0.0005 35 5 mid
conv3invert-dense1             32-64-128       3-2-2     128    0.3     0.0005 35 5 mid
conv4lesspollinv-dense1        16-32-64-64     2-2-2-2   128    0.3     0.0005 35 5 mid
conv4invto128-dense1           16-32-64-128    2-2-2-2   128    0.3     0.0005 35 5 mid
conv5invto128-dense1           8-16-32-64-128  2-2-2-2-2 128    0.3     0.0005 35 - mid
conv5invto128-dense1-70        8-16-32-64-128  2-2-2-2-2 128    0.3     0.0005 70 - mid
conv5invto128-dense1-80        8-16-32-64-128  2-2-2-2-2 128    0.3     0.0005 80 - mid
conv4invto128-dense1-80        16-32-64-128    2-2-2-2   128    0.3     0.0005 80 - mid
conv4lesspoll-dense1-80        64-64-32-32     2-2-2-2   128    0.3     0.0005 80 5 mid
conv4inv128-pool-dense256      16-32-64-128    3-2-2-2   256    0.3     0.0001 80 - mid
conv4inv8to128-pool-dense196   8-32-64-128     3-2-2-2   196    0.3     0.0001 80 - mid
conv4inv8to128-dense96         8-32-64-128     2-2-2-2   96     0.3     0.0001 80 - mid
conv4invto128-dense256         16-32-64-128    2-2-2-2   256    0.3     0.0005 80 - mid
conv4invto128-pool-dense256-up 16-32-64-128    3-2-2-2   256    0.3     0.0005 80 - up
conv4invto128-dense256-up      16-32-64-128    2-2-2-2   256    0.35    0.0005 80 - up
conv5invto128-dense256         8-16-32-64-128  2-2-2-2-2 256    0.3     0.0002 80 - mid
conv5invto128-dense256-up      8-16-32-64-128  2-2-2-2-2 256    0.3     0.0002 80 - up
"""

# recipe, backbone, unfrozen last layers, dense layers, dropouts, rate, epochs, patience, balance
TRANSFER = """
mobnet2-small-notraining       MobileNetV2     0  128       -           -       0  -  mid
mobnet2-small                  MobileNetV2     0  128       -           0.0007  15 5  mid
mobnet2-3dense                 MobileNetV2     0  32-64-128 0.2-0.3-0.2 0.0005  15 5  mid
mobnet2-2dense                 MobileNetV2     0  128-32    0-0.2       0.0005  15 5  mid
mobnet2-small-tune20-1e-5      MobileNetV2     20 128       -           0.00001 5  5  mid
mobnet2-small-tune20-1e-4      MobileNetV2     20 128       -           0.0001  5  5  mid
mobnet2-small-tune20-15epochs  MobileNetV2     20 128       -           0.0001  10 5  mid
resnet2-small                  ResNet50V2      0  128       -           0.0007  15 5  mid
resnet2-small-finetune-1e-4    ResNet50V2      20 128       -           0.0001  30 10 mid
resnet2-small-finetune-1e-5    ResNet50V2      20 128       -           0.00001 30 10 mid
effnet2s-small                 EfficientNetV2S 0  256       -           0.0005  12 5  mid
effnet2s-small-finetune        EfficientNetV2S 30 256       -           0.00001 35 10 mid
mobnet2-dense256               MobileNetV2     0  256       -           0.0005  13 5  mid
mobnet2-dense256-again         MobileNetV2     0  256       -           0.0005  13 5  mid
mobnet2-dense256-finetune      MobileNetV2     25 256       -           0.00001 30 10 mid
"""

STARTS_FROM = {
    "conv5invto128-dense1-70": "conv5invto128-dense1",
    "conv5invto128-dense1-80": "conv5invto128-dense1-70",
    "mobnet2-small-tune20-1e-5": "mobnet2-small",
    "mobnet2-small-tune20-1e-4": "mobnet2-small",
    "mobnet2-small-tune20-15epochs": "mobnet2-small-tune20-1e-4",
    "resnet2-small-finetune-1e-4": "resnet2-small",
    "resnet2-small-finetune-1e-5": "resnet2-small",
    "effnet2s-small-finetune": "effnet2s-small",
    "mobnet2-dense256-finetune": "mobnet2-dense256",
}

# Parameters with running statistics, without the classification layer; and the width of the features.
BACKBONES = {
    "MobileNetV2": (2_257_984, 1280),
    "ResNet50V2": (23_545_792, 2048),
    "EfficientNetV2S": (20_331_360, 1280),
}
TWINS = {"mobnet2_small_tune20", "resnet2_small_finetune"}  # two models each in the deck
CLASSES = 10
SIZE = 224

SCRATCH_ROWS = [line.split() for line in SCRATCH.strip().splitlines()]
TRANSFER_ROWS = [line.split() for line in TRANSFER.strip().splitlines()]
NAMES = [row[0] for row in (*SCRATCH_ROWS, *TRANSFER_ROWS)]
BACKBONE_OF = {row[0]: row[1] for row in TRANSFER_ROWS}


def numbers(cell: str) -> tuple[float, ...]:
    return () if cell == "-" else tuple(float(part) for part in cell.split("-"))


def epochs_in_all(name: str) -> int:
    recipe = load_recipe(name)
    is_one_row_s = isinstance(recipe.model, ScratchRecipe) and recipe.starts_from is not None
    return recipe.training.epochs + (epochs_in_all(str(recipe.starts_from)) if is_one_row_s else 0)


def check_training(name: str, cells: list[str]) -> None:
    rate, epochs, patience, balance = cells
    recipe = load_recipe(name)
    assert rate == "-" or recipe.training.learning_rate == float(rate)
    assert epochs_in_all(name) == int(epochs)
    assert recipe.training.patience == (None if patience == "-" else int(patience))
    assert recipe.data.balance == balance


def dense_parameters(inputs: int, widths: tuple[int, ...]) -> int:
    sides = (inputs, *widths, CLASSES)
    return sum(above * below + below for above, below in pairwise(sides))


def expected_parameters(name: str) -> int:
    model = load_recipe(name).model
    if isinstance(model, TransferRecipe):
        backbone, features = BACKBONES[BACKBONE_OF[name]]
        return backbone + dense_parameters(features, model.dense_widths)
    channels, side, parameters = 3, SIZE, 0
    for width, pool in zip(model.conv_widths, model.pool_sizes, strict=True):
        parameters += 9 * channels * width + width
        channels, side = width, (side - 2) // pool
    return parameters + dense_parameters(channels * side * side, model.dense_widths)


def built(name: str) -> Classifier:
    names = [str(label) for label in range(CLASSES)]
    classifier = build_classifier(load_recipe(name).model, names, CleanRecipe(size=SIZE), pretrained=False)
    freeze(classifier)
    return classifier


def header_parts(name: str) -> dict[str, str]:
    """The header's parts by their titles."""
    lines = (RECIPE_FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    parts: dict[str, str] = {}
    title = ""
    for line in [line.removeprefix("#").strip() for line in lines if line.startswith("#")]:
        begins = next((word for word in ("What", "Expected", "Cost", "Command") if line.startswith(f"{word}:")), "")
        title = begins or title
        parts[title] = f"{parts.get(title, '')} {line.removeprefix(f'{begins}:').strip()}".strip()
    return parts


def test_the_deck_has_its_42_models_in_its_order_each_with_a_recipe_of_its_own() -> None:
    assert [row.recipe for row in deck_rows()] == NAMES
    assert len(set(NAMES)) == 27 + 15


def test_a_row_of_the_deck_is_read_with_its_figures_and_without_those_that_it_lacks() -> None:
    rows = {row.recipe: row for row in deck_rows()}
    name = "conv4invto128-dense256-up"
    expected = DeckRow(name, "conv4invto128_dense256_upsamp", 0.87568, 0.73797, 0.71963, "scratch")
    assert rows[name] == expected
    untrained = rows["mobnet2-small-notraining"]
    assert (untrained.acc_train, untrained.acc_val, untrained.accuracy) == (None, None, 0.07945)


def test_the_groups_are_the_sampling_experiment_the_other_cnns_and_transfer() -> None:
    groups = [row.group for row in deck_rows()]
    assert groups == ["sampling"] * 3 + ["scratch"] * 24 + ["transfer"] * 15
    assert [load_recipe(row.recipe).data.balance for row in deck_rows()[:3]] == ["down", "up", "mid"]


@pytest.mark.parametrize("row", deck_rows(), ids=lambda row: row.recipe)
def test_the_deck_s_own_name_finds_the_recipe(row: DeckRow) -> None:
    if row.deck_name in TWINS:
        assert row.recipe.startswith(row.deck_name.replace("_", "-"))
    else:
        assert load_recipe(row.deck_name).name == row.recipe


@pytest.mark.parametrize("row", SCRATCH_ROWS, ids=lambda row: row[0])
def test_each_cnn_has_the_layers_and_the_training_of_its_row(row: list[str]) -> None:
    name, convolutions, pools, dense, dropouts, *training = row
    recipe = load_recipe(name)
    model = recipe.model
    assert isinstance(model, ScratchRecipe)
    assert (model.conv_widths, model.pool_sizes) == (numbers(convolutions), numbers(pools))
    assert (model.dense_widths, model.dropouts) == (numbers(dense), numbers(dropouts))
    assert (model.padding, model.batch_norm, model.residual, model.pooling) == (False, False, False, "flatten")
    assert recipe.data.augment is not None
    check_training(name, training)


@pytest.mark.parametrize("row", TRANSFER_ROWS, ids=lambda row: row[0])
def test_each_transfer_model_has_the_layers_and_the_training_of_its_row(row: list[str]) -> None:
    name, backbone, unfrozen, dense, dropouts, *training = row
    model = load_recipe(name).model
    assert isinstance(model, TransferRecipe)
    assert (model.backbone, model.input_size) == (ALIASES[backbone], SIZE)
    assert (model.unfrozen_last_layers, model.unfrozen_last_blocks) == (int(unfrozen), 0)
    assert (model.head, model.dense_widths, model.dropouts) == ("dense", numbers(dense), numbers(dropouts))
    check_training(name, training)


@pytest.mark.parametrize("name", NAMES)
def test_what_the_deck_goes_on_from_comes_before_it(name: str) -> None:
    earlier = load_recipe(name).starts_from
    assert earlier == STARTS_FROM.get(name)
    assert earlier is None or NAMES.index(earlier) < NAMES.index(name)


@pytest.mark.parametrize("name", NAMES)
def test_each_header_tells_what_it_is_what_to_expect_what_it_costs_and_the_command(name: str) -> None:
    with DECK_TABLE.open(encoding="utf-8") as file:
        (row,) = [row for row in csv.DictReader(file) if row["recipe"] == name]
    parts, training = header_parts(name), load_recipe(name).training
    assert [*parts] == ["What", "Expected", "Cost", "Command"]
    assert row["deck_name"] in parts["What"]
    figures = [("training", row["acc_train"]), ("validation", row["acc_val"]), ("test", row["accuracy"])]
    assert [f"{part} {figure}" in parts["Expected"] for part, figure in figures if figure] == [True] * (
        3 if row["acc_train"] else 1
    )
    assert (f"{training.epochs} epochs" if training.epochs else "no epochs") in parts["Cost"]
    assert (f"patience {training.patience}" in parts["Cost"]) == (training.patience is not None)
    assert parts["Command"] == f"linnaeus train PROJECT --recipe {name}"


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Two images are too little work to share out: waiting for one another costs more than it gains."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", NAMES)
def test_each_model_has_the_parameters_it_tells_and_one_step_changes_only_what_it_may(name: str) -> None:
    classifier = built(name).train()
    assert sum(count_parameters(classifier)) == expected_parameters(name)
    assert f"{count_parameters(classifier)[0]:,} trainable parameters" in header_parts(name)["Cost"]
    frozen = [p for p in classifier.parameters() if not p.requires_grad]
    trained = [p for p in classifier.parameters() if p.requires_grad]
    before = [[p.detach().clone() for p in some] for some in (frozen, trained)]
    torch.manual_seed(0)
    side = 64 if name in BACKBONE_OF else SIZE  # a backbone takes any; less is quicker
    logits = classifier(torch.rand(2, 3, side, side))
    assert logits.shape == (2, CLASSES)
    optimizer = torch.optim.Adam(trained, lr=load_recipe(name).training.learning_rate)
    cross_entropy(logits, torch.tensor([0, 1])).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    assert all(torch.equal(p, old) for p, old in zip(frozen, before[0], strict=True))
    assert all(torch.isfinite(p).all() for p in trained)
    assert not torch.equal(trained[-1], before[1][-1])


@pytest.mark.parametrize(
    ("only", "names"),
    [
        ("base*", NAMES[:3]),
        ("base_upsamp_augment+", ["base-up-augment+"]),
        ("*_UPSAMP*", ["base-up-augment+", *(name for name in NAMES if name.endswith("-up"))]),
        ("sampling", NAMES[:3]),
        ("transfer", NAMES[27:]),
        ("conv5invto128_dense1 (continued to 70)", ["conv5invto128-dense1", "conv5invto128-dense1-70"]),
        ("mobnet2-small-tune20-15*", [NAMES[28], "mobnet2-small-tune20-1e-4", "mobnet2-small-tune20-15epochs"]),
        ("resnet2_small_finetune", [name for name in NAMES if name.startswith("resnet2")]),
        ("*", NAMES),
    ],
)
def test_a_pattern_in_any_spelling_chooses_models_and_what_they_start_from(only: str, names: list[str]) -> None:
    assert [recipe.name for _, recipe in deck_ladder(only)] == names


def test_a_pattern_that_names_nothing_is_refused_with_the_names() -> None:
    with pytest.raises(RecipeError, match=r"'conv9\*'.* conv3-dense1"):
        deck_ladder("conv9*")


def test_scaled_recipes_are_called_otherwise_and_start_from_scaled_ones() -> None:
    ladder = [recipe for _, recipe in deck_ladder("conv5invto128-dense1*", 0.1)]
    names = ["conv5invto128-dense1", "conv5invto128-dense1-70", "conv5invto128-dense1-80"]
    assert [recipe.name for recipe in ladder] == [f"{name}-epochsx0.1" for name in names]
    assert [recipe.starts_from for recipe in ladder] == [None, *(recipe.name for recipe in ladder[:-1])]
    assert [recipe.training.epochs for recipe in ladder] == [4, 4, 1]


def test_scaling_changes_nothing_but_the_epochs() -> None:
    ((_, scaled),) = deck_ladder("conv3-dense1", 2)
    recipe = load_recipe("conv3-dense1")
    epochs = {"training": recipe.training.model_copy(update={"epochs": 70})}
    assert scaled == recipe.model_copy(update=epochs | {"name": scaled.name})


def test_a_scaled_recipe_keeps_at_least_one_epoch_and_none_where_it_has_none() -> None:
    epochs = {row.recipe: recipe.training.epochs for row, recipe in deck_ladder("mobnet2*", 0.001)}
    assert epochs.pop("mobnet2-small-notraining") == 0
    assert set(epochs.values()) == {1}


@pytest.mark.parametrize("epochs_scale", [0, -1, float("nan"), float("inf")])
def test_epochs_cannot_be_multiplied_by_nothing(epochs_scale: float) -> None:
    with pytest.raises(RecipeError, match="above 0"):
        deck_ladder("*", epochs_scale)


def test_the_typed_tables_are_those_of_the_reference(shared: Path) -> None:
    samplings = {"min": "down", "max": "up", "mean": "mid"}
    with (shared / "reference" / "zoo.csv").open(encoding="utf-8") as file:
        zoo = [
            [
                *(row[name] for name in ("conv_widths", "pool_sizes", "dense_widths", "dropouts")),
                *(row["learning_rate"], row["epochs"], row["patience"] or "-", samplings[row["train_sampling"]]),
            ]
            for row in csv.DictReader(file)
        ]
    columns = ("backbone", "unfrozen_last_layers", "head_dense_widths", "head_dropouts", "learning_rate", "epochs")
    with (shared / "reference" / "transfer.csv").open(encoding="utf-8") as file:
        transfer = [[*(row[name] or "-" for name in (*columns, "patience")), "mid"] for row in csv.DictReader(file)]
    assert [row[1:] for row in SCRATCH_ROWS] == zoo
    assert [row[1:] for row in TRANSFER_ROWS] == transfer
