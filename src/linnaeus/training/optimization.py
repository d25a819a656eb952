"""The optimizer of a recipe, its rate at every step, and the running average of the weights."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from linnaeus.recipe_sections import TrainingRecipe

KERAS_EPSILON = 1e-7
ONE_CYCLE_RISE = 0.3  # share of the steps, and the divisors of the rate at both ends: torch's OneCycleLR
ONE_CYCLE_FIRST, ONE_CYCLE_LAST = 25.0, 25e4


@dataclass(frozen=True)
class ParameterPlan:
    """Which parameters learn how fast and from when on, by name; others at the recipe's rate and from the start.

    `rate_shares`: share of the learning rate. `first_epochs`: the first epoch, from 0, in which one is trained.
    """

    rate_shares: Mapping[str, float] = field(default_factory=dict)
    first_epochs: Mapping[str, int] = field(default_factory=dict)


def build_optimizer(network: nn.Module, recipe: TrainingRecipe, plan: ParameterPlan) -> torch.optim.Optimizer:
    """The recipe's optimizer over all that is not frozen, in groups with a `share` of the learning rate each.

    Biases and the scales of normalisation do not decay. Fused into one pass where the device has that.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            kind = (plan.rate_shares.get(name, 1.0), parameter.ndim > 1)
            groups.setdefault(kind, []).append(parameter)
    options: list[dict[str, Any]] = [
        {"params": parameters, "share": share, "weight_decay": recipe.weight_decay if decays else 0.0}
        for (share, decays), parameters in groups.items()
    ]
    if recipe.optimizer == "sgd":  # the fused one fails where parameters of a group begin to be trained later
        return torch.optim.SGD(options, recipe.learning_rate, momentum=0.9, nesterov=True)
    is_fused = {parameter.device.type for parameter in network.parameters()} <= {"cpu", "cuda"}
    adam = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return adam(options, recipe.learning_rate, eps=KERAS_EPSILON, fused=is_fused)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give each group its share of a learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["share"]


def rate_at(recipe: TrainingRecipe, step: int, steps: int) -> float:
    """The learning rate at a step, counted from 0, of a training of `steps` steps."""
    if recipe.schedule == "one-cycle":
        return recipe.learning_rate * _one_cycle(step, steps)
    warm_steps = round(recipe.warm_up * steps)
    if step < warm_steps:
        return recipe.learning_rate * (step + 1) / warm_steps
    if recipe.schedule == "constant":
        return recipe.learning_rate
    return recipe.learning_rate * _half_cosine(1.0, 0.0, (step - warm_steps) / (steps - warm_steps))


def _one_cycle(step: int, steps: int) -> float:
    top = ONE_CYCLE_RISE * steps - 1
    if step <= top:
        return _half_cosine(1 / ONE_CYCLE_FIRST, 1.0, step / top)
    return _half_cosine(1.0, 1 / ONE_CYCLE_LAST, (step - top) / (steps - 1 - top))


def _half_cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def averaging(network: nn.Module, decay: float) -> torch.optim.swa_utils.AveragedModel:
    """A copy of the network that becomes the running average of its weights and statistics, updated once a step.

    In the first steps the decay is smaller, (1 + step) / (10 + step), so that the random start is soon forgotten.
    """

    def average(averaged: Iterable[torch.Tensor], current: Iterable[torch.Tensor], updates: Any) -> None:
        share = 1 - min(decay, (1 + int(updates)) / (10 + int(updates)))
        for mean, value in zip(averaged, current, strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, share)
            else:
                mean.copy_(value)

    copied: Any = torch.optim.swa_utils.AveragedModel
    averaged: torch.optim.swa_utils.AveragedModel = copied(network, multi_avg_fn=average, use_buffers=True)
    return averaged
