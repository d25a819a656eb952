import logging
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from linnaeus.errors import TrainingError
from linnaeus.recipe_sections import TrainingRecipe
from linnaeus.training.checkpoint import Standing
from linnaeus.training.mixing import mixture
from linnaeus.training.step import Step, is_out_of_memory

pytestmark = pytest.mark.usefixtures("one_thread")

WEIGHTS = torch.tensor([0.5, 1.0, 2.0])
SETTINGS: list[dict[str, float]] = [
    {},
    {"label_smoothing": 0.2},
    {"mix_up": 0.5},
    {"cut_mix": 1.0},
    {"mix_up": 0.5, "cut_mix": 1.0, "label_smoothing": 0.1},
]


def _fabric(processes: int = 1) -> Any:
    """What a step needs of Lightning's Fabric, on the CPU; further processes have the very same batches."""
    return SimpleNamespace(
        device=torch.device("cpu"),
        world_size=processes,
        backward=lambda loss: loss.backward(),
        all_reduce=lambda value, reduce_op: value * processes,
    )


class _Small(nn.Module):
    """A network for which memory runs out with more than `most` images, or in the forward passes `fails_at`."""

    def __init__(self, most: int = 100, fails_at: tuple[int, ...] = ()) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layers = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3))
        self.most = most
        self.fails_at = fails_at
        self.sizes: list[int] = []
        self.error: Exception = RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(inputs))
        if len(inputs) > self.most or len(self.sizes) in self.fails_at:
            raise self.error
        logits: torch.Tensor = self.layers(inputs)
        return logits


def _batch(images: int = 10) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    return torch.rand(images, 2, 5, 5, generator=random), torch.randint(0, 3, (images,), generator=random)


def _step(network: nn.Module, weights: torch.Tensor | None = None, **settings: float) -> Step:
    return Step(_fabric(), network, TrainingRecipe.model_validate(settings), weights)


def _gradients(network: nn.Module) -> list[torch.Tensor]:
    return [parameter.grad for parameter in network.parameters() if parameter.grad is not None]


def _close(network: nn.Module, other: nn.Module) -> None:
    assert len(_gradients(network)) == 4
    torch.testing.assert_close(_gradients(network), _gradients(other), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0, 0.2])
def test_gradients_and_loss_are_those_of_torch_s_mean_cross_entropy(
    weights: torch.Tensor | None, smoothing: float
) -> None:
    inputs, labels = _batch()
    network, expected = _Small(), _Small()
    step = _step(network, weights, label_smoothing=smoothing)
    measured = step.backward(inputs, labels, 0, Standing())
    logits = expected(inputs)
    loss = functional.cross_entropy(logits, labels, weights, label_smoothing=smoothing)
    torch.autograd.backward(loss)
    _close(network, expected)
    assert measured.loss / step.weight(labels) == pytest.approx(float(loss.detach()), rel=1e-5)
    assert measured.correct == int((logits.argmax(dim=1) == labels).sum())
    assert measured.images == 10


def test_a_mixed_batch_counts_each_label_by_its_share() -> None:
    inputs, labels = _batch()
    network, expected = _Small(), _Small()
    step = _step(network, WEIGHTS, mix_up=0.5)
    measured = step.backward(inputs, labels, 7, Standing())
    blend = mixture(inputs, labels, step.recipe, np.random.default_rng((step.recipe.seed, 7)))
    assert 0 < blend.share < 1
    logits = expected(blend.inputs)
    pairs = [(blend.share, blend.labels), (1 - blend.share, blend.others)]
    loss = torch.stack([share * functional.cross_entropy(logits, each, WEIGHTS) for share, each in pairs]).sum()
    torch.autograd.backward(loss)
    _close(network, expected)
    right = sum(share * float((logits.argmax(dim=1) == each).sum()) for share, each in pairs)
    assert measured.correct == pytest.approx(right)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("settings", SETTINGS)
def test_where_memory_runs_out_parts_add_up_to_the_gradients_of_the_whole_batch(
    settings: dict[str, float], weights: torch.Tensor | None
) -> None:
    inputs, labels = _batch()
    whole, parted, standing = _Small(), _Small(most=3), Standing()
    expected = _step(whole, weights, **settings).backward(inputs, labels, 2, Standing())
    measured = _step(parted, weights, **settings).backward(inputs, labels, 2, standing)
    assert parted.sizes == [10, 5, 3, 3, 3, 1]
    assert standing.part == 3
    _close(parted, whole)
    assert measured.loss == pytest.approx(expected.loss, rel=1e-5)
    assert measured.correct == pytest.approx(expected.correct)


def test_what_a_failed_try_has_added_is_forgotten() -> None:
    inputs, labels = _batch()
    whole, parted = _Small(), _Small(fails_at=(2,))
    _step(whole).backward(inputs, labels, 0, Standing())
    _step(parted).backward(inputs, labels, 0, Standing(part=6))
    assert parted.sizes == [6, 4, 3, 3, 3, 1]
    _close(parted, whole)


def test_each_halving_is_noted_and_logged_and_stays_for_the_batches_after(caplog: pytest.LogCaptureFixture) -> None:
    network, standing = _Small(most=5), Standing()
    step = _step(network)
    with caplog.at_level(logging.WARNING):
        step.backward(*_batch(), 0, standing)
        step.backward(*_batch(), 1, standing)
    note = "memory ran out at 10 images at once, so the gradients of 5 are added up to those of 10"
    assert standing.notes == [note]
    assert [record.getMessage() for record in caplog.records] == [note]
    assert network.sizes == [10, 5, 5, 5, 5]


def test_a_single_image_that_does_not_fit_is_refused_with_advice() -> None:
    network = _Small(most=0)
    with pytest.raises(TrainingError, match=r"single image; use a smaller model or input size"):
        _step(network).backward(*_batch(), 0, Standing())
    assert network.sizes == [10, 5, 3, 2, 1]


def test_of_several_processes_none_goes_on_in_parts_alone() -> None:
    step = Step(_fabric(processes=2), _Small(most=5), TrainingRecipe(batch_size=20), None)
    with pytest.raises(TrainingError, match=r"at 10 images a process; take half: --set training.batch_size=10"):
        step.backward(*_batch(), 0, Standing())


def test_another_error_goes_through_at_once() -> None:
    network = _Small(most=5)
    network.error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        _step(network).backward(*_batch(), 0, Standing())
    assert network.sizes == [10]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] . DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
        MemoryError(),
    ],
)
def test_memory_that_ran_out_is_known_on_every_device(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", [RuntimeError("shapes do not fit"), ValueError("memory format")])
def test_no_other_error_is_taken_for_memory(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_all_randomness_of_a_step_depends_on_the_seed_and_its_number_alone() -> None:
    def gradients(number: int, seed: int = 0) -> list[torch.Tensor]:
        torch.manual_seed(int(np.random.default_rng().integers(1000)))
        network = _Small()
        network.layers.insert(3, nn.Dropout(0.5))
        _step(network, mix_up=1.0, seed=seed).backward(*_batch(), number, Standing())
        return _gradients(network)

    with torch.random.fork_rng():
        first = gradients(3)
        assert all(torch.equal(one, other) for one, other in zip(first, gradients(3), strict=True))
        assert not torch.equal(first[0], gradients(4)[0])
        assert not torch.equal(first[0], gradients(3, seed=1)[0])


def test_validation_is_measured_without_smoothing_and_with_the_weights_of_the_classes() -> None:
    inputs, labels = _batch()
    network = _Small().eval()
    step = _step(network, WEIGHTS, label_smoothing=0.5)
    with torch.inference_mode():
        measured = step.measure(network, inputs, labels)
        logits = network(inputs)
    expected = functional.cross_entropy(logits, labels, WEIGHTS)
    assert measured.loss / step.weight(labels) == pytest.approx(float(expected), rel=1e-5)
    assert measured.correct == int((logits.argmax(dim=1) == labels).sum())
