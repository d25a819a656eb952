"""Figures of searches: trials, what mattered, learning rates."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator, PercentFormatter

from linnaeus.reporting.figures import BLUE, GREY, ORANGE, panels_of, titled

WORST_SHOWN = 3.0  # times the best loss; what is worse is drawn there, or it would press all others together


def trials_figure(trials: pd.DataFrame) -> Figure:
    """Each trial's lowest validation loss, those beyond three times the best at the upper end, and the best so far."""
    figure, (axes,) = panels_of(1, height=3.2)
    judged = trials[trials["val_loss"].notna()]
    is_whole = judged["state"] == "complete"
    highest = WORST_SHOWN * judged["val_loss"][is_whole].min()
    is_beyond = (judged["val_loss"] > highest).any()
    titled(
        axes,
        "Trials",
        "trial",
        f"validation loss (worse than {highest:.2g}: on top)" if is_beyond else "validation loss",
    )
    judged = judged.assign(val_loss=judged["val_loss"].clip(upper=highest))
    for rows, colour, name in ((judged[is_whole], BLUE, "whole"), (judged[~is_whole], GREY, "ended early")):
        axes.scatter(rows["trial"] + 1, rows["val_loss"], s=16, color=colour, label=name, zorder=3)
    whole = judged[is_whole]
    axes.step(whole["trial"] + 1, whole["val_loss"].cummin(), where="post", color=ORANGE, label="best so far")
    axes.set_xlim(0.5, len(trials) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
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
        axes.axvline(suggestion, color=ORANGE, linestyle="--", label=f"half of the fall, {_power(suggestion)}")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: _power(rate)))
    axes.xaxis.set_minor_locator(NullLocator())
    losses = table["loss"][np.isfinite(table["loss"])]
    if len(losses):
        axes.set_ylim(0, min(2 * losses.iloc[0], 1.1 * losses.max()))
    axes.legend(frameon=False, fontsize=8)
    return figure


def _power(rate: float) -> str:
    """A rate such as 1e-5."""
    return np.format_float_scientific(rate, precision=1, trim="-", exp_digits=1)
