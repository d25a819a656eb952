"""Figures of how good one model is: calibration, ROC and precision-recall curves, slices."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from linnaeus.reporting.figures import BLUE, GREEN, GREY, ORANGE, SKY, VERMILLION, panels_of, titled
from linnaeus.reporting.words import slice_name

COLOURS = (BLUE, ORANGE, GREEN, VERMILLION, SKY, "#CC79A7", "#8C8C00", "#000000")
STYLES = ("-", "--", ":", "-.")
MOST_NAMED = 16  # curves that a legend still has room for
MOST_SLICES = 16
_BELOW: dict[str, Any] = {"loc": "lower right", "frameon": False, "fontsize": 8}


def reliability_figure(reliability: pd.DataFrame) -> Figure:
    """How often the predicted class is right against how probable the model says it is, before and after calibration.

    `reliability`: see `evaluation/calibration.py`, with `is_calibrated`.
    """
    figure, (axes,) = panels_of(1, height=4.6)
    axes.plot([0, 1], [0, 1], ":", color=GREY, lw=1.2, label="as it says")
    looks = ((False, ORANGE, "s", "before calibration"), (True, BLUE, "o", "calibrated"))
    for is_calibrated, colour, mark, name in looks:
        bins = reliability[reliability["is_calibrated"] == is_calibrated]
        errors = [bins["accuracy"] - bins["low"], bins["high"] - bins["accuracy"]]
        points: dict[str, Any] = {"fmt": f"{mark}-", "ms": 4.5, "lw": 1.2, "elinewidth": 0.9, "alpha": 0.85}
        axes.errorbar(bins["confidence"], bins["accuracy"], errors, color=colour, label=name, **points)
    titled(axes, "Reliability, with 95 % intervals", "probability of the predicted class", "share that is right")
    _shares(axes)
    axes.legend(**_BELOW)
    return figure


def curves_figure(curves: pd.DataFrame) -> Figure:
    """ROC and precision-recall curves, each class against the rest.

    `curves`: see `evaluation/measures.py`.
    """
    figure, panels = panels_of(2, height=8.6)
    kinds = (
        ("roc", "ROC", "false-positive rate", "recall"),
        ("precision-recall", "Precision and recall", "recall", "precision"),
    )
    names = [*dict.fromkeys(curves["class"])]
    for axes, (kind, title, x, y) in zip(panels, kinds, strict=True):
        for place, name in enumerate(names):
            points = curves[(curves["curve"] == kind) & (curves["class"] == name)]
            style, colour = STYLES[place // len(COLOURS) % len(STYLES)], COLOURS[place % len(COLOURS)]
            axes.plot(points["x"], points["y"], style, color=colour, lw=1.3, label=str(name))
        titled(axes, f"{title}, each class against the rest", x, y)
        _shares(axes)
    if len(names) <= MOST_NAMED:
        panels[0].legend(**_BELOW, ncols=2)
    return figure


def most_telling(slices: pd.DataFrame, most: int = MOST_SLICES) -> pd.DataFrame:
    """The slices with enough images on which the model is right least often, the worst last."""
    return slices[slices["p_value"].notna()].head(most)[::-1].reset_index(drop=True)


def slices_figure(slices: pd.DataFrame, accuracy: float) -> Figure:
    """The accuracy of the worst slices with its interval, the worst on top; a line for all images together.

    `slices`: see `evaluation/slices.py`.
    """
    shown = most_telling(slices)
    figure, (axes,) = panels_of(1, height=1.2 + 0.28 * max(len(shown), 2))
    for is_worse, colour in ((False, BLUE), (True, VERMILLION)):
        rows = shown[shown["is_worse"] == is_worse]
        errors = [rows["accuracy"] - rows["low"], rows["high"] - rows["accuracy"]]
        axes.errorbar(rows["accuracy"], rows.index, xerr=errors, fmt="o", color=colour, ms=5, lw=1.2)
    axes.axvline(accuracy, color=GREY, ls=":", lw=1.2)
    names = [f"{slice_name(row)} ({row['images']})" for row in shown.to_dict("records")]
    axes.set_yticks(range(len(shown)), names, fontsize=8)
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    titled(axes, "", "accuracy; dotted: all images together")
    axes.grid(visible=False, axis="y")
    return figure


def _shares(axes: Axes) -> None:
    """Both axes from nothing to all, in per cent."""
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.03))
