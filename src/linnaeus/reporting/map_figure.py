"""The map of the feature space, drawn: a dot an image, coloured by class, with the mistakes ringed."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from linnaeus.reporting.figures import BLUE, GREEN, INK, MOST_LABELS, ORANGE, SKY, VERMILLION, WIDTH, panels_of, titled

# Okabe and Ito's without yellow, which a white page swallows, and with brown.
COLOURS = (BLUE, ORANGE, GREEN, VERMILLION, SKY, "#CC79A7", "#7A4B1E", "#8A8A8A")
MARKERS = "o^sDvP*X"  # the first eight classes are circles, the next eight triangles, and so on
COLUMNS = 3
NAME_LENGTH = 18


def map_figure(points: NDArray[np.float64], categories: Sequence[str], is_wrong: NDArray[np.bool_]) -> Figure:
    """The map: a dot an image, a colour and shape a class, a ring around each image that the model gets wrong.

    `points`: (images, 2) in [0, 1]. The legend names at most 34 classes.
    """
    names = np.asarray(categories, dtype=object)
    classes = sorted(set(categories))
    styles = _styles(len(classes))
    handles = _handles(classes, styles, int(is_wrong.sum()))
    (left, right), (bottom, top) = (_limits(side) for side in points.T)
    height = (WIDTH - 0.15) * (top - bottom) / (right - left)
    figure, (axes,) = panels_of(1, height=0.65 + height + 0.19 * math.ceil(len(handles) / COLUMNS))
    area = float(np.clip(9000 / max(len(points), 1), 9, 34))  # thousands of dots must not hide each other
    for name, style in zip(classes, styles, strict=True):
        x, y = points[names == name].T
        axes.scatter(x, y, area, alpha=0.8, linewidths=0, zorder=2, **style)
    x, y = points[is_wrong].T
    axes.scatter(x, y, 3 * area + 12, facecolors="none", edgecolors=INK, linewidths=0.9, zorder=3)
    titled(axes, "Images by what the network sees in them", "")
    axes.set(xticks=[], yticks=[], xlim=(left, right), ylim=(bottom, top), aspect="equal")
    axes.spines[["top", "right"]].set(visible=True, color="#b5b5b5")
    legend: dict[str, Any] = {"ncols": COLUMNS, "frameon": False, "fontsize": 9, "handletextpad": 0.2}
    figure.legend(handles=handles, loc="outside lower left", columnspacing=1.2, **legend)
    return figure


def _limits(side: NDArray[np.float64]) -> tuple[float, float]:
    """From where to where the map is drawn along one side: the points with a margin, and at least half of [0, 1]."""
    middle, half = (side.min() + side.max()) / 2, max(float(np.ptp(side)) / 2, 0.25) + 0.04
    return float(middle - half), float(middle + half)


def _styles(classes: int) -> list[dict[str, Any]]:
    """A colour and a shape for each class, all different for up to 64 of them."""
    return [
        {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place // len(COLOURS) % len(MARKERS)]}
        for place in range(classes)
    ]


def _handles(classes: Sequence[str], styles: Sequence[dict[str, Any]], wrong: int) -> list[Line2D]:
    """The legend's entries: the classes, how many more there are, and the ring."""
    shown = classes[:MOST_LABELS]
    handles = [
        Line2D([], [], ls="", ms=6, mew=0, label=_short(name), **style)
        for name, style in zip(shown, styles[: len(shown)], strict=True)
    ]
    if len(classes) > len(shown):
        handles.append(Line2D([], [], ls="", label=f"and {len(classes) - len(shown)} more"))
    return [*handles, Line2D([], [], ls="", marker="o", ms=8, mfc="none", mec=INK, label=f"wrong ({wrong:,})")]


def _short(name: str) -> str:
    # A label that starts with "_" is left out of legends, so it is given a space of no width.
    shortened = name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH - 1]}…"
    return f"\N{ZERO WIDTH SPACE}{shortened}" if name.startswith("_") else shortened
