"""What goes wrong in training: figures that are not finite, and memory that runs out."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from clouds import cloud_loaders, recipe_of, small_network
from torch import nn

from linnaeus.errors import TrainingError
from linnaeus.progress import Advance
from linnaeus.training.checkpoint import Checkpoints, Standing
from linnaeus.training.fit import Watch, fit

pytestmark = pytest.mark.usefixtures("one_thread")


class _Odd(nn.Module):
    """A network that does something odd in some of its training passes (counted from 1), or in validation."""

    def __init__(self) -> None:
        super().__init__()
        self.layers, self.passes = small_network(), 0

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.passes += self.training
        return self.odd(torch.as_tensor(self.layers(inputs)))

    def odd(self, logits: torch.Tensor) -> torch.Tensor:
        return logits


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
    network, recipe, checkpoints = kind(), recipe_of(), Checkpoints(tmp_path, "ours", every_seconds=0)
    where = "in epoch 2, step 2, at rate 0.05; try a tenth of it: --set training.learning_rate=0.005"
    with pytest.raises(TrainingError) as caught:
        fit(network, cloud_loaders(recipe), recipe, watch=Watch(checkpoints=checkpoints))
    assert str(caught.value) == f"{what} {where} (the last good weights are in {checkpoints.path})"
    standing, tensors = Checkpoints(tmp_path, "ours", resume=True).load() or (Standing(), {})
    assert (standing.epoch, standing.step) == (1, 1)
    kept = tensors["network"]
    assert all(torch.isfinite(value).all() for value in kept.values())
    assert all(torch.equal(value, kept[name]) for name, value in network.state_dict().items())


def test_validation_that_is_not_finite_stops_training_too() -> None:
    with pytest.raises(TrainingError, match=r"the validation loss became nan in epoch 1, after step 4, at rate 0\.05"):
        fit(_NanInValidation(), cloud_loaders(recipe_of()), recipe_of())


def test_spoilt_weights_are_never_kept_in_place_of_good_ones(tmp_path: Path) -> None:
    network, checkpoints = small_network(), Checkpoints(tmp_path, "ours", every_seconds=0)
    done: list[int] = []

    @contextmanager
    def spoiling(description: str, total: int) -> Iterator[Advance]:
        def advance(steps: int) -> None:
            done.append(steps)
            if len(done) == 4:  # the third step: the first advance is where it starts from
                network.state_dict()["0.bias"].fill_(float("inf"))

        yield advance

    with pytest.raises(TrainingError, match="a weight became infinite or not a number in epoch 1, after step 3"):
        fit(network, cloud_loaders(recipe_of()), recipe_of(), watch=Watch(spoiling, checkpoints=checkpoints))
    standing, tensors = Checkpoints(tmp_path, "ours", resume=True).load() or (Standing(), {})
    assert standing.step == 2
    assert torch.isfinite(tensors["network"]["0.bias"]).all()


def test_where_memory_is_short_training_goes_on_in_parts_to_the_same_end_and_says_so() -> None:
    whole, parted, recipe = _Odd(), _FewAtOnce(), recipe_of(label_smoothing=0.1, mix_up=0.3)
    weights = np.array([0.5, 1.5], np.float32)
    expected = fit(whole, cloud_loaders(recipe), recipe, class_weights=weights)
    fitted = fit(parted, cloud_loaders(recipe), recipe, class_weights=weights)
    columns = ["loss", "accuracy", "val_loss", "val_accuracy"]
    pd.testing.assert_frame_equal(fitted.history[columns], expected.history[columns], rtol=1e-4)
    assert expected.notes == ()
    assert [note.partition(",")[0] for note in fitted.notes] == [
        "memory ran out at 16 images at once",
        "memory ran out at 8 images at once",
    ]
    assert parted.passes == 2 + 3 * 4 * 4


def test_parts_are_kept_small_when_training_goes_on(tmp_path: Path) -> None:
    recipe = recipe_of(epochs=1)
    fit(_FewAtOnce(), cloud_loaders(recipe), recipe, watch=Watch(checkpoints=Checkpoints(tmp_path, "ours", 0)))
    longer, network = recipe_of(epochs=2), _FewAtOnce()
    again = Checkpoints(tmp_path, "ours", 0, resume=True)
    fitted = fit(network, cloud_loaders(longer), longer, watch=Watch(checkpoints=again))
    assert network.passes == 4 * 4
    assert len(fitted.notes) == 2
