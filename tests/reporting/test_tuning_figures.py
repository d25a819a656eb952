"""Figures of searches show what matters, for ordinary trials and for odd ones."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from linnaeus.reporting.figures import png_bytes
from linnaeus.reporting.tuning_figures import importance_figure, rates_figure, trials_figure


def trials(losses: list[float], states: list[str] | None = None) -> pd.DataFrame:
    named = states or ["complete"] * len(losses)
    return pd.DataFrame({"trial": range(len(losses)), "state": named, "val_loss": losses})


def words(figure: Figure) -> list[str]:
    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(Text) if isinstance(text, Text)]


def points(figure: Figure) -> list[Any]:
    """The points of each group: whole trials, and those that ended early."""
    return [np.asarray(group.get_offsets()).tolist() for group in figure.axes[0].collections]


def test_whole_trials_and_those_that_ended_early_are_told_apart_and_failed_ones_left_out() -> None:
    table = trials([0.5, 0.4, 0.9, np.nan], ["complete", "complete", "pruned", "fail"])
    whole, early = points(trials_figure(table))
    assert whole == [[1, 0.5], [2, 0.4]]
    assert early == [[3, 0.9]]


def test_the_line_is_the_best_of_the_whole_trials_so_far() -> None:
    table = trials([0.5, 0.3, 0.4, 0.2], ["complete", "pruned", "complete", "complete"])
    (line,) = trials_figure(table).axes[0].lines
    assert np.asarray(line.get_ydata()).tolist() == [0.5, 0.4, 0.2]


def test_a_trial_far_worse_than_the_best_does_not_press_the_others_together() -> None:
    figure = trials_figure(trials([0.2, 0.25, 40.0]))
    assert [y for _, y in points(figure)[0]] == [0.2, 0.25, pytest.approx(0.6)]
    assert "validation loss (worse than 0.6: on top)" in words(figure)
    assert "validation loss" in words(trials_figure(trials([0.2, 0.25])))


@pytest.mark.parametrize("count", [1, 2, 30])
def test_trials_are_counted_in_whole_numbers(count: int) -> None:
    figure = trials_figure(trials([0.5] * count))
    figure.draw_without_rendering()
    low, high = figure.axes[0].get_xlim()
    ticks = [tick for tick in figure.axes[0].get_xticks() if low <= tick <= high]
    assert ticks
    assert all(tick == int(tick) for tick in ticks)


def test_the_most_important_setting_stands_on_top_with_its_share() -> None:
    figure = importance_figure({"learning_rate": 0.7, "head": 0.3})
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["head", "learning rate"]
    assert [bar.get_width() for bar in figure.axes[0].patches] == [0.3, 0.7]  # type: ignore[attr-defined]


def rates(losses: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"learning_rate": np.geomspace(1e-7, 1, len(losses)), "loss": losses, "smoothed": losses})


def test_rates_are_written_as_powers_and_the_suggestion_is_named() -> None:
    found = words(rates_figure(rates([2.0] * 80 + [1.0] * 20), 3.2e-4))
    assert "half of the fall, 3.2e-4" in found
    assert "1e-5" in found
    assert not [word for word in found if "$" in word]


@pytest.mark.parametrize("losses", [[float("nan")], [2.0, float("nan")], [2.0, float("inf")], [2.0, 1.0, 1e9]])
def test_losses_that_diverge_are_drawn_and_do_not_hide_the_others(losses: list[float]) -> None:
    figure = rates_figure(rates(losses), None)
    assert png_bytes(figure)
    assert figure.axes[0].get_ylim()[1] <= 4
