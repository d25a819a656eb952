"""Figures hold what they promise, for ordinary tables and for odd ones."""

import io
from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from linnaeus.reporting.figures import (
    class_counts_figure,
    confusion_figure,
    history_figure,
    png_bytes,
    save_figure,
    sizes_figure,
    tradeoff_figure,
)

HISTORY_COLUMNS = ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds", "model_id"]


def history(epochs: int, model_id: str = "parent", first: int = 1) -> pd.DataFrame:
    epoch = np.arange(first, first + epochs)
    figures = {"loss": 1 / epoch, "accuracy": 1 - 1 / epoch, "val_loss": 2 / epoch, "val_accuracy": 0.9 - 0.5 / epoch}
    return pd.DataFrame({"epoch": epoch, **figures, "learning_rate": 1e-3, "seconds": 1.0, "model_id": model_id})


def confusion(classes: int) -> pd.DataFrame:
    names = [f"class {place}" for place in range(classes)]
    counts = np.eye(classes, dtype=int) * 7 + np.eye(classes, k=1, dtype=int)
    return pd.DataFrame(counts, index=pd.Index(names, name="true"), columns=names)


def leaderboard(models: int) -> pd.DataFrame:
    accuracy = np.linspace(0.9, 0.6, models)
    return pd.DataFrame(
        {
            "model_id": [f"model-{place}-with-quite-a-long-name" for place in range(models)],
            "acc_val": accuracy,
            "accuracy": accuracy - 0.01,
            "accuracy_low": accuracy - 0.05,
            "accuracy_high": accuracy + 0.03,
            "latency_p50_ms": np.linspace(20, 1, models),
            "size_mb": np.linspace(1, 80, models),
            "train_seconds": np.linspace(0, 900, models),
            "is_front_latency": [True] * models,
            "is_front_size": [place == 0 for place in range(models)],
            "is_front_training": [place == 0 for place in range(models)],
        }
    )


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if isinstance(text, Text)]


def dotted_lines(figure: Figure) -> list[float]:
    panels = figure.axes
    return [
        float(np.asarray(line.get_xdata())[0]) for axes in panels for line in axes.lines if line.get_linestyle() == ":"
    ]


def test_a_continued_run_marks_the_hand_over_in_both_panels_and_names_who_goes_on() -> None:
    both = pd.concat([history(3), history(2, "child", first=4)], ignore_index=True)
    figure = history_figure(both)
    assert dotted_lines(figure) == [3.5, 3.5]
    assert "child goes on" in words(figure)


def test_a_run_of_its_own_marks_no_hand_over() -> None:
    assert dotted_lines(history_figure(history(4))) == []


def test_a_model_that_was_never_trained_says_so() -> None:
    figure = history_figure(pd.DataFrame(columns=HISTORY_COLUMNS))
    assert words(figure).count("never trained: no epochs") == 2
    assert png_bytes(figure)


def test_one_epoch_is_drawn_at_a_whole_number() -> None:
    figure = history_figure(history(1))
    figure.draw_without_rendering()
    ticks = [tick for tick in figure.axes[0].get_xticks() if 0.5 <= tick <= 1.5]
    assert ticks == [1]


def test_ten_classes_have_a_number_in_every_cell_of_both_panels() -> None:
    assert [len(axes.texts) for axes in confusion_figure(confusion(10)).axes[:2]] == [100, 100]


def test_a_hundred_classes_have_no_numbers_and_few_enough_names() -> None:
    axes = confusion_figure(confusion(100)).axes[0]
    assert not axes.texts
    assert len(axes.get_xticks()) == len(axes.get_yticks()) <= 34


def test_shares_are_per_cent_of_the_true_class_and_a_class_without_images_has_zeros() -> None:
    counts = pd.DataFrame([[3, 1], [0, 0]], index=["cat", "dog"], columns=["cat", "dog"])
    assert [text.get_text() for text in confusion_figure(counts).axes[1].texts] == ["75", "25", "0", "0"]


def test_bars_of_the_parts_add_up_to_the_class_with_the_largest_on_top() -> None:
    counts = pd.DataFrame({"train": [7, 70], "val": [2, 20], "test": [1, 10]}, index=["rare", "common"])
    axes = class_counts_figure(counts).axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["rare", "common"]
    assert [text.get_text() for text in axes.texts] == ["10", "100"]
    assert [bar.get_x() + bar.get_width() for bar in axes.containers[-1]] == [10, 100]


@pytest.mark.parametrize("sides", [[(300, 225), (4000, 60)], [(224, 224)], [(1, 1), (9, 2)]])
def test_sizes_are_drawn_whatever_their_spread(sides: list[tuple[int, int]]) -> None:
    figure = sizes_figure(pd.DataFrame(sides, columns=["width", "height"]))
    figure.draw_without_rendering()
    assert all(len(axes.get_xticks()) >= 1 for axes in figure.axes)


@pytest.mark.parametrize("models", [1, 3, 15])
def test_names_of_models_never_overlap(models: int) -> None:
    figure = tradeoff_figure(leaderboard(models))
    figure.draw_without_rendering()
    for axes in figure.axes:
        # Text's own extent: an annotation's would include the line to its point.
        boxes = sorted(Text.get_window_extent(name).intervaly.tolist() for name in axes.texts)
        assert len(boxes) == models
        assert all(lower[1] <= upper[0] + 1 for lower, upper in pairwise(boxes))


def test_a_model_without_a_training_time_stands_at_zero() -> None:
    table = leaderboard(2)
    table["train_seconds"] = [np.nan, 0.0]
    assert png_bytes(tradeoff_figure(table))


def test_a_figure_is_saved_as_png_and_nothing_else_stays_in_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "confusion.png"
    save_figure(confusion_figure(confusion(2)), path)
    assert [entry.name for entry in path.parent.iterdir()] == ["confusion.png"]
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert round(image.info["dpi"][0]) == 144


def test_class_names_are_drawn_as_they_are_even_where_they_look_like_formulas_or_lack_a_font() -> None:
    names = ["$x^$", "猫", "\N{CAT FACE}"]
    counts = pd.DataFrame(np.eye(3, dtype=int), index=names, columns=names)
    with Image.open(io.BytesIO(png_bytes(confusion_figure(counts)))) as image:
        assert image.width > 100


def test_figures_leave_matplotlib_settings_alone() -> None:
    before = dict(matplotlib.rcParams)
    png_bytes(history_figure(history(2)))
    assert dict(matplotlib.rcParams) == before
