"""The report as one HTML page that needs no network: text, tables, figures and thumbnails."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from linnaeus.files import write_with
from linnaeus.records import PART_NAMES
from linnaeus.reporting import words
from linnaeus.reporting.compared import compared
from linnaeus.reporting.division import how_divided
from linnaeus.reporting.facts import ModelFacts, ReportFacts, SearchFacts
from linnaeus.reporting.figures import class_counts_figure, png_bytes, save_figure, sizes_figure
from linnaeus.reporting.hover import HoverPicture
from linnaeus.reporting.hovering import history_hover, map_hover, reliability_hover, slices_hover, tradeoff_hover
from linnaeus.reporting.oddities import copies_beside, galleries, leaks_beside, without_finding
from linnaeus.reporting.pictures import Picture, Thumbnail, embedded, small
from linnaeus.reporting.reasons import method_name, sheets
from linnaeus.reporting.templates import template
from linnaeus.reporting.trust import how_far_to_trust
from linnaeus.reporting.worries import worries

# The most thumbnails of each kind, which keep the page small however many images there are.
MOST_SAMPLES = 60
MOST_SAMPLES_PER_CLASS = 4


def build_page(facts: ReportFacts) -> str:
    """The report as HTML."""
    return template("template.html").render(
        facts=facts,
        chosen=facts.chosen,
        part=PART_NAMES[facts.chosen.part],
        baseline=_baseline(facts),
        worries=worries(facts),
        formats=_formats(facts),
        sizes=_sizes(facts.catalogue.images),
        exclusions=_exclusions(facts.excluded),
        samples=_samples(facts),
        galleries=galleries(facts),
        without_finding=without_finding(facts),
        copies=copies_beside(facts),
        leaks=leaks_beside(facts),
        division=how_divided(facts),
        compared=compared(facts),
        trust=how_far_to_trust(facts),
        sheets=sheets(facts),
        method=method_name(facts),
        figures=_figures(facts),
        hovers=_hovers(facts),
        search_figures=[_search_figures(search) for search in facts.searches],
        model_figures=[_model_figures(model) for model in facts.models],
    )


def _baseline(facts: ReportFacts) -> str:
    """What a constant answer would be worth, and what is most often confused."""
    sizes, wrong = facts.predictions["category"].value_counts(), facts.mistakes
    said = f"Always saying {sizes.index[0]} would be right for {words.percent(sizes.iloc[0] / facts.judged_images)}."
    if wrong.empty:
        return said
    pairs = wrong.groupby(["category", "predicted"]).size().sort_values(ascending=False, kind="stable")
    category, predicted = pairs.index[0]
    count = words.counted(int(pairs.iloc[0]), "image")
    return f"{said} Its commonest mistake is {category} taken for {predicted} ({count})."


def _hovers(facts: ReportFacts) -> dict[str, HoverPicture | None]:
    """The figures whose points tell what they are."""
    return {
        "history": history_hover(facts.chosen),
        "tradeoff": tradeoff_hover(facts),
        "reliability": reliability_hover(facts.trust),
        "slices": slices_hover(facts.trust, facts.accuracy[0]),
        "map": map_hover(facts),
    }


def _figures(facts: ReportFacts) -> dict[str, Picture]:
    counts = facts.splits.counts()
    sizes = facts.catalogue.images[["width", "height"]]
    return {
        "classes": embedded(
            png_bytes(class_counts_figure(counts)),
            f"Bars: images of each class in training, validation and test. The largest class is "
            f"{counts.sum(axis=1).idxmax()}, the smallest {counts.sum(axis=1).idxmin()}.",
        ),
        "sizes": embedded(
            png_bytes(sizes_figure(sizes)),
            f"Histograms of widths ({sizes['width'].min()} to {sizes['width'].max()} pixels) and heights "
            f"({sizes['height'].min()} to {sizes['height'].max()} pixels), and one against the other.",
        ),
        "curves": embedded(
            facts.trust.curves_png,
            f"ROC and precision-recall curves of {facts.chosen.model_id}, each class against the rest.",
        ),
    }


def save_data_figures(facts: ReportFacts, folder: Path) -> None:
    """Write the pictures of the data, each with its numbers."""
    counts, sizes = facts.splits.counts(), facts.catalogue.images[["relpath", "width", "height"]]
    save_figure(class_counts_figure(counts), folder / "classes.png")
    write_with(folder / "classes.csv", counts.to_csv)
    save_figure(sizes_figure(sizes), folder / "sizes.png")
    write_with(folder / "sizes.csv", partial(sizes.to_csv, index=False))


def _model_figures(model: ModelFacts) -> tuple[Picture, Picture]:
    """How training went, and the confusion matrix."""
    epochs = words.counted(len(model.history), "setting" if "setting" in model.history else "epoch")
    return (
        embedded(
            model.history_png,
            f"Training and validation accuracy, and loss, of {model.model_id} over {epochs}.",
        ),
        embedded(
            model.confusion_png,
            f"Confusion matrix of {model.model_id} on the {PART_NAMES[model.part]} images: {_most_confused(model)}.",
        ),
    )


def _most_confused(model: ModelFacts) -> str:
    """What a confusion matrix shows, in words: the pairs of classes that are confused most often."""
    counts = model.confusion.to_numpy()
    pairs = [
        (int(counts[row, column]), str(model.confusion.index[row]), str(model.confusion.columns[column]))
        for row, column in zip(*np.nonzero(counts), strict=True)
        if row != column
    ]
    most = sorted(pairs, key=lambda pair: -pair[0])[:5]
    said = ", ".join(f"{category} taken for {predicted} {count}" for count, category, predicted in most)
    return f"{counts.trace()} of {counts.sum()} right; {said}" if most else f"all {counts.sum()} are right"


def _search_figures(search: SearchFacts) -> list[Picture]:
    """The trials, and what mattered where that can be told."""
    trials = f"The validation loss of {words.counted(len(search.trials), 'trial')} and the best so far."
    pictures = [embedded(search.trials_png, trials)]
    if search.importances_png is not None:
        first = next(iter(search.importances)).replace("_", " ")
        pictures.append(embedded(search.importances_png, f"How much each setting moved the loss; {first} did most."))
    return pictures


def _formats(facts: ReportFacts) -> pd.DataFrame:
    """Images by format (rows) and number of channels (columns)."""
    images = facts.catalogue.images
    return pd.crosstab(images["format"], images["channels"])


def _sizes(images: pd.DataFrame) -> dict[str, dict[str, int]]:
    """The smallest, median, largest and most frequent width and height, in pixels."""
    return {
        side: {
            "smallest": int(images[side].min()),
            "median": int(images[side].median()),
            "largest": int(images[side].max()),
            "most frequent": int(images[side].mode().iloc[0]),
            "different": int(images[side].nunique()),
        }
        for side in ("width", "height")
    }


def _exclusions(excluded: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The exclusions for each reason, the most frequent reason first."""
    return {str(reason): excluded[excluded["reason"] == reason] for reason in excluded["reason"].value_counts().index}


def _samples(facts: ReportFacts) -> dict[str, list[Thumbnail]]:
    """A few training images of each class, taken at even distances; of many classes only the first."""
    classes = facts.splits.classes[:MOST_SAMPLES]
    each = min(MOST_SAMPLES_PER_CLASS, MOST_SAMPLES // len(classes))
    train = facts.splits.train
    samples = {}
    for name in classes:
        relpaths = train.loc[train["category"] == name, "relpath"].sort_values()
        chosen = relpaths.iloc[:: max(1, len(relpaths) // each)].head(each)
        samples[name] = [
            Thumbnail(small(facts, "clean", relpath, f"An image of class {name}"), (), relpath) for relpath in chosen
        ]
    return samples
