from collections.abc import Iterator
from contextlib import contextmanager
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
from linnaeus.training.fit import HISTORY_COLUMNS, Fitted, Watch, fit

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
