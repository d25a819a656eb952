"""Figures of searches: trials, what mattered, learning rates."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from linnaeus.reporting.figures import BLUE, GREY, ORANGE, panels_of, titled


def trials_figure(trials: pd.DataFrame) -> Figure:
    """Each trial's lowest validation loss, and the best so far."""
    figure, (axes,) = panels_of(1, height=3.2)
    titled(axes, "Trials", "trial", "validation loss")
    judged = trials[trials["val_loss"].notna()]
    is_whole = judged["state"] == "complete"
    for rows, colour, name in ((judged[is_whole], BLUE, "whole"), (judged[~is_whole], GREY, "ended early")):
        axes.scatter(rows["trial"] + 1, rows["val_loss"], s=16, color=colour, label=name, zorder=3)
    whole = judged[is_whole]
    axes.step(whole["trial"] + 1, whole["val_loss"].cummin(), where="post", color=ORANGE, label="best so far")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=8)
    return figure


def importance_figure(importances: Mapping[str, float]) -> Figure:
    """How much each setting moves the validation loss, as shares of the whole."""
    figure, (axes,) = panels_of(1, height=1.0 + 0.3 * len(importances))
    titled(axes, "What moves the validation loss", "")
    names = [*importances][::-1]
    axes.barh([name.replace("_", " ") for name in names], [importances[name] for name in names], color=BLUE)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return figure


def rates_figure(table: pd.DataFrame, suggestion: float | None) -> Figure:
    """The loss at growing learning rates, smoothed, and the rate at which it has done half of its fall."""
    figure, (axes,) = panels_of(1, height=3.2)
    titled(axes, "Loss by learning rate", "learning rate", "training loss")
    axes.plot(table["learning_rate"], table["loss"], color=GREY, linewidth=0.6, label="of a batch")
    axes.plot(table["learning_rate"], table["smoothed"], color=BLUE, label="smoothed")
    if suggestion is not None:
        axes.axvline(suggestion, color=ORANGE, linestyle="--", label=f"half of the fall, {suggestion:.1e}")
    axes.set_xscale("log")
    axes.set_ylim(top=2 * table["smoothed"].iloc[0])
    axes.legend(frameon=False, fontsize=8)
    return figure
