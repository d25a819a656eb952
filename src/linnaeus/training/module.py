"""One step of training, as Lightning asks for it."""

import lightning.pytorch as pl
import torch
from torch import nn

from linnaeus.data.dataset import Batch
from linnaeus.errors import TrainingError
from linnaeus.recipe_sections import TrainingRecipe


class TrainingModule(pl.LightningModule):
    """Cross-entropy and Adam on a network's logits; logs loss and accuracy per epoch under Keras's names."""

    def __init__(self, network: nn.Module, recipe: TrainingRecipe, class_weights: torch.Tensor | None) -> None:
        super().__init__()
        self.network = network
        self.recipe = recipe
        self.loss = nn.CrossEntropyLoss(weight=class_weights)

    def training_step(self, batch: Batch, batch_index: int) -> torch.Tensor:
        """The loss of one batch. Raises TrainingError where it is no longer finite."""
        loss = self._measured(batch, prefix="")
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss became {loss.item()} in epoch {self.current_epoch + 1}, step {batch_index + 1}, at rate "
                f"{self.recipe.learning_rate:g}; try a tenth of it: --set training.learning_rate="
                f"{self.recipe.learning_rate / 10:g}"
            )
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Measure one batch."""
        self._measured(batch, prefix="val_")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam over what is not frozen, with Keras's epsilon; fused into one pass where the device has that."""
        trainable = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        is_fused = trainable[0].device.type in {"cpu", "cuda"}
        return torch.optim.Adam(trainable, self.recipe.learning_rate, eps=1e-7, fused=is_fused)

    def _measured(self, batch: Batch, prefix: str) -> torch.Tensor:
        inputs, labels = batch
        logits = self.network(inputs)
        loss: torch.Tensor = self.loss(logits, labels)
        accuracy = (logits.argmax(dim=1) == labels).float().mean()
        figures = {f"{prefix}loss": loss.detach(), f"{prefix}accuracy": accuracy}
        self.log_dict(figures, on_step=False, on_epoch=True, batch_size=len(labels))
        return loss
