"""The report as one HTML page that needs no network: text, tables, figures and thumbnails."""

from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from linnaeus.reporting import words
from linnaeus.reporting.division import how_divided
from linnaeus.reporting.facts import ModelFacts, ReportFacts, SearchFacts
from linnaeus.reporting.figures import (
    class_counts_figure,
    png_bytes,
    sizes_figure,
    tradeoff_figure,
)
from linnaeus.reporting.oddities import copies_beside, galleries, leaks_beside, without_finding
from linnaeus.reporting.pictures import Picture, Thumbnail, embedded, small
from linnaeus.reporting.worries import worries

# The most thumbnails of each kind, which keep the page small however many images there are.
MOST_SAMPLES = 60
MOST_SAMPLES_PER_CLASS = 4
MOST_MISTAKES = 48


def build_page(facts: ReportFacts) -> str:
    """The report as HTML."""
    environment = Environment(
        autoescape=True,
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for word in (words.percent, words.counted, words.duration, words.number, words.listing):
        environment.filters[word.__name__] = word
    return environment.get_template("template.html").render(
        facts=facts,
        chosen=facts.chosen,
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
        mistakes=_mistakes(facts),
        figures=_figures(facts),
        search_figures=[_search_figures(search) for search in facts.searches],
        model_figures=[_model_figures(model) for model in facts.models],
    )


def _figures(facts: ReportFacts) -> dict[str, Picture]:
    counts = facts.splits.counts()
    sizes = facts.catalogue.images[["width", "height"]]
    best = facts.chosen.model_id
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
        "tradeoff": embedded(
            png_bytes(tradeoff_figure(facts.leaderboard)),
            f"Accuracy of {words.counted(len(facts.models), 'model')} against size and against training time. "
            f"{best} has the highest validation accuracy. The numbers are in the leaderboard.",
        ),
    }


def _model_figures(model: ModelFacts) -> tuple[Picture, Picture]:
    """How training went, and the confusion matrix."""
    epochs = words.counted(len(model.history), "epoch")
    return (
        embedded(
            model.history_png,
            f"Training and validation accuracy, and loss, of {model.model_id} over {epochs}.",
        ),
        embedded(
            model.confusion_png,
            f"Confusion matrix of {model.model_id} on the test images: counts, and shares of each class.",
        ),
    )


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


def _mistakes(facts: ReportFacts) -> list[Thumbnail]:
    """The chosen model's mistakes, the most confident first."""
    rows = facts.mistakes.head(MOST_MISTAKES).to_dict("records")
    return [
        Thumbnail(
            small(facts, "clean", row["relpath"], f"An image of {row['category']} taken for {row['predicted']}"),
            (
                f"labelled {row['category']}",
                f"predicted {row['predicted']}, {words.percent(row['probability'])}",
            ),
            row["relpath"],
        )
        for row in rows
    ]
