"""A body and a head, with the class names and the preprocessing that travel with them; saved without pickle."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from linnaeus.errors import PredictionError, RecipeError
from linnaeus.files import read_json, write_json, write_with
from linnaeus.networks.backbone import (
    backbone_preprocessing,
    build_backbone,
    feature_width,
    last_blocks,
    last_layer_parameters,
)
from linnaeus.networks.concatenated import build_concatenated
from linnaeus.networks.head import NearestNeighbours, build_head
from linnaeus.networks.scratch import build_convolutions, feature_count, scratch_preprocessing
from linnaeus.recipe import checked
from linnaeus.recipe_sections import ModelRecipe, ScratchRecipe, TransferRecipe
from linnaeus.records import Preprocessing
from linnaeus.settings import CleanRecipe, Section

WEIGHTS_FILE = "model.safetensors"
FACTS_FILE = "model.json"
FORMAT = 1


class Network(nn.Module):
    """Logits (batch, classes) from whatever `body` takes: images, or what a frozen trunk made of them.

    trains_statistics: whether training moves the running statistics of those of the body's normalisation layers whose
    weights are trained; otherwise they all stay as they are.
    """

    def __init__(self, body: nn.Module, head: nn.Module, *, trains_statistics: bool = False) -> None:
        super().__init__()
        self.body = body
        self.head = head
        self.trains_statistics = trains_statistics

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """The logits of a batch."""
        logits: torch.Tensor = self.head(self.body(inputs))
        return logits

    def train(self, mode: bool = True) -> "Network":
        """Training mode for the head's dropout, and for what of the body trains its statistics."""
        super().train(mode)
        for module in self.body.modules():
            is_trained = any(parameter.requires_grad for parameter in module.parameters(recurse=False))
            module.training = mode and self.trains_statistics and is_trained
        return self


@dataclass(frozen=True)
class ClassifierFacts:
    """What a classifier is beside its weights: the layers, the class names by label, what a cleaned image is, and
    how it is preprocessed."""

    model: ModelRecipe
    classes: tuple[str, ...]
    clean: CleanRecipe
    preprocessing: Preprocessing


class Classifier(Network):
    """Images (batch, 3, size, size), preprocessed, to logits (batch, classes)."""

    def __init__(self, body: nn.Module, head: nn.Module, facts: ClassifierFacts) -> None:
        super().__init__(body, head, trains_statistics=trains_statistics(facts.model))
        self.facts = facts


class _SavedFacts(Section):
    format: int
    model: ModelRecipe
    classes: tuple[str, ...]
    clean: CleanRecipe
    preprocessing: Preprocessing


def build_classifier(
    model: ModelRecipe, classes: Sequence[str], clean: CleanRecipe, *, pretrained: bool = True, seed: int = 0
) -> Classifier:
    """A classifier in evaluation mode with a fresh head: from scratch, or on a backbone with its pretrained weights.

    The random start depends on `seed` alone. Raises RecipeError (layers too many for the image, unknown backbone)
    and WeightsError.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if isinstance(model, ScratchRecipe):
            body: nn.Module = build_convolutions(model)
            features = feature_count(model, clean.size)
            preprocessing = scratch_preprocessing(clean.size)
        elif model.more_backbones:
            body = joined = build_concatenated(model, pretrained=pretrained)
            features, preprocessing = joined.num_features, joined.preprocessing
        else:
            body = build_backbone(model, pretrained=pretrained)
            features = feature_width(body)
            preprocessing = backbone_preprocessing(body, model.input_size)
        if isinstance(model, TransferRecipe) and model.head == "knn":
            head: nn.Module = NearestNeighbours(features, len(classes))
        else:
            head = build_head(features, model.dense_widths, model.dropouts, len(classes))
    classifier = Classifier(body, head, ClassifierFacts(model, tuple(classes), clean, preprocessing))
    return classifier.to(memory_format=torch.channels_last).eval()


def trains_statistics(model: ModelRecipe) -> bool:
    """Whether training moves running statistics: those of a CNN from scratch, those of a backbone if it is asked to."""
    return isinstance(model, ScratchRecipe) or model.batch_norm == "updated"


def freeze(classifier: Classifier) -> None:
    """Leave trainable what the classifier's recipe says: all of a CNN from scratch; of a backbone its last layers."""
    model = classifier.facts.model
    if isinstance(model, ScratchRecipe):
        return
    classifier.body.requires_grad_(False)
    if not model.is_frozen:
        for parameter in last_layer_parameters(classifier.body, unfrozen_layers(classifier.body, model)):
            parameter.requires_grad_(True)


def unfrozen_layers(backbone: nn.Module, model: TransferRecipe) -> int:
    """How many of the backbone's last layers are trained, whether the recipe counts layers or blocks."""
    if model.unfrozen_last_blocks:
        return last_blocks(backbone, model.unfrozen_last_blocks)
    return model.unfrozen_last_layers


def continue_from(classifier: Classifier, earlier: Classifier, name: str) -> None:
    """Give the classifier the weights of an earlier one. Raises RecipeError where the two differ in shape."""
    if classifier.facts.classes != earlier.facts.classes:
        raise RecipeError(f"{name} was trained on other classes ({', '.join(earlier.facts.classes)}); train it anew")
    try:
        classifier.load_state_dict(earlier.state_dict())
    except RuntimeError:
        raise RecipeError(f"the layers differ from those of {name}, which this recipe starts from") from None


def save_classifier(classifier: Classifier, folder: Path) -> None:
    """Write the weights (safetensors) and everything else (JSON) into a folder."""
    state = {name: value.detach().cpu().contiguous() for name, value in classifier.state_dict().items()}
    facts = classifier.facts
    write_with(folder / WEIGHTS_FILE, lambda path: save_file(state, path))
    saved = {
        "format": FORMAT,
        "model": facts.model.model_dump(mode="json"),
        "classes": list(facts.classes),
        "clean": facts.clean.model_dump(mode="json"),
        "preprocessing": asdict(facts.preprocessing),
    }
    write_json(folder / FACTS_FILE, saved)


def load_classifier(folder: Path) -> Classifier:
    """The classifier that a folder holds, in evaluation mode. Raises PredictionError where it holds none."""
    if not (folder / FACTS_FILE).is_file() or not (folder / WEIGHTS_FILE).is_file():
        raise PredictionError(f"{folder} holds no trained model ({FACTS_FILE} and {WEIGHTS_FILE})")
    try:
        content = read_json(folder / FACTS_FILE)
        if content.get("format") != FORMAT:
            raise PredictionError(
                f"{folder / FACTS_FILE} is of format {content.get('format')}; this version reads format {FORMAT}"
            )
        saved = checked(_SavedFacts, content, where=FACTS_FILE)
        classifier = build_classifier(saved.model, saved.classes, saved.clean, pretrained=False)
        state = load_file(folder / WEIGHTS_FILE)
        if isinstance(classifier.head, NearestNeighbours):
            classifier.head.make_room(len(state["head.labels"]))
        classifier.load_state_dict(state)
    except (AttributeError, KeyError, ValueError, RuntimeError, SafetensorError, RecipeError) as error:
        raise PredictionError(f"{folder}: the saved model is damaged: {error}") from None
    classifier.facts = ClassifierFacts(saved.model, saved.classes, saved.clean, saved.preprocessing)
    return classifier


def saved_megabytes(folder: Path) -> float:
    """The size of a saved classifier's weights in MiB."""
    return (folder / WEIGHTS_FILE).stat().st_size / 2**20
