"""The rate that is suggested lies between rates that do nothing and rates that diverge."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from linnaeus.data.dataset import TensorTable
from linnaeus.networks.classifier import Network
from linnaeus.recipe_sections import TrainingRecipe
from linnaeus.training.optimization import ParameterPlan
from linnaeus.training.rate_finder import RateSearch, find_rate, halfway
from linnaeus.training.train import Prepared

RECIPE = TrainingRecipe(optimizer="sgd", batch_size=8)


def prepared(images: int = 64, *, size: int = 8, scale: float = 1.0, normalised: bool = False) -> Prepared:
    """Two classes, each about a centre of its own, for one dense layer."""
    random = np.random.default_rng(0)
    labels = np.arange(images) % 2
    inputs = (random.normal(size=(images, 4)) + 3 * labels[:, None]).astype(np.float32) * np.float32(scale)
    table = TensorTable([inputs], np.arange(images), labels, shuffle=True)
    torch.manual_seed(0)
    head = nn.Sequential(*([nn.BatchNorm1d(4)] if normalised else []), nn.Linear(4, 2))
    loader = table.loader(size)
    return Prepared(Network(nn.Identity(), head), (loader, loader), None, ParameterPlan())


def loss_after(rate: float, steps: int = 30) -> float:
    """The loss of the last of some steps at one rate."""
    given = prepared()
    optimizer = torch.optim.SGD(given.network.parameters(), rate, momentum=0.9, nesterov=True)
    batches = [*given.loaders[0]]
    for step in range(steps):
        inputs, labels = batches[step % len(batches)]
        loss = nn.functional.cross_entropy(given.network(inputs), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return float(loss.detach())


def test_the_suggested_rate_learns_where_a_thousandth_of_it_does_nothing() -> None:
    suggestion = find_rate(prepared(), RECIPE).suggestion
    assert suggestion is not None
    start = loss_after(0)
    assert loss_after(suggestion) < start / 2
    assert loss_after(suggestion / 1000) > start / 1.1


def test_the_table_has_a_row_a_step_with_growing_rates() -> None:
    table = find_rate(prepared(), RECIPE).table
    assert [*table.columns] == ["learning_rate", "loss", "smoothed"]
    assert len(table) <= 100
    assert table["learning_rate"].iloc[0] == pytest.approx(1e-7)
    assert table["learning_rate"].is_monotonic_increasing
    assert table["smoothed"].iloc[0] == pytest.approx(table["loss"].iloc[0])


def test_losses_that_diverge_end_the_search() -> None:
    found = find_rate(prepared(scale=100), RECIPE)
    smoothed = found.table["smoothed"]
    assert len(found.table) < 100
    assert smoothed.iloc[-1] > 4 * smoothed.min()
    assert (smoothed.iloc[:-1] <= 4 * smoothed.iloc[:-1].cummin()).all()


class Exploding(nn.Module):
    """Logits that are no numbers from the n-th batch on."""

    def __init__(self, batches: int) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)
        self.left = batches

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.left -= 1
        logits: torch.Tensor = self.layer(inputs)
        return logits if self.left >= 0 else logits * float("nan")


@pytest.mark.parametrize("batches", [0, 1, 20])
def test_a_loss_that_is_no_number_ends_the_search(batches: int) -> None:
    given = replace(prepared(), network=Network(nn.Identity(), Exploding(batches)))
    table = find_rate(given, RECIPE).table
    assert len(table) == batches + 1
    assert table["loss"].isna().tolist() == [False] * batches + [True]


def table_of(smoothed: list[float]) -> pd.DataFrame:
    """Smoothed losses after ten that fall by chance more than any of them."""
    losses = np.concatenate([np.linspace(30, 20, 10), smoothed])
    return pd.DataFrame({"learning_rate": np.arange(1.0, len(losses) + 1), "smoothed": losses})


@pytest.mark.parametrize("smoothed", [[], [1.0], [1.0, 2.0, 3.0], [1.0, 0.95, 3.0], [float("nan"), float("nan")]])
def test_a_loss_that_does_not_really_fall_suggests_nothing(smoothed: list[float]) -> None:
    assert halfway(table_of(smoothed)) is None


def test_half_of_the_fall_is_suggested_less_the_nine_steps_by_which_smoothing_comes_later() -> None:
    table = table_of([2.0, 1.9, 1.8, 1.3, 1.2, 1.0, 5.0, float("nan")])
    assert halfway(table) == table["learning_rate"].iloc[13 - 9]


def test_the_same_seed_finds_the_same_and_the_caller_s_randomness_is_left_alone() -> None:
    given = [prepared(), prepared()]
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = find_rate(given[0], RECIPE)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    pd.testing.assert_frame_equal(find_rate(given[1], RECIPE).table, first.table)


def test_a_last_batch_of_one_image_does_not_trouble_batch_norm() -> None:
    assert isinstance(find_rate(prepared(17, normalised=True), RECIPE), RateSearch)


def test_images_that_are_fewer_than_a_batch_are_enough() -> None:
    assert len(find_rate(prepared(5), RECIPE).table) > 10
