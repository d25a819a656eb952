from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from linnaeus.data.dataset import Batch, TensorTable
from linnaeus.errors import TrainingError
from linnaeus.progress import Advance
from linnaeus.recipe_sections import TrainingRecipe
from linnaeus.training.checkpoint import Checkpoints, Standing
from linnaeus.training.fit import HISTORY_COLUMNS, Fitted, Watch, fit
from linnaeus.training.optimization import ParameterPlan, rate_at

Loaders = tuple[DataLoader[Batch], DataLoader[Batch]]


def _recipe(**settings: object) -> TrainingRecipe:
    usual = {"epochs": 3, "learning_rate": 0.05, "patience": None, "batch_size": 16, "precision": "32-true"}
    return TrainingRecipe.model_validate(usual | settings)


def _points(count: int, seed: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    inputs = random.normal(0, noise, (count, 4)) + np.where(labels, 1.0, -1.0)[:, None]
    return inputs.astype(np.float32), labels


def _loaders(recipe: TrainingRecipe, noise: float = 0.2) -> Loaders:
    """Two clouds of 64 points in all to train on, and of 32 to validate on."""

    def loader(count: int, seed: int, *, shuffle: bool) -> DataLoader[Batch]:
        inputs, labels = _points(count, seed, noise)
        table = TensorTable([inputs], np.arange(count), labels, shuffle=shuffle, seed=recipe.seed)
        return table.loader(recipe.batch_size)

    return loader(64, 0, shuffle=True), loader(32, 1, shuffle=False)


def _network(*, dropout: float = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 2))


def _val_loss(network: nn.Module, loaders: Loaders) -> float:
    losses, count = 0.0, 0
    with torch.inference_mode():
        for inputs, labels in loaders[1]:
            losses += float(nn.functional.cross_entropy(network(inputs), labels, reduction="sum"))
            count += len(labels)
    return losses / count


def _train(**settings: object) -> tuple[nn.Module, Fitted, Loaders]:
    recipe, network = _recipe(**settings), _network()
    loaders = _loaders(recipe)
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
    recipe, network = _recipe(epochs=8, learning_rate=0.9, seed=3), _network()
    loaders = _loaders(recipe, noise=2.5)
    fitted = fit(network, loaders, recipe)
    losses = fitted.history.set_index("epoch")["val_loss"]
    assert fitted.best_epoch == losses.idxmin()
    assert fitted.best_epoch < 8
    assert _val_loss(network, loaders) == pytest.approx(losses.min(), rel=1e-5)
    assert not network.training


def test_training_stops_after_patience_epochs_without_a_lower_loss() -> None:
    recipe, network = _recipe(epochs=40, learning_rate=0.9, patience=2, seed=3), _network()
    fitted = fit(network, _loaders(recipe, noise=2.5), recipe)
    assert len(fitted.history) == fitted.best_epoch + 2 < 40


def test_without_patience_every_epoch_is_trained() -> None:
    recipe = _recipe(epochs=6, learning_rate=0.9, patience=None, seed=3)
    assert len(fit(_network(), _loaders(recipe, noise=2.5), recipe).history) == 6


def test_no_epochs_leave_the_network_untrained() -> None:
    network, fitted, _ = _train(epochs=0)
    assert fitted.best_epoch == 0
    assert fitted.history.empty
    assert [*fitted.history.columns] == HISTORY_COLUMNS
    for trained, fresh in zip(network.parameters(), _network().parameters(), strict=True):
        assert torch.equal(trained, fresh)
    assert not network.training


def test_a_loss_that_is_no_longer_finite_ends_training_with_advice() -> None:
    recipe, network = _recipe(), _network()
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"nan in epoch 1, step 1, .* --set training.learning_rate=0\.005"):
        fit(network, _loaders(recipe), recipe)


def test_the_same_seed_gives_the_very_same_weights_dropout_included() -> None:
    def weights(seed: int) -> bytes:
        torch.manual_seed(np.random.default_rng().integers(1000))
        recipe, network = _recipe(epochs=2, seed=seed), _network(dropout=0.5)
        fit(network, _loaders(recipe, noise=1), recipe)
        return b"".join(value.numpy().tobytes() for value in network.state_dict().values())

    assert weights(1) == weights(1) != weights(2)


def test_training_leaves_the_global_random_state_alone() -> None:
    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)
    recipe = _recipe(epochs=1)
    loaders, network = _loaders(recipe), _network(dropout=0.5)
    fit(network, loaders, recipe)
    assert torch.equal(torch.rand(1), expected)


def test_nothing_to_train_is_refused() -> None:
    recipe, network = _recipe(), _network()
    network.requires_grad_(False)
    with pytest.raises(TrainingError, match="every parameter is frozen"):
        fit(network, _loaders(recipe), recipe)


def test_a_frozen_layer_stays_bit_identical() -> None:
    recipe, network = _recipe(), _network()
    network[0].requires_grad_(False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    fit(network, _loaders(recipe), recipe)
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

    recipe = _recipe(epochs=2, batch_size=64)
    fit(Watch(), _loaders(recipe), recipe)
    first, second = seen
    assert first != second
    assert sorted(first) == sorted(second)


def test_class_weights_move_the_decision_towards_the_heavier_class() -> None:
    shares = []
    for weights in ([1.9, 0.1], [0.1, 1.9]):
        recipe, network = _recipe(epochs=8), _network()
        loaders = _loaders(recipe, noise=4)
        fit(network, loaders, recipe, class_weights=np.array(weights, dtype=np.float32))
        with torch.inference_mode():
            predicted = torch.cat([network(inputs).argmax(dim=1) for inputs, _ in loaders[1]])
        shares.append(float(predicted.float().mean()))
    assert shares[0] < 0.5 < shares[1]


def test_equal_class_weights_change_nothing() -> None:
    def losses(weights: np.ndarray | None) -> pd.Series:
        recipe = _recipe(epochs=2)
        return fit(_network(), _loaders(recipe), recipe, class_weights=weights).history["loss"]

    pd.testing.assert_series_equal(losses(None), losses(np.ones(2, dtype=np.float32)))


def test_the_bar_reaches_its_total_when_every_epoch_is_trained() -> None:
    steps: list[int] = []
    totals: list[int] = []

    @contextmanager
    def watched(description: str, total: int) -> Iterator[Advance]:
        totals.append(total)
        yield steps.append

    recipe = _recipe(epochs=3)
    fit(_network(), _loaders(recipe), recipe, watch=Watch(progress=watched))
    assert totals == [12]
    assert sum(steps) == 12


def test_training_writes_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _train(epochs=1)
    assert [*tmp_path.iterdir()] == []


class _Odd(nn.Module):
    """A network that does something odd in some of its training passes (counted from 1), or in validation."""

    def __init__(self) -> None:
        super().__init__()
        self.layers, self.passes = _network(), 0

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.passes += self.training
        return self.odd(torch.as_tensor(self.layers(inputs)))

    def odd(self, logits: torch.Tensor) -> torch.Tensor:
        return logits


class _Drawing(_Odd):
    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[float] = []

    def odd(self, logits: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.drawn.append(float(torch.rand(1)))
        return logits


def test_each_step_of_each_epoch_draws_randomness_of_its_own() -> None:
    network, recipe = _Drawing(), _recipe(epochs=3)
    fit(network, _loaders(recipe), recipe)
    assert len({*network.drawn}) == len(network.drawn) == 12


class _NanAtPass6(_Odd):
    def odd(self, logits: torch.Tensor) -> torch.Tensor:
        return logits * float("nan") if self.training and self.passes == 6 else logits


class _InfiniteGradientAtPass6(_Odd):
    def odd(self, logits: torch.Tensor) -> torch.Tensor:
        if self.training and self.passes == 6:
            return _Steep.apply(logits)  # type: ignore[no-any-return]
        return logits


class _Steep(torch.autograd.Function):
    """What goes through stays as it is, and the gradient becomes infinite."""

    @staticmethod
    def forward(ctx: object, inputs: torch.Tensor) -> torch.Tensor:
        return inputs.clone()

    @staticmethod
    def backward(ctx: object, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * float("inf")


class _NanInValidation(_Odd):
    def odd(self, logits: torch.Tensor) -> torch.Tensor:
        return logits if self.training else logits * float("nan")


class _FewAtOnce(_Odd):
    def odd(self, logits: torch.Tensor) -> torch.Tensor:
        if self.training and len(logits) > 5:
            raise RuntimeError("CUDA out of memory")
        return logits


@pytest.mark.parametrize(
    ("kind", "what"),
    [(_NanAtPass6, "the loss became nan"), (_InfiniteGradientAtPass6, "a gradient became infinite or not a number")],
)
def test_what_is_not_finite_stops_training_before_it_spoils_the_weights_or_the_checkpoint(
    kind: type[_Odd], what: str, tmp_path: Path
) -> None:
    network, recipe, checkpoints = kind(), _recipe(), Checkpoints(tmp_path, "ours", every_seconds=0)
    where = "in epoch 2, step 2, at rate 0.05; try a tenth of it: --set training.learning_rate=0.005"
    with pytest.raises(TrainingError) as caught:
        fit(network, _loaders(recipe), recipe, watch=Watch(checkpoints=checkpoints))
    assert str(caught.value) == f"{what} {where} (the last good weights are in {checkpoints.path})"
    standing, tensors = Checkpoints(tmp_path, "ours", resume=True).load() or (Standing(), {})
    assert (standing.epoch, standing.step) == (1, 1)
    kept = tensors["network"]
    assert all(torch.isfinite(value).all() for value in kept.values())
    assert all(torch.equal(value, kept[name]) for name, value in network.state_dict().items())


def test_validation_that_is_not_finite_stops_training_too() -> None:
    with pytest.raises(TrainingError, match=r"the validation loss became nan in epoch 1, after step 4, at rate 0\.05"):
        fit(_NanInValidation(), _loaders(_recipe()), _recipe())


def test_spoilt_weights_are_never_kept_in_place_of_good_ones(tmp_path: Path) -> None:
    network, checkpoints = _network(), Checkpoints(tmp_path, "ours", every_seconds=0)
    done: list[int] = []

    @contextmanager
    def spoiling(description: str, total: int) -> Iterator[Advance]:
        def advance(steps: int) -> None:
            done.append(steps)
            if len(done) == 4:  # the third step: the first advance is where it starts from
                network.state_dict()["0.bias"].fill_(float("inf"))

        yield advance

    with pytest.raises(TrainingError, match="a weight became infinite or not a number in epoch 1, after step 3"):
        fit(network, _loaders(_recipe()), _recipe(), watch=Watch(spoiling, checkpoints=checkpoints))
    standing, tensors = Checkpoints(tmp_path, "ours", resume=True).load() or (Standing(), {})
    assert standing.step == 2
    assert torch.isfinite(tensors["network"]["0.bias"]).all()


def test_where_memory_is_short_training_goes_on_in_parts_to_the_same_end_and_says_so() -> None:
    whole, parted, recipe = _Odd(), _FewAtOnce(), _recipe(label_smoothing=0.1, mix_up=0.3)
    weights = np.array([0.5, 1.5], np.float32)
    expected = fit(whole, _loaders(recipe), recipe, class_weights=weights)
    fitted = fit(parted, _loaders(recipe), recipe, class_weights=weights)
    columns = ["loss", "accuracy", "val_loss", "val_accuracy"]
    pd.testing.assert_frame_equal(fitted.history[columns], expected.history[columns], rtol=1e-4)
    assert expected.notes == ()
    assert [note.partition(",")[0] for note in fitted.notes] == [
        "memory ran out at 16 images at once",
        "memory ran out at 8 images at once",
    ]
    assert parted.passes == 2 + 3 * 4 * 4


def test_parts_are_kept_small_when_training_goes_on(tmp_path: Path) -> None:
    recipe = _recipe(epochs=1)
    fit(_FewAtOnce(), _loaders(recipe), recipe, watch=Watch(checkpoints=Checkpoints(tmp_path, "ours", 0)))
    longer, network = _recipe(epochs=2), _FewAtOnce()
    again = Checkpoints(tmp_path, "ours", 0, resume=True)
    fitted = fit(network, _loaders(longer), longer, watch=Watch(checkpoints=again))
    assert network.passes == 4 * 4
    assert len(fitted.notes) == 2


def test_what_is_unfrozen_later_is_bit_identical_until_then_and_moves_from_then_on() -> None:
    network, recipe = _network(), _recipe(epochs=4)
    plan = ParameterPlan(first_epochs={"0.weight": 2, "0.bias": 1})
    seen = [{name: value.clone() for name, value in network.state_dict().items()}]

    def note(rows: object) -> None:
        seen.append({name: value.clone() for name, value in network.state_dict().items()})

    fit(network, _loaders(recipe), recipe, plan=plan, watch=Watch(on_epoch=note))
    moves = {name: [not torch.equal(a[name], b[name]) for a, b in pairwise(seen)] for name in seen[0]}
    assert moves["0.weight"] == [False, False, True, True]
    assert moves["0.bias"] == [False, True, True, True]
    assert moves["3.weight"] == [True] * 4
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_a_share_of_the_rate_makes_smaller_steps() -> None:
    def moved(share: float) -> float:
        network, recipe = _network(), _recipe(epochs=1, optimizer="sgd", learning_rate=1e-4)
        fit(network, _loaders(recipe), recipe, plan=ParameterPlan(rate_shares={"0.weight": share}))
        difference = network.state_dict()["0.weight"] - _network().state_dict()["0.weight"]
        return float(difference.abs().sum())

    assert moved(0.1) == pytest.approx(0.1 * moved(1), rel=0.02)


@pytest.mark.parametrize("schedule", ["cosine", "one-cycle"])
def test_the_history_has_the_rate_of_each_epoch_s_last_step(schedule: str) -> None:
    _, fitted, _ = _train(epochs=3, schedule=schedule)
    rates = [rate_at(_recipe(schedule=schedule), step, 12) for step in (3, 7, 11)]
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
    recipe, seen = _recipe(), list[list[float]]()
    fitted = fit(
        *(_network(), _loaders(recipe), recipe),
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
