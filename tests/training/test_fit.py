from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from clouds import Loaders, cloud_loaders, recipe_of, small_network
from torch import nn

from linnaeus.errors import TrainingError
from linnaeus.progress import Advance
from linnaeus.training.fit import HISTORY_COLUMNS, Fitted, Watch, fit
from linnaeus.training.optimization import ParameterPlan, rate_at

pytestmark = pytest.mark.usefixtures("one_thread")


def _val_loss(network: nn.Module, loaders: Loaders) -> float:
    losses, count = 0.0, 0
    with torch.inference_mode():
        for inputs, labels in loaders[1]:
            losses += float(nn.functional.cross_entropy(network(inputs), labels, reduction="sum"))
            count += len(labels)
    return losses / count


def _train(**settings: object) -> tuple[nn.Module, Fitted, Loaders]:
    recipe, network = recipe_of(**settings), small_network()
    loaders = cloud_loaders(recipe)
    return network, fit(network, loaders, recipe), loaders


def test_two_clouds_that_lie_apart_are_learned() -> None:
    _, fitted, _ = _train(epochs=5)
    assert fitted.history["val_accuracy"].iloc[-1] == 1
    assert fitted.history["loss"].iloc[-1] < 0.1 < fitted.history["loss"].iloc[0]


def test_the_history_has_a_row_an_epoch_counted_from_1() -> None:
    _, fitted, _ = _train(epochs=3)
    assert [*fitted.history.columns] == HISTORY_COLUMNS
    assert [*fitted.history["epoch"]] == [1, 2, 3]
    assert (fitted.history["learning_rate"] == 0.05).all()
    assert (fitted.history["seconds"] > 0).all()
    assert fitted.history["accuracy"].between(0, 1).all()


def test_the_network_is_left_with_the_weights_of_its_best_epoch() -> None:
    recipe, network = recipe_of(epochs=8, learning_rate=0.9, seed=3), small_network()
    loaders = cloud_loaders(recipe, noise=2.5)
    fitted = fit(network, loaders, recipe)
    losses = fitted.history.set_index("epoch")["val_loss"]
    assert fitted.best_epoch == losses.idxmin()
    assert fitted.best_epoch < 8
    assert _val_loss(network, loaders) == pytest.approx(losses.min(), rel=1e-5)
    assert not network.training


def test_training_stops_after_patience_epochs_without_a_lower_loss() -> None:
    recipe, network = recipe_of(epochs=40, learning_rate=0.9, patience=2, seed=3), small_network()
    fitted = fit(network, cloud_loaders(recipe, noise=2.5), recipe)
    assert len(fitted.history) == fitted.best_epoch + 2 < 40


def test_without_patience_every_epoch_is_trained() -> None:
    recipe = recipe_of(epochs=6, learning_rate=0.9, patience=None, seed=3)
    assert len(fit(small_network(), cloud_loaders(recipe, noise=2.5), recipe).history) == 6


def test_no_epochs_leave_the_network_untrained() -> None:
    network, fitted, _ = _train(epochs=0)
    assert fitted.best_epoch == 0
    assert fitted.history.empty
    assert [*fitted.history.columns] == HISTORY_COLUMNS
    for trained, fresh in zip(network.parameters(), small_network().parameters(), strict=True):
        assert torch.equal(trained, fresh)
    assert not network.training


def test_a_loss_that_is_no_longer_finite_ends_training_with_advice() -> None:
    recipe, network = recipe_of(), small_network()
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"nan in epoch 1, step 1, .* --set training.learning_rate=0\.005"):
        fit(network, cloud_loaders(recipe), recipe)


def test_the_same_seed_gives_the_very_same_weights_dropout_included() -> None:
    def weights(seed: int) -> bytes:
        torch.manual_seed(np.random.default_rng().integers(1000))
        recipe, network = recipe_of(epochs=2, seed=seed), small_network(dropout=0.5)
        fit(network, cloud_loaders(recipe, noise=1), recipe)
        return b"".join(value.numpy().tobytes() for value in network.state_dict().values())

    assert weights(1) == weights(1) != weights(2)


def test_training_leaves_the_global_random_state_alone() -> None:
    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)
    recipe = recipe_of(epochs=1)
    loaders, network = cloud_loaders(recipe), small_network(dropout=0.5)
    fit(network, loaders, recipe)
    assert torch.equal(torch.rand(1), expected)


def test_nothing_to_train_is_refused() -> None:
    recipe, network = recipe_of(), small_network()
    network.requires_grad_(False)
    with pytest.raises(TrainingError, match="every parameter is frozen"):
        fit(network, cloud_loaders(recipe), recipe)


def test_a_frozen_layer_stays_bit_identical() -> None:
    recipe, network = recipe_of(), small_network()
    network[0].requires_grad_(False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    fit(network, cloud_loaders(recipe), recipe)
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"3.weight", "3.bias"}


def test_each_epoch_comes_in_another_order() -> None:
    seen: list[list[float]] = []

    class Watch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            if self.training:
                seen.append(inputs[:, 0].tolist())
            return torch.as_tensor(self.layer(inputs))

    recipe = recipe_of(epochs=2, batch_size=64)
    fit(Watch(), cloud_loaders(recipe), recipe)
    first, second = seen
    assert first != second
    assert sorted(first) == sorted(second)


def test_class_weights_move_the_decision_towards_the_heavier_class() -> None:
    shares = []
    for weights in ([1.9, 0.1], [0.1, 1.9]):
        recipe, network = recipe_of(epochs=8), small_network()
        loaders = cloud_loaders(recipe, noise=4)
        fit(network, loaders, recipe, class_weights=np.array(weights, dtype=np.float32))
        with torch.inference_mode():
            predicted = torch.cat([network(inputs).argmax(dim=1) for inputs, _ in loaders[1]])
        shares.append(float(predicted.float().mean()))
    assert shares[0] < 0.5 < shares[1]


def test_equal_class_weights_change_nothing() -> None:
    def losses(weights: np.ndarray | None) -> pd.Series:
        recipe = recipe_of(epochs=2)
        return fit(small_network(), cloud_loaders(recipe), recipe, class_weights=weights).history["loss"]

    pd.testing.assert_series_equal(losses(None), losses(np.ones(2, dtype=np.float32)))


def test_the_bar_reaches_its_total_when_every_epoch_is_trained() -> None:
    steps: list[int] = []
    totals: list[int] = []

    @contextmanager
    def watched(description: str, total: int) -> Iterator[Advance]:
        totals.append(total)
        yield steps.append

    recipe = recipe_of(epochs=3)
    fit(small_network(), cloud_loaders(recipe), recipe, watch=Watch(progress=watched))
    assert totals == [12]
    assert sum(steps) == 12


def test_training_writes_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _train(epochs=1)
    assert [*tmp_path.iterdir()] == []


def test_what_is_unfrozen_later_is_bit_identical_until_then_and_moves_from_then_on() -> None:
    network, recipe = small_network(), recipe_of(epochs=4)
    plan = ParameterPlan(first_epochs={"0.weight": 2, "0.bias": 1})
    seen = [{name: value.clone() for name, value in network.state_dict().items()}]

    def note(rows: object) -> None:
        seen.append({name: value.clone() for name, value in network.state_dict().items()})

    fit(network, cloud_loaders(recipe), recipe, plan=plan, watch=Watch(on_epoch=note))
    moves = {name: [not torch.equal(a[name], b[name]) for a, b in pairwise(seen)] for name in seen[0]}
    assert moves["0.weight"] == [False, False, True, True]
    assert moves["0.bias"] == [False, True, True, True]
    assert moves["3.weight"] == [True] * 4
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_a_share_of_the_rate_makes_smaller_steps() -> None:
    def moved(share: float) -> float:
        network, recipe = small_network(), recipe_of(epochs=1, optimizer="sgd", learning_rate=1e-4)
        fit(network, cloud_loaders(recipe), recipe, plan=ParameterPlan(rate_shares={"0.weight": share}))
        difference = network.state_dict()["0.weight"] - small_network().state_dict()["0.weight"]
        return float(difference.abs().sum())

    assert moved(0.1) == pytest.approx(0.1 * moved(1), rel=0.02)


@pytest.mark.parametrize("schedule", ["cosine", "one-cycle"])
def test_the_history_has_the_rate_of_each_epoch_s_last_step(schedule: str) -> None:
    _, fitted, _ = _train(epochs=3, schedule=schedule)
    rates = [rate_at(recipe_of(schedule=schedule), step, 12) for step in (3, 7, 11)]
    assert [*fitted.history["learning_rate"]] == rates


def test_with_an_average_that_is_what_is_validated_and_kept() -> None:
    network, fitted, loaders = _train(epochs=3, average=0.9)
    plain, _, _ = _train(epochs=3)
    assert _val_loss(network, loaders) == pytest.approx(fitted.history["val_loss"].min(), rel=1e-5)
    assert not torch.equal(next(network.parameters()), next(plain.parameters()))


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_every_optimizer_learns(optimizer: str) -> None:
    _, fitted, _ = _train(epochs=5, optimizer=optimizer)
    assert fitted.history["val_accuracy"].iloc[-1] == 1


def test_after_each_epoch_the_rows_so_far_are_reported() -> None:
    recipe, seen = recipe_of(), list[list[float]]()
    fitted = fit(
        *(small_network(), cloud_loaders(recipe), recipe),
        watch=Watch(on_epoch=lambda rows: seen.append([row["val_loss"] for row in rows])),
    )
    losses = [*fitted.history["val_loss"]]
    assert seen == [losses[:1], losses[:2], losses]


def test_training_with_16_bit_floats_stays_close_to_that_with_32() -> None:
    exact, rounded = _train(epochs=2)[1], _train(epochs=2, precision="bf16-mixed")[1]
    losses = [each.history["val_loss"] for each in (exact, rounded)]
    pd.testing.assert_series_equal(losses[0], losses[1], rtol=0.1)
    assert not losses[0].equals(losses[1])


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_training_prints_nothing(precision: str, capfd: pytest.CaptureFixture[str]) -> None:
    _train(epochs=1, precision=precision)
    assert capfd.readouterr() == ("", "")


def test_each_step_of_each_epoch_draws_randomness_of_its_own() -> None:
    drawn: list[float] = []

    class Drawing(nn.Module):
        def forward(self, logits: torch.Tensor) -> torch.Tensor:
            if self.training:
                drawn.append(float(torch.rand(1)))
            return logits

    recipe = recipe_of(epochs=3)
    fit(nn.Sequential(small_network(), Drawing()), cloud_loaders(recipe), recipe)
    assert len({*drawn}) == len(drawn) == 12
