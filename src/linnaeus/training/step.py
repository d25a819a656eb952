"""One step of training: a batch forward and backward, in parts where memory is short."""

import logging
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from linnaeus.errors import TrainingError
from linnaeus.recipe_sections import TrainingRecipe
from linnaeus.training.checkpoint import Standing
from linnaeus.training.mixing import Mixture, mixture

logger = logging.getLogger(__name__)

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


@dataclass(frozen=True)
class Measured:
    """A batch's summed loss, how many of its images were right (of mixed ones, their shares), how many there are."""

    loss: float
    correct: float
    images: int


class Step:
    """Gradients of a recipe's loss for one batch after the other; added up over parts once memory ran out.

    network: as Lightning Fabric has set it up. class_weights: the loss weight of each class, (classes,), or None.
    """

    def __init__(
        self, fabric: Any, network: nn.Module, recipe: TrainingRecipe, class_weights: torch.Tensor | None
    ) -> None:
        self.fabric = fabric
        self.network = network
        self.recipe = recipe
        self.class_weights = None if class_weights is None else class_weights.to(fabric.device)

    def backward(self, inputs: torch.Tensor, labels: torch.Tensor, number: int, standing: Standing) -> Measured:
        """Add the gradients of the mean loss of a batch, the training's `number`th, on which all randomness depends.

        Where memory runs out, half as many images go through the network at once, now and from then on.
        Raises TrainingError where memory does not suffice for a single image.
        """
        while True:
            seed = np.random.SeedSequence((self.recipe.seed, number)).generate_state(1, np.uint64)[0]
            _seed_torch(int(seed), self.fabric.device.type)
            blend = mixture(inputs, labels, self.recipe, np.random.default_rng((self.recipe.seed, number)))
            part = standing.part or len(inputs)
            try:
                return self._added_up(blend, part)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            # Only here has the error, and with it what the step had in memory, been let go.
            self.network.zero_grad(set_to_none=True)
            standing.part = self._halved(min(part, len(inputs)), len(inputs), standing)

    def measure(self, network: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> Measured:
        """The summed cross-entropy of a validation batch, without label smoothing, by a network in evaluation mode."""
        logits = network(inputs)
        loss = functional.cross_entropy(logits, labels, self.class_weights, reduction="sum")
        return Measured(float(loss), _correct(logits, labels), len(labels))

    def weight(self, labels: torch.Tensor) -> float:
        """What a summed loss is divided by to be a mean: the labels' class weights, or their number."""
        return float(len(labels) if self.class_weights is None else self.class_weights[labels].sum())

    def _added_up(self, blend: Mixture, part: int) -> Measured:
        # Processes average their gradients, so each divides by its share of all processes' weight.
        total = self.weight(blend.labels)
        if self.fabric.world_size > 1:
            total = float(self.fabric.all_reduce(torch.tensor(total), reduce_op="sum")) / self.fabric.world_size
        loss_sum = correct = 0.0
        for start in range(0, len(blend.inputs), part):
            chosen = slice(start, start + part)
            logits = self.network(blend.inputs[chosen])
            loss, right = self._loss(logits, blend.labels[chosen]), _correct(logits, blend.labels[chosen])
            if blend.share < 1:
                loss = blend.share * loss + (1 - blend.share) * self._loss(logits, blend.others[chosen])
                right = blend.share * right + (1 - blend.share) * _correct(logits, blend.others[chosen])
            self.fabric.backward(loss / total)
            loss_sum, correct = loss_sum + float(loss.detach()), correct + right
        return Measured(loss_sum, correct, len(blend.inputs))

    def _loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        smoothing = self.recipe.label_smoothing
        return functional.cross_entropy(logits, labels, self.class_weights, reduction="sum", label_smoothing=smoothing)

    def _halved(self, part: int, batch: int, standing: Standing) -> int:
        if part == 1:
            raise TrainingError(
                "memory does not suffice for a single image; use a smaller model or input size, or keep more layers "
                "frozen"
            )
        if self.fabric.world_size > 1:
            raise TrainingError(
                f"memory ran out at {part} images a process; take half: "
                f"--set training.batch_size={self.recipe.batch_size // 2}"
            )
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        half = math.ceil(part / 2)
        note = f"memory ran out at {part} images at once, so the gradients of {half} are added up to those of {batch}"
        standing.notes.append(note)
        logger.warning(note)
        return half


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, by the error that torch or Python raises for it on this device."""
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in OUT_OF_MEMORY)


def _correct(logits: torch.Tensor, labels: torch.Tensor) -> float:
    return float((logits.argmax(dim=1) == labels).sum())


def _seed_torch(seed: int, device: str) -> None:
    """Seed torch's generators. torch.manual_seed, which also keeps the seed for devices that are not there, takes 200
    times as long, and asking which are there takes a tenth of a small head's step."""
    torch.default_generator.manual_seed(seed)
    if device == "cuda":
        torch.cuda.manual_seed_all(seed)
    elif device == "mps":
        torch.mps.manual_seed(seed)
