"""Figures for people: tables in, matplotlib figures out; nothing here draws on global state.

All are narrow, with panels on top of each other, so that their text stays readable on a phone.
"""

import io
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator, PercentFormatter
from numpy.typing import NDArray
from PIL import Image

from linnaeus.files import write_with
from linnaeus.records import PART_NAMES, PARTS

WIDTH = 5.2  # inches; a 10 point text is then 10 pixels high on a phone 390 pixels wide
DPI = 144
INK, GREY, GRID = "#222222", "#6b6b6b", "#e3e3e3"
# Okabe and Ito's colours, which differ for colour-blind eyes too. Source: jfly.uni-koeln.de/color.
BLUE, ORANGE, GREEN, SKY, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#56B4E9", "#D55E00"
PART_COLOURS = {"train": BLUE, "val": ORANGE, "test": GREEN}
MOST_ANNOTATED = 10  # classes whose confusion cells still have room for a number
MOST_LABELS = 34  # labels that fit on one axis
# What accuracy is traded for: the leaderboard's column, that of its Pareto front, name and unit.
COSTS = (
    ("latency_p50_ms", "is_front_latency", "Latency of one image, median", "milliseconds"),
    ("size_mb", "is_front_size", "Size", "MiB"),
    ("train_seconds", "is_front_training", "Training time", "seconds"),
)

# On the title's line, at the right, outside of the drawing.
_LEGEND_RIGHT: dict[str, Any] = {
    "loc": "lower right",
    "bbox_to_anchor": (1, 1),
    "ncols": 3,
    "frameon": False,
    "fontsize": 8,
    "columnspacing": 1.0,
    "handlelength": 1.4,
    "borderaxespad": 0.2,
}

# DejaVu, which comes with matplotlib, lacks Chinese, Japanese and Korean.
_WANTED_FONTS = (
    "DejaVu Sans",
    "Noto Sans CJK SC",
    "PingFang SC",
    "Hiragino Sans",
    "Microsoft YaHei",
    "Malgun Gothic",
)


def history_figure(history: pd.DataFrame) -> Figure:
    """Accuracy and loss by epoch, for training and validation; a dotted line where another model goes on.

    `history`: epoch, loss, accuracy, val_loss, val_accuracy and model_id, a row an epoch; it may be empty. Of a head
    that is fitted at once it has a row for each `setting` that was tried.
    """
    figure, (above, below) = panels_of(2, height=6.2)
    for axes, name in ((above, "accuracy"), (below, "loss")):
        axes.plot(history["epoch"], history[name], "o-", color=BLUE, ms=3, lw=1.6, label="training")
        axes.plot(history["epoch"], history[f"val_{name}"], "s-", color=ORANGE, ms=3, lw=1.6, label="validation")
        titled(axes, name.capitalize(), "setting that was tried" if "setting" in history else "epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
        if history.empty:
            axes.text(0.5, 0.5, "never trained: no epochs", transform=axes.transAxes, ha="center", color=GREY)
            axes.set(xticks=[], yticks=[])
    if not history.empty:
        above.yaxis.set_major_formatter(PercentFormatter(1))
        above.set_ylim(0, 1.03)
        below.set_ylim(0, 1.1 * float(history[["loss", "val_loss"]].to_numpy(dtype=float).max()))
        for axes in (above, below):
            axes.set_xlim(history["epoch"].min() - 0.5, history["epoch"].max() + 0.5)
        _mark_lowest_loss(below, history)
        _mark_hand_overs((above, below), history)
        above.legend(**_LEGEND_RIGHT)
        below.legend(**_LEGEND_RIGHT)
    return figure


def confusion_figure(counts: pd.DataFrame) -> Figure:
    """Images by true class (rows) and predicted class (columns): counts, and shares of each row in per cent.

    Up to 10 classes have a number in every cell; with many classes only some of the names are written.
    """
    sums = counts.sum(axis=1).to_numpy()[:, None]
    values = counts.to_numpy(dtype=float)
    shares = 100 * values / np.maximum(sums, 1)
    figure, panels = panels_of(2, height=9.6)
    titles = ("Images", "Share of the true class, %")
    for axes, numbers, title in zip(panels, (values, shares), titles, strict=True):
        # The square root makes rare mistakes visible beside a full diagonal.
        norm = PowerNorm(0.5, 0, max(float(numbers.max()), 1))
        picture = axes.imshow(numbers, cmap="Blues", norm=norm, interpolation="nearest")
        titled(axes, title, "predicted", "true")
        _name_axis(axes.xaxis, counts.columns, rotation=90)
        _name_axis(axes.yaxis, counts.index)
        axes.grid(visible=False)
        if len(counts) <= MOST_ANNOTATED:
            _write_cells(axes, numbers)
        else:
            figure.colorbar(
                picture, ax=axes, fraction=0.046, pad=0.03, ticks=MaxNLocator(6, integer=True)
            ).outline.set_visible(False)
    return figure


def class_counts_figure(counts: pd.DataFrame) -> Figure:
    """Images of each class as stacked bars, one colour a part; the largest class on top.

    `counts`: a row a class, columns train, val and test (Splits.counts).
    """
    ordered = counts.loc[counts.sum(axis=1).sort_values(kind="stable").index]
    totals = ordered.sum(axis=1).to_numpy()
    figure, (axes,) = panels_of(1, height=1.3 + min(max(0.28 * len(ordered), 1.2), 8))
    places, left = np.arange(len(ordered)), np.zeros(len(ordered))
    for part in PARTS:
        widths = ordered[part].to_numpy(dtype=float)
        axes.barh(places, widths, left=left, color=PART_COLOURS[part], label=PART_NAMES[part], height=0.78)
        left += widths
    _name_axis(axes.yaxis, ordered.index)
    axes.set_ylim(-0.6, len(ordered) - 0.4)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel("images", color=GREY, fontsize=9)
    axes.grid(visible=False, axis="y")
    if len(ordered) <= MOST_LABELS:
        for place, total in zip(places, totals, strict=True):
            axes.annotate(f"{total:,}", (total, place), (3, 0), textcoords="offset points", va="center", fontsize=8)
        axes.set_xlim(right=float(totals.max()) * 1.12)
    figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=9)
    return figure


def sizes_figure(images: pd.DataFrame) -> Figure:
    """How often widths and heights occur, and each width against its height, in pixels as stored.

    `images`: columns width and height, a row an image.
    """
    sides = images[["width", "height"]].to_numpy()
    low, high = float(sides.min()) / 1.1, float(sides.max()) * 1.1
    bins = np.geomspace(low, high, 40).tolist()
    figure, (above, below) = panels_of(2, height=7.4)
    for name, colour in (("width", BLUE), ("height", ORANGE)):
        above.hist(images[name], bins=bins, histtype="stepfilled", color=colour, alpha=0.3)
        above.hist(images[name], bins=bins, histtype="step", color=colour, lw=1.4, label=name)
    titled(above, "How often each side occurs", "pixels", "images")
    above.legend(**_LEGEND_RIGHT)
    pairs = images.groupby(["width", "height"]).size().reset_index(name="count")
    areas = 8 + 150 * pairs["count"] / pairs["count"].max()
    below.plot([low, high], [low, high], ":", color=GREY, lw=1, label="square")
    below.scatter(pairs["width"], pairs["height"], s=areas, color=BLUE, alpha=0.4, lw=0)
    titled(below, "Width and height (a larger dot: more images)", "width, pixels", "height, pixels")
    below.legend(loc="upper left", frameon=False, fontsize=9)
    for axis in (above.xaxis, below.xaxis, below.yaxis):
        _log_scale(axis, low, high)
    _log_scale(above.yaxis, 0.9, 2 * len(images))  # one common size must not hide the rare ones
    return figure


def tradeoff_figure(leaderboard: pd.DataFrame) -> Figure:
    """Accuracy against latency, size and training time, a point a model, named in a column on the right.

    Validation accuracy is the full mark, and a line joins those that no other model beats in both (the Pareto front);
    test accuracy with its 95 % interval, where that is open, is the faint one.
    """
    figure, panels = panels_of(len(COSTS), height=len(COSTS) * (1.0 + max(2.4, 0.15 * len(leaderboard))))
    validation, test = leaderboard["acc_val"], leaderboard["accuracy"]
    errors = [test - leaderboard["accuracy_low"], leaderboard["accuracy_high"] - test]
    faint: dict[str, Any] = {"fmt": "D", "ms": 4, "lw": 1.2, "color": GREEN, "alpha": 0.45}
    for axes, (column, front, title, unit) in zip(panels, COSTS, strict=True):
        costs = leaderboard[column].fillna(0)
        best = leaderboard[leaderboard[front].astype(bool)].sort_values([column, "acc_val"])
        axes.errorbar(costs, test, errors, label="test, with its 95 % interval", **faint)
        axes.plot(
            best[column], best["acc_val"], drawstyle="steps-post", color=BLUE, lw=1, alpha=0.6, label="Pareto front"
        )
        axes.plot(costs, validation, "o", ms=6.5, color=BLUE, label="validation")
        titled(axes, title, unit, "accuracy")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        _log_scale(axes.xaxis, float(costs.min()) / 1.5, max(float(costs.max()), 1) * 1.5)
        axes.margins(y=0.08)
        _name_points(axes, leaderboard["model_id"], costs.to_numpy(), validation.to_numpy())
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=3, frameon=False, fontsize=8)
    return figure


def png_bytes(figure: Figure) -> bytes:
    """The figure as a PNG at 144 dots an inch, with at most 128 colours so that a page holds many."""
    buffer = io.BytesIO()
    _draw(figure).save(buffer, "PNG", optimize=True, dpi=(DPI, DPI))
    return buffer.getvalue()


def save_figure(figure: Figure, path: Path) -> None:
    """Write the figure as a PNG, whole or not at all, at 144 dots an inch."""
    write_with(path, lambda partial: partial.write_bytes(png_bytes(figure)))


def _draw(figure: Figure) -> Image.Image:
    installed = set(font_manager.get_font_names())
    fonts = [name for name in _WANTED_FONTS if name in installed]
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_fontfamily(fonts)
        text.set_parse_math(False)  # a class may be called "$5$"
    with warnings.catch_warnings():
        # Letters that no installed font has are drawn as boxes; the tables beside the figure have them.
        warnings.filterwarnings("ignore", message="Glyph")
        canvas = FigureCanvasAgg(figure)
        canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return Image.fromarray(pixels).convert("RGB").quantize(128)


class _Figure(Figure):
    """A figure that a notebook shows as it is saved, whether or not pyplot was ever imported."""

    def _repr_png_(self) -> bytes:
        return png_bytes(self)


def panels_of(rows: int, height: float) -> tuple[Figure, list[Axes]]:
    """An empty figure and its panels, from top to bottom, with light grids and no frames."""
    figure = _Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white", layout="constrained")
    figure.get_layout_engine().set(h_pad=0.08, w_pad=0.06, hspace=0.04)  # type: ignore[union-attr, call-arg]
    panels = [figure.add_subplot(rows, 1, row + 1) for row in range(rows)]
    for axes in panels:
        axes.grid(color=GRID, lw=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color("#b5b5b5")
        axes.tick_params(labelsize=9, colors=INK, length=0)
    return figure, panels


def titled(axes: Axes, title: str, x: str, y: str = "") -> None:
    """Write a panel's title and its axes' names."""
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    axes.set_xlabel(x, color=GREY, fontsize=9)
    axes.set_ylabel(y, color=GREY, fontsize=9)


def _mark_lowest_loss(axes: Axes, history: pd.DataFrame) -> None:
    own = history[history["model_id"] == history["model_id"].iloc[-1]]  # not of the run that it started from
    lowest = own.iloc[int(own["val_loss"].to_numpy(dtype=float).argmin())]
    ring: dict[str, Any] = {"ms": 10, "mfc": "none", "color": VERMILLION, "mew": 1.4}
    axes.plot([lowest["epoch"]], [lowest["val_loss"]], "o", label="lowest", **ring)


def _mark_hand_overs(panels: Sequence[Axes], history: pd.DataFrame) -> None:
    names = history["model_id"]
    starts = history[names.ne(names.shift()) & names.shift().notna()]
    for epoch, name in zip(starts["epoch"], starts["model_id"], strict=True):
        for axes in panels:
            axes.axvline(epoch - 0.5, color=GREY, ls=":", lw=1.2)
        # Low in the upper panel, where accuracy leaves room.
        place: dict[str, Any] = {
            "xytext": (3, 4),
            "textcoords": "offset points",
            "xycoords": panels[0].get_xaxis_transform(),
        }
        label = panels[0].annotate(f"{_short(name, 24)} goes on", (epoch - 0.5, 0), **place)
        label.set(rotation=90, fontsize=7, color=GREY, ha="left", va="bottom")


def _write_cells(axes: Axes, numbers: NDArray[np.float64]) -> None:
    dark = numbers > numbers.max() * 0.35
    for (row, column), number in np.ndenumerate(numbers):
        colour = "white" if dark[row, column] else (INK if number else "#b0b0b0")
        size = 8 if number < 1000 else 7 if number < 10_000 else 6
        cell = axes.text(column, row, f"{number:.0f}", ha="center", va="center", color=colour, fontsize=size)
        cell.set_in_layout(False)  # measuring a hundred of them takes longer than drawing the rest


def _name_axis(axis: Any, names: Sequence[str] | pd.Index, rotation: int = 0) -> None:
    """Write the class names along an axis, every second or third only where there are too many."""
    step = -(-len(names) // MOST_LABELS)
    shown = range(0, len(names), step)
    size = 9 if len(names) <= MOST_ANNOTATED * 2 else 7
    axis.set_ticks([*shown], [_short(str(names[place]), 18) for place in shown], fontsize=size, rotation=rotation)


def _log_scale(axis: Any, low: float, high: float) -> None:
    """A logarithmic axis with plain numbers; where zero must be shown, it is linear below one."""
    axes, letter = axis.axes, axis.axis_name
    scale: dict[str, Any] = {"value": "log"} if low > 0 else {"value": "symlog", "linthresh": 1}
    getattr(axes, f"set_{letter}scale")(**scale)
    axes.set(**{f"{letter}lim": (low if low > 0 else -0.3, high)})
    axis.set_ticks(_log_ticks(low, high) if low > 0 else [0.0, *_log_ticks(1, high)])
    axis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,.6g}"))
    axis.set_minor_locator(NullLocator())


def _log_ticks(low: float, high: float) -> list[float]:
    """At most seven round numbers between two limits; where there is none, their geometric mean."""
    for mantissas in ((1,), (1, 2, 5), (1, 2, 3, 4, 5, 6, 8)):
        steps = [mantissa * 10.0**power for power in range(-3, 10) for mantissa in mantissas]
        inside = [step for step in steps if low <= step <= high]
        if len(inside) >= 3:
            break
    return inside[:: -(-len(inside) // 7)] if inside else [math.sqrt(low * high)]


def _name_points(axes: Axes, names: pd.Series, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    """Write the names in a column right of the drawing, each tied to its point by a thin line."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    wanted = (y - low) / (high - low)
    for name, place, point in zip(names, _spread(wanted), zip(x, y, strict=True), strict=True):
        tie = {"arrowstyle": "-", "color": "#a8a8a8", "lw": 0.6, "shrinkA": 1, "shrinkB": 4, "relpos": (0, 0.5)}
        label = axes.annotate(_short(name, 30), point, (1.04, place), textcoords="axes fraction", arrowprops=tie)
        label.set(fontsize=7, color=INK, va="center", annotation_clip=False)


def _spread(wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Places between 0 and 1, in the wanted order and near the wanted places, that keep an even distance."""
    gap = min(0.06, 1 / max(len(wanted) - 1, 1))
    order = np.argsort(wanted[::-1], kind="stable")  # of equal ones the first, which ranks higher, stays on top
    order = len(wanted) - 1 - order
    places = wanted[order]
    for place in range(1, len(places)):
        places[place] = max(places[place], places[place - 1] + gap)
    ceiling = 1.0
    for place in reversed(range(len(places))):
        places[place] = min(places[place], ceiling)
        ceiling = places[place] - gap
    spread = np.empty_like(places)
    spread[order] = places
    return spread


def _short(name: str, length: int) -> str:
    """The name with its middle left out where it is too long: names of models differ at both ends."""
    if len(name) <= length:
        return name
    kept = length - 1
    return f"{name[: kept - kept // 2]}…{name[-(kept // 2) :]}"
