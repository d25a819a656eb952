import json
from pathlib import Path

import pytest
import torch
from torch import nn

from linnaeus.errors import PredictionError, RecipeError, WeightsError
from linnaeus.networks.classifier import (
    FACTS_FILE,
    WEIGHTS_FILE,
    Classifier,
    build_classifier,
    continue_from,
    freeze,
    load_classifier,
    save_classifier,
    saved_megabytes,
)
from linnaeus.recipe_sections import ModelRecipe, ScratchRecipe, TransferRecipe
from linnaeus.settings import CleanRecipe

SCRATCH = ScratchRecipe(conv_widths=(4,), pool_sizes=(2,), dense_widths=(6,), dropouts=(0.5,))
TRANSFER = TransferRecipe(backbone="test_resnet", weights="random", input_size=32, dense_widths=(8,))
CLEAN = CleanRecipe(size=16, quality=80, fit="pad")
CLASSES = ("ant", "bär", "cat")


def _classifier(model: ModelRecipe = SCRATCH, seed: int = 0, classes: tuple[str, ...] = CLASSES) -> Classifier:
    return build_classifier(model, classes, CLEAN, pretrained=False, seed=seed)


def _logits(classifier: Classifier) -> torch.Tensor:
    size = classifier.facts.preprocessing.size
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        logits: torch.Tensor = classifier(images)
    return logits


@pytest.mark.parametrize("model", [SCRATCH, TRANSFER])
def test_a_classifier_gives_one_logit_a_class_in_evaluation_mode(model: ModelRecipe) -> None:
    classifier = _classifier(model)
    assert not classifier.training
    assert _logits(classifier).shape == (2, 3)
    assert torch.equal(_logits(classifier), _logits(classifier))


@pytest.mark.parametrize("model", [SCRATCH, TRANSFER])
def test_the_same_seed_gives_the_same_start_and_another_another(model: ModelRecipe) -> None:
    torch.manual_seed(7)
    first = _logits(_classifier(model, seed=1))
    torch.manual_seed(8)
    assert torch.equal(_logits(_classifier(model, seed=1)), first)
    assert not torch.equal(_logits(_classifier(model, seed=2)), first)


def test_building_leaves_the_global_random_state_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    _classifier()
    assert torch.equal(torch.rand(1), expected)


def test_an_image_too_small_for_the_layers_is_refused() -> None:
    deep = ScratchRecipe(conv_widths=(4, 4, 4), pool_sizes=(3, 3, 3))
    with pytest.raises(RecipeError, match="images of 16 pixels are too small"):
        _classifier(deep)


def test_an_unknown_backbone_is_refused() -> None:
    with pytest.raises(RecipeError, match="no backbone 'resnet1'"):
        _classifier(TransferRecipe(backbone="resnet1"))


def test_weights_that_are_not_there_are_told_before_anything_is_trained(tmp_path: Path) -> None:
    model = TRANSFER.model_copy(update={"weights": str(tmp_path / "none.pth")})
    with pytest.raises(WeightsError, match=r"none\.pth"):
        build_classifier(model, CLASSES, CLEAN)


@pytest.mark.parametrize("model", [SCRATCH, TRANSFER])
def test_a_saved_classifier_comes_back_with_the_very_same_logits_and_facts(tmp_path: Path, model: ModelRecipe) -> None:
    classifier = _classifier(model, seed=4)
    save_classifier(classifier, tmp_path)
    loaded = load_classifier(tmp_path)
    assert torch.equal(_logits(loaded), _logits(classifier))
    assert loaded.facts == classifier.facts
    assert loaded.facts.classes == CLASSES
    assert not loaded.training


def test_what_is_saved_is_json_and_safetensors_and_no_pickle(tmp_path: Path) -> None:
    save_classifier(_classifier(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([FACTS_FILE, WEIGHTS_FILE])
    json.loads((tmp_path / FACTS_FILE).read_text(encoding="utf-8"))
    content = (tmp_path / WEIGHTS_FILE).read_bytes()
    length = int.from_bytes(content[:8], "little")
    assert "head.0.weight" in json.loads(content[8 : 8 + length])


def test_the_size_of_a_saved_model_is_that_of_its_weights(tmp_path: Path) -> None:
    classifier = _classifier()
    save_classifier(classifier, tmp_path)
    parameters = sum(parameter.numel() for parameter in classifier.parameters())
    assert saved_megabytes(tmp_path) == pytest.approx(4 * parameters / 2**20, rel=0.5)


@pytest.mark.parametrize("missing", [FACTS_FILE, WEIGHTS_FILE])
def test_a_folder_without_a_model_is_refused(tmp_path: Path, missing: str) -> None:
    save_classifier(_classifier(), tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(PredictionError, match="holds no trained model"):
        load_classifier(tmp_path)


@pytest.mark.parametrize("file", [FACTS_FILE, WEIGHTS_FILE])
def test_a_file_cut_short_is_told_as_damaged(tmp_path: Path, file: str) -> None:
    save_classifier(_classifier(), tmp_path)
    content = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(PredictionError, match="damaged"):
        load_classifier(tmp_path)


def test_facts_that_are_no_facts_are_refused(tmp_path: Path) -> None:
    save_classifier(_classifier(), tmp_path)
    (tmp_path / FACTS_FILE).write_text("{}")
    with pytest.raises((PredictionError, RecipeError), match=FACTS_FILE):
        load_classifier(tmp_path)


def test_weights_of_another_model_are_told_as_damaged(tmp_path: Path) -> None:
    save_classifier(_classifier(), tmp_path / "one")
    save_classifier(_classifier(classes=("a", "b")), tmp_path / "two")
    (tmp_path / "two" / WEIGHTS_FILE).replace(tmp_path / "one" / WEIGHTS_FILE)
    with pytest.raises(PredictionError):
        load_classifier(tmp_path / "one")


def test_a_later_format_is_refused_by_its_number(tmp_path: Path) -> None:
    save_classifier(_classifier(), tmp_path)
    saved = json.loads((tmp_path / FACTS_FILE).read_text(encoding="utf-8"))
    (tmp_path / FACTS_FILE).write_text(json.dumps(saved | {"format": 99}))
    with pytest.raises(PredictionError, match="format 99"):
        load_classifier(tmp_path)


def test_a_classifier_goes_on_from_an_earlier_one() -> None:
    later, earlier = _classifier(seed=1), _classifier(seed=2)
    continue_from(later, earlier, "earlier")
    assert torch.equal(_logits(later), _logits(earlier))


def test_going_on_copies_so_that_the_earlier_one_stays_as_it_is() -> None:
    later, earlier = _classifier(seed=1), _classifier(seed=2)
    before = _logits(earlier)
    continue_from(later, earlier, "earlier")
    with torch.no_grad():
        for parameter in later.parameters():
            parameter.add_(1)
    assert torch.equal(_logits(earlier), before)


def test_a_classifier_does_not_go_on_from_other_layers() -> None:
    wider = SCRATCH.model_copy(update={"dense_widths": (7,)})
    with pytest.raises(RecipeError, match="layers differ from those of wider"):
        continue_from(_classifier(), _classifier(wider), "wider")


@pytest.mark.parametrize("classes", [("ant", "cat", "bär"), ("ant", "cat")])
def test_a_classifier_does_not_go_on_from_other_classes(classes: tuple[str, ...]) -> None:
    with pytest.raises(RecipeError, match="trained on other classes"):
        continue_from(_classifier(), _classifier(classes=classes), "other")


def test_a_cnn_from_scratch_is_trained_whole() -> None:
    classifier = _classifier()
    freeze(classifier)
    assert all(parameter.requires_grad for parameter in classifier.parameters())


def test_a_frozen_backbone_leaves_only_the_head_to_train() -> None:
    classifier = _classifier(TRANSFER)
    freeze(classifier)
    assert not any(parameter.requires_grad for parameter in classifier.body.parameters())
    assert all(parameter.requires_grad for parameter in classifier.head.parameters())


def test_fine_tuning_leaves_the_last_layers_and_the_head_to_train() -> None:
    classifier = _classifier(TRANSFER.model_copy(update={"unfrozen_last_layers": 5}))
    freeze(classifier)
    trainable = [name for name, parameter in classifier.body.named_parameters() if parameter.requires_grad]
    assert trainable
    assert all(name.startswith("layer4.0.") for name in trainable)


def test_training_mode_is_for_the_head_s_dropout_and_never_for_the_body() -> None:
    classifier = _classifier(TRANSFER)
    classifier.train()
    assert classifier.head.training
    assert not any(module.training for module in classifier.body.modules())
    statistics = [m for m in classifier.body.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [layer.running_mean.clone() for layer in statistics if layer.running_mean is not None]
    classifier(torch.randn(4, 3, 32, 32))
    after = [layer.running_mean for layer in statistics if layer.running_mean is not None]
    assert before
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
