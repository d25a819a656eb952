"""The page's figures whose points tell what they are."""

from typing import Any

from matplotlib.figure import Figure

from linnaeus.reporting.facts import ModelFacts, ReportFacts, TrustFacts
from linnaeus.reporting.figures import COSTS, history_figure, png_bytes, tradeoff_figure
from linnaeus.reporting.hover import Hotspot, HoverPicture, atlas, hotspots
from linnaeus.reporting.judged_figures import most_telling, reliability_figure, slices_figure
from linnaeus.reporting.map_figure import map_figure
from linnaeus.reporting.pictures import embedded
from linnaeus.reporting.words import counted, percent, slice_name

TILE_SIDE = 48  # pixels of an image on the map, while it is pointed at
METHODS = {"pca": "its first two principal components", "tsne": "t-SNE", "umap": "UMAP"}


def tradeoff_hover(facts: ReportFacts) -> HoverPicture:
    """Accuracy against what it costs."""
    table, (figure, png) = facts.leaderboard, _drawn(tradeoff_figure(facts.leaderboard))
    spots: list[Hotspot] = []
    for axes, (column, front, _, unit) in zip(figure.axes, COSTS, strict=True):
        labels = [
            f"{row['model_id']}\nvalidation {percent(row['acc_val'])}, test {percent(row['accuracy'])}\n"
            f"{row[column]:.3g} {unit}"
            + (f" by {row['backend']}" if column == "latency_p50_ms" else "")
            + ("\non the Pareto front" if row[front] else "")
            for row in table.to_dict("records")
        ]
        spots += hotspots(figure, axes, table[column].fillna(0), table["acc_val"], labels)
    alt = (
        f"Accuracy of {counted(len(table), 'model')} against latency, size and training time. "
        f"{facts.chosen.model_id} ranks first on validation. The numbers are in the leaderboard."
    )
    return _hover(png, alt, spots)


def reliability_hover(trust: TrustFacts) -> HoverPicture:
    """How often the model is right at which probability."""
    table, (figure, png) = trust.reliability, _drawn(reliability_figure(trust.reliability))
    labels = [
        f"{'calibrated' if row['is_calibrated'] else 'before calibration'}: {counted(row['images'], 'image')}\n"
        f"it says {percent(row['confidence'])} on average\n"
        f"{percent(row['accuracy'])} are right ({percent(row['low'])} to {percent(row['high'])})"
        for row in table.to_dict("records")
    ]
    spots = hotspots(figure, figure.axes[0], table["confidence"], table["accuracy"], labels)
    return _hover(png, "How often the model is right against how sure it is, before and after calibration.", spots)


def slices_hover(trust: TrustFacts, accuracy: float) -> HoverPicture | None:
    """The kinds of images that the model is right on least often; None where none has enough images."""
    shown = most_telling(trust.slices)
    if shown.empty:
        return None
    figure, png = _drawn(slices_figure(trust.slices, accuracy))
    labels = [
        f"{slice_name(row)}\n{row['correct']} of {row['images']} right, "
        f"{percent(row['accuracy'])} ({percent(row['low'])} to {percent(row['high'])})\n"
        f"all others {percent(row['rest_accuracy'])}; corrected p = {row['adjusted_p_value']:.2g}"
        for row in shown.to_dict("records")
    ]
    spots = hotspots(figure, figure.axes[0], shown["accuracy"], range(len(shown)), labels)
    alt = f"Accuracy on kinds of images, the lowest on top: {slice_name(shown.to_dict('records')[-1])}."
    return _hover(png, alt, spots)


def history_hover(model: ModelFacts) -> HoverPicture:
    """How training went."""
    history, (figure, png) = model.history, _drawn(history_figure(model.history))
    spots: list[Hotspot] = []
    for axes, name in zip(figure.axes, ("accuracy", "loss"), strict=True) if len(history) else ():
        for column, part in ((name, "training"), (f"val_{name}", "validation")):
            values = history[column].map(percent if name == "accuracy" else "{:.4g}".format)
            steps = history["setting"] if "setting" in history else "epoch " + history["epoch"].astype(str)
            labels = [f"{step}\n{part} {name} {value}" for step, value in zip(steps, values, strict=True)]
            spots += hotspots(figure, axes, history["epoch"], history[column], labels)
    epochs = counted(len(history), "setting" if "setting" in history else "epoch")
    return _hover(png, f"Training and validation accuracy, and loss, of {model.model_id} over {epochs}.", spots)


def map_hover(facts: ReportFacts) -> HoverPicture:
    """The chosen model's feature space, with a picture for each of its points."""
    places = facts.trust.places
    is_wrong = places["category"].ne(places["predicted_category"])
    figure, png = _drawn(map_figure(places[["x", "y"]].to_numpy(), [*places["category"]], is_wrong.to_numpy()))
    labels = [_label(row) for row in places.to_dict("records")]
    tiles = range(len(places))
    spots = hotspots(figure, figure.axes[0], places["x"], places["y"], labels, tiles=[*tiles])
    pictures = atlas([facts.read_small("clean", relpath) for relpath in places["relpath"]], side=TILE_SIDE)
    alt = (
        f"A map of {counted(len(places), 'image')} by {METHODS[places['method'].iloc[0]]} of what the model sees in "
        "them; images of one class lie together as far as the model tells them apart."
    )
    return HoverPicture(embedded(png, alt), spots, pictures)


def _label(row: dict[Any, Any]) -> str:
    said = percent(row["probability"])
    if row["category"] == row["predicted_category"]:
        return f"{row['category']}\nrightly so, {said}\n{row['relpath']}"
    return f"{row['category']}\ntaken for {row['predicted_category']}, {said}\n{row['relpath']}"


def _drawn(figure: Figure) -> tuple[Figure, bytes]:
    """The figure, whose points have their places once it is drawn, and its PNG."""
    return figure, png_bytes(figure)


def _hover(png: bytes, alt: str, spots: list[Hotspot]) -> HoverPicture:
    return HoverPicture(embedded(png, alt), spots)
