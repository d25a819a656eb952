import math
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from linnaeus.evaluation import running_cost
from linnaeus.evaluation.running_cost import LATENCY_COLUMNS, latencies, macs, pareto
from linnaeus.networks.classifier import build_classifier
from linnaeus.networks.head import NearestNeighbours
from linnaeus.recipe_sections import ScratchRecipe
from linnaeus.scale.backends import Backend
from linnaeus.settings import CleanRecipe

PLACES = 14 * 14  # of a 3x3 window without padding on 16 px


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([nn.Conv2d(3, 8, 3)], PLACES * 8 * 3 * 9),
        ([nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)], 8 * 8 * 8 * 3 * 9),
        ([nn.Conv2d(3, 6, 3, groups=3)], PLACES * 6 * 9),
        ([nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=8)], 16 * 16 * 3 * 8 + PLACES * 8 * 9),
        ([nn.Flatten(), nn.Linear(3 * 256, 5)], 3 * 256 * 5),
        ([nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.5)], 0),
    ],
    ids=["convolution", "strided", "depthwise", "separable", "linear", "nothing"],
)
def test_multiply_accumulates_are_those_of_the_closed_form(layers: list[nn.Module], expected: int) -> None:
    assert macs(nn.Sequential(*layers), 16) == expected


def test_multiply_accumulates_of_a_classifier_are_the_sum_over_its_layers() -> None:
    model = ScratchRecipe(kind="scratch", conv_widths=[4, 8], pool_sizes=[2, 2], dense_widths=[6], dropouts=[0.5])
    classifier = build_classifier(model, ["ant", "bee"], CleanRecipe(size=32))
    found: list[int] = []
    for layer in classifier.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(lambda layer, _, out: found.append(out.numel() * layer.weight[0].numel()))
    with torch.inference_mode():
        classifier(torch.zeros(1, 3, 32, 32))
    expected = sum(found)
    assert len(found) == 4
    assert macs(classifier, 32) == expected


def test_multiply_accumulates_of_neighbours_are_those_of_their_comparison() -> None:
    head = NearestNeighbours(3 * 16, classes=2)
    head.remember(torch.rand(7, 3 * 16), torch.zeros(7, dtype=torch.int64), count=2)
    assert macs(nn.Sequential(nn.Flatten(), head), 4) == 7 * 3 * 16


def test_counting_leaves_the_module_as_it_was() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    macs(module, 8)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(part.training for part in module.modules())


class _Recorder:
    """An engine that keeps what it is given."""

    def __init__(self) -> None:
        self.batches: list[torch.Tensor] = []

    def __call__(self, batch: torch.Tensor) -> np.ndarray:
        self.batches.append(batch.clone())
        return np.zeros((len(batch), 2), np.float32)

    def count(self, images: int) -> int:
        return sum(len(batch) == images for batch in self.batches)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> _Recorder:
    """One way that works, and one that does not."""
    recorder = _Recorder()
    monkeypatch.setattr(
        running_cost, "backends", lambda *_: iter([Backend("a", recorder), Backend("b", None, "no b here")])
    )
    return recorder


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock on which time passes at each look, by the last of these seconds."""
    steps, now = [1.0], [0.0]

    def look() -> float:
        now[0] += steps[-1]
        return now[0]

    monkeypatch.setattr(running_cost, "perf_counter", look)
    return steps


def test_each_way_has_a_row_with_its_figures_or_its_reason(recorder: _Recorder, clock: list[float]) -> None:
    clock.append(0.25)
    table = latencies(nn.Identity(), 8, seconds=1)
    assert [*table.columns] == LATENCY_COLUMNS
    works, fails = table.to_dict("records")
    assert works == {
        "backend": "a",
        "p50_ms": 250,
        "p99_ms": 250,
        "images_per_second": 32 / 0.25,
        "passes": 30,
        "reason": "",
    }
    assert (fails["backend"], fails["passes"], fails["reason"]) == ("b", 0, "no b here")
    assert all(math.isnan(fails[column]) for column in ("p50_ms", "p99_ms", "images_per_second"))


@pytest.mark.parametrize(("step", "passes"), [(1.0, 30), (0.0001, 300), (0.0055, 101)])
def test_passes_are_as_many_as_fit_into_the_time_but_30_at_least_and_300_at_most(
    recorder: _Recorder, clock: list[float], step: float, passes: int
) -> None:
    clock.append(step)  # two looks for each of the first 30 passes, then three
    table = latencies(nn.Identity(), 8, seconds=1.5)
    assert table["passes"][0] == passes
    assert recorder.count(1) == table["passes"][0] + running_cost.WARMING_PASSES


def test_percentiles_are_of_the_single_images_and_the_speed_is_the_fastest_batch_s(
    recorder: _Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    singles = np.arange(1, 101) / 1000
    monkeypatch.setattr(running_cost, "_seconds_of_singles", lambda *_: singles)
    monkeypatch.setattr(running_cost, "_seconds_of_batches", lambda *_: iter([4.0, 2.0, 3.0]))
    row = latencies(nn.Identity(), 8).iloc[0]
    assert row["p50_ms"] == pytest.approx(50.5)
    assert row["p99_ms"] == pytest.approx(99.01)
    assert row["images_per_second"] == 16


def test_images_that_are_given_are_those_that_are_timed(recorder: _Recorder, clock: list[float]) -> None:
    images = torch.arange(3 * 3 * 8 * 8, dtype=torch.float32).reshape(3, 3, 8, 8)
    table = latencies(nn.Identity(), 8, images=images, seconds=0)
    assert {len(batch) for batch in recorder.batches} == {1, 3}
    assert all(any(torch.equal(batch[0], image) for image in images) for batch in recorder.batches)
    assert table["images_per_second"].notna().any()


def test_the_inputs_are_the_same_at_each_call(recorder: _Recorder, clock: list[float]) -> None:
    latencies(nn.Identity(), 8, seconds=0)
    first = [*recorder.batches]
    torch.rand(3)
    recorder.batches.clear()
    latencies(nn.Identity(), 8, seconds=0)
    assert len(first) == len(recorder.batches) == running_cost.WARMING_PASSES + 30 + 2
    assert all(torch.equal(one, other) for one, other in zip(first, recorder.batches, strict=True))
    assert not torch.equal(first[0], first[1])


def test_a_real_network_has_times_in_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # its export takes seconds
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
    table = latencies(module, 8, seconds=0.02).set_index("backend")
    row = table.loc["torch, cuda" if torch.cuda.is_available() else "torch, cpu"]
    assert 0 < row["p50_ms"] <= row["p99_ms"]
    assert row["images_per_second"] > 0
    assert (table["passes"].gt(0) == table["reason"].eq("")).all()


def _beaten(table: pd.DataFrame, place: int) -> bool:
    own = table.iloc[place]
    return any(
        other["accuracy"] >= own["accuracy"]
        and other["ms"] <= own["ms"]
        and (other["accuracy"] > own["accuracy"] or other["ms"] < own["ms"])
        for _, other in table.iterrows()
    )


@pytest.mark.parametrize("rows", [1, 2, 5, 12])
def test_the_front_is_every_row_that_no_other_beats(rows: int) -> None:
    figures = np.random.default_rng(rows).integers(0, 5, (rows, 2))
    table = pd.DataFrame(figures, columns=["accuracy", "ms"])
    assert [*pareto(table, "accuracy", "ms")] == [not _beaten(table, place) for place in range(len(table))]


def test_ties_stay_together_and_keep_the_table_s_index() -> None:
    table = pd.DataFrame({"accuracy": [0.9, 0.9, 0.8, 0.9], "ms": [2.0, 2.0, 1.0, 3.0]}, index=[*"abcd"])
    front = pareto(table, "accuracy", "ms")
    assert front.to_dict() == {"a": True, "b": True, "c": True, "d": False}
    assert front.dtype == bool


def test_what_is_unknown_is_never_on_the_front_and_beats_nothing() -> None:
    table = pd.DataFrame({"accuracy": [0.99, np.nan, 0.5], "ms": [np.nan, 0.1, 1.0]})
    assert [*pareto(table, "accuracy", "ms")] == [False, False, True]


def test_an_empty_table_has_an_empty_front() -> None:
    assert pareto(pd.DataFrame({"accuracy": [], "ms": []}), "accuracy", "ms").empty
