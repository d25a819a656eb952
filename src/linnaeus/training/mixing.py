"""Batches whose images are blended with, or pasted into, one another."""

from typing import NamedTuple

import numpy as np
import torch

from linnaeus.recipe_sections import TrainingRecipe


class Mixture(NamedTuple):
    """`inputs` (batch, ...), of which `share` belongs to `labels` (batch,) and the rest to `others` (batch,)."""

    inputs: torch.Tensor
    labels: torch.Tensor
    others: torch.Tensor
    share: float


def mixture(inputs: torch.Tensor, labels: torch.Tensor, recipe: TrainingRecipe, random: np.random.Generator) -> Mixture:
    """The batch as the recipe mixes it, each image with its neighbour; as it is where the recipe does not.

    Sources: mix-up, Zhang et al. 2018; CutMix, Yun et al. 2019.
    """
    can_paste = recipe.cut_mix > 0 and inputs.ndim == 4
    if not recipe.mix_up and not can_paste:
        return Mixture(inputs, labels, labels, 1.0)
    pastes = can_paste and (not recipe.mix_up or random.random() < 0.5)
    alpha = recipe.cut_mix if pastes else recipe.mix_up
    share = float(random.beta(alpha, alpha))
    others = labels.roll(1, 0)
    if not pastes:
        return Mixture(torch.lerp(inputs.roll(1, 0), inputs, share), labels, others, share)
    height, width = inputs.shape[2:]
    top, bottom = _span(height, share, random)
    left, right = _span(width, share, random)
    pasted = inputs.clone()
    pasted[:, :, top:bottom, left:right] = inputs.roll(1, 0)[:, :, top:bottom, left:right]
    kept = 1 - (bottom - top) * (right - left) / (height * width)
    return Mixture(pasted, labels, others, kept)


def _span(side: int, share: float, random: np.random.Generator) -> tuple[int, int]:
    """From where to where a pasted box of 1 - `share` of the area reaches on one side, cut off at the edges."""
    length, centre = side * (1 - share) ** 0.5, random.uniform(0, side)
    return max(round(centre - length / 2), 0), min(round(centre + length / 2), side)
