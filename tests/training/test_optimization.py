from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from linnaeus.recipe_sections import TrainingRecipe
from linnaeus.training.optimization import ParameterPlan, averaging, build_optimizer, rate_at, set_rate

STEPS = 200


def _recipe(**settings: object) -> TrainingRecipe:
    return TrainingRecipe.model_validate({"learning_rate": 0.01} | settings)


def _rates(steps: int = STEPS, **settings: object) -> np.ndarray:
    return np.array([rate_at(_recipe(**settings), step, steps) for step in range(steps)])


def _network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def test_a_constant_rate_stays() -> None:
    assert (_rates(schedule="constant") == 0.01).all()


def test_a_cosine_falls_from_the_rate_by_half_of_it_in_the_middle_to_almost_0() -> None:
    rates = _rates(schedule="cosine")
    assert rates[0] == 0.01
    assert rates[STEPS // 2] == pytest.approx(0.005)
    assert 0 < rates[-1] < 1e-5
    assert (np.diff(rates) < 0).all()


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_warm_up_rises_evenly_to_the_rate_and_the_schedule_begins_there(schedule: str) -> None:
    rates = _rates(schedule=schedule, warm_up=0.1)
    warm = STEPS // 10
    np.testing.assert_allclose(rates[:warm], 0.01 * np.arange(1, warm + 1) / warm)
    np.testing.assert_allclose(rates[warm:], _rates(STEPS - warm, schedule=schedule))


@pytest.mark.parametrize("steps", [2, 3, 4, 10, 37, STEPS])
def test_one_cycle_is_torch_s(steps: int) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=steps, cycle_momentum=False)
    expected = []
    for step in range(steps):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step < steps - 1:
            schedule.step()
    np.testing.assert_allclose(_rates(steps, schedule="one-cycle"), expected, rtol=1e-9)


def test_one_cycle_rises_from_a_25th_to_the_rate_and_falls_to_almost_nothing() -> None:
    rates = _rates(schedule="one-cycle")
    top = int(rates.argmax())
    assert rates[0] == pytest.approx(0.01 / 25)
    assert rates[top] == pytest.approx(0.01, rel=1e-3)
    assert top == pytest.approx(0.3 * STEPS, abs=1)
    assert rates[-1] == pytest.approx(0.01 / 25e4)
    assert (np.diff(rates[: top + 1]) > 0).all()
    assert (np.diff(rates[top:]) < 0).all()


@pytest.mark.parametrize("schedule", ["constant", "cosine", "one-cycle"])
@pytest.mark.parametrize("warm_up", [0, 0.999])
def test_the_shortest_trainings_have_a_rate(schedule: str, warm_up: float) -> None:
    for steps in (1, 2, 3):
        rates = _rates(steps, schedule=schedule, warm_up=warm_up)
        assert ((rates > 0) & (rates <= 0.01)).all()


def test_biases_and_scales_of_normalisation_do_not_decay_and_all_the_rest_does() -> None:
    network = _network()
    optimizer = build_optimizer(network, _recipe(optimizer="adamw", weight_decay=0.1), ParameterPlan())
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    decay = {names[id(p)]: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert {name for name, value in decay.items() if value == 0.1} == {"0.weight", "3.weight"}
    assert {name for name, value in decay.items() if value == 0} == {"0.bias", "1.weight", "1.bias", "3.bias"}


def test_adamw_shrinks_what_has_no_gradient_by_rate_times_decay() -> None:
    layer = nn.Linear(3, 2)
    before = layer.weight.detach().clone()
    optimizer = build_optimizer(layer, _recipe(optimizer="adamw", weight_decay=0.5), ParameterPlan())
    layer.weight.grad, layer.bias.grad = torch.zeros_like(layer.weight), torch.zeros_like(layer.bias)
    optimizer.step()
    torch.testing.assert_close(layer.weight.detach(), before * (1 - 0.01 * 0.5))


def test_each_parameter_has_its_share_of_the_rate() -> None:
    network = _network()
    plan = ParameterPlan(rate_shares={"0.weight": 0.5, "0.bias": 0.25})
    optimizer = build_optimizer(network, _recipe(), plan)
    set_rate(optimizer, 0.08)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    by_name = {name: rates[id(parameter)] for name, parameter in network.named_parameters()}
    assert (by_name.pop("0.weight"), by_name.pop("0.bias")) == (0.04, 0.02)
    assert {*by_name.values()} == {0.08}


def test_what_is_frozen_is_not_in_the_optimizer() -> None:
    network = _network()
    network[0].requires_grad_(False)
    optimizer = build_optimizer(network, _recipe(), ParameterPlan())
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert trained == {id(p) for p in (*network[1].parameters(), *network[3].parameters())}


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("adam", lambda parameters: torch.optim.Adam(parameters, 0.01, eps=1e-7)),
        ("adamw", lambda parameters: torch.optim.AdamW(parameters, 0.01, eps=1e-7, weight_decay=0)),
        ("sgd", lambda parameters: torch.optim.SGD(parameters, 0.01, momentum=0.9, nesterov=True)),
    ],
)
def test_each_optimizer_steps_as_torch_s_of_that_name(
    name: str, plain: Callable[[list[nn.Parameter]], torch.optim.Optimizer]
) -> None:
    trained, expected = nn.Linear(4, 3), nn.Linear(4, 3)
    expected.load_state_dict(trained.state_dict())
    start = trained.weight.detach().clone()
    inputs = torch.rand(5, 4, generator=torch.Generator().manual_seed(0))
    ours, theirs = build_optimizer(trained, _recipe(optimizer=name), ParameterPlan()), plain([*expected.parameters()])
    for _ in range(3):
        for layer, optimizer in ((trained, ours), (expected, theirs)):
            optimizer.zero_grad()
            layer(inputs).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(trained.weight, expected.weight)
    assert not torch.equal(trained.weight, start)


def test_the_average_is_that_of_a_plain_loop_statistics_included() -> None:
    network, random = _network(), torch.Generator().manual_seed(0)
    averaged = averaging(network, 0.5)
    expected: dict[str, torch.Tensor] = {}
    for step in range(12):
        with torch.no_grad():
            for value in network.state_dict().values():
                value.copy_(torch.randn(value.shape, generator=random) * 10)
        averaged.update_parameters(network)
        decay = min(0.5, (1 + step) / (10 + step)) if step else 0
        for name, value in network.state_dict().items():
            mean = expected.get(name, value)
            expected[name] = decay * mean + (1 - decay) * value if value.is_floating_point() else value.clone()
    for name, value in averaged.module.state_dict().items():
        torch.testing.assert_close(value, expected[name])


def test_the_average_leaves_the_network_alone_and_is_no_part_of_it() -> None:
    network = _network()
    averaged = averaging(network, 0.9)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    averaged.update_parameters(network)
    with torch.no_grad():
        for parameter in averaged.module.parameters():
            parameter.add_(1)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
