from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from linnaeus.evaluation.inference import WIDEST_FEATURES, network_outputs, run_module
from linnaeus.networks.classifier import Network
from linnaeus.scale.engine import FEWEST_IMAGES


class _Same(nn.Module):
    """Logits that are the input."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs


def test_logits_are_those_of_the_network_and_features_what_its_head_gets_in_the_order_of_the_batches() -> None:
    body, head = nn.Flatten(), nn.Sequential(nn.Linear(6, 3))
    images = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(0))
    found = network_outputs(Network(body, head), [images[:2], images[2:]])
    np.testing.assert_allclose(found.logits, head(images.flatten(1)).detach().numpy(), rtol=1e-5)
    np.testing.assert_array_equal(found.features, images.flatten(1).numpy())
    assert len(found) == 5


def test_very_wide_features_give_way_to_what_the_last_layer_gets() -> None:
    wide = WIDEST_FEATURES + 1
    network = Network(
        nn.Flatten(), nn.Sequential(nn.Linear(wide, 4), nn.ReLU(), nn.Dropout(0.9), nn.Linear(4, 3))
    ).train()
    images = torch.randn(2, wide)
    found = network_outputs(network, [images])
    assert found.features.shape == (2, 4)
    np.testing.assert_allclose(found.logits, network.eval()(images).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_a_module_runs_in_evaluation_mode_and_in_32_bits() -> None:
    dropout = nn.Dropout(0.9).train()
    (output,) = run_module(dropout, [torch.ones(4, 100, dtype=torch.float64)])
    assert (output == 1).all()
    assert output.dtype == np.float32


def test_no_gradients_are_kept() -> None:
    layer = nn.Linear(2, 2)
    [*run_module(layer, [torch.ones(1, 2)])]
    assert layer.weight.grad is None


def test_the_bar_advances_by_images() -> None:
    steps: list[int] = []
    network_outputs(Network(_Same(), _Same()), [torch.zeros(4, 2), torch.zeros(1, 2)], steps.append)
    assert steps == [4, 1]


def test_few_batches_are_taken_before_they_are_needed() -> None:
    taken: list[int] = []

    def batches() -> Iterator[torch.Tensor]:
        for number in range(100):
            taken.append(number)
            yield torch.zeros(1, 1)

    outputs = run_module(_Same(), batches())
    next(outputs)
    outputs.close()  # type: ignore[attr-defined]
    assert 0 < len(taken) < 5


def test_an_error_while_a_batch_is_made_comes_out() -> None:
    def batches() -> Iterator[torch.Tensor]:
        yield torch.zeros(1, 1)
        raise ValueError("broken.jpg")

    with pytest.raises(ValueError, match=r"broken\.jpg"):
        [*run_module(_Same(), batches())]


@pytest.mark.parametrize("images", [None, FEWEST_IMAGES])
def test_batches_of_other_sizes_and_sides_are_computed_too(images: int | None) -> None:
    layer = nn.Conv2d(3, 4, 3)
    batches = [torch.rand(count, 3, side, side) for count, side in ((2, 8), (3, 8), (1, 8), (2, 16), (4, 8))]
    outputs = [*run_module(layer, batches, images=images)]
    for batch, output in zip(batches, outputs, strict=True):
        np.testing.assert_allclose(output, layer(batch).detach().numpy(), rtol=0.05, atol=0.02)  # 16 bits will do


def test_the_module_is_left_in_the_mode_it_was_in() -> None:
    module = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(2).eval())
    [*run_module(module, [torch.ones(4, 2)])]
    assert (module.training, module[0].training, module[1].training) == (True, True, False)
