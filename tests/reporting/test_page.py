"""The page says what is so, escapes what it is given, and needs nothing but itself."""

import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from linnaeus.data.catalogue import Catalogue, exclusion_table
from linnaeus.data.split import Splits
from linnaeus.errors import DecodeError
from linnaeus.evaluation.comparison import leaderboard
from linnaeus.evaluation.metrics import class_report, confusion_counts, scores
from linnaeus.records import Exclusion, StageCost
from linnaeus.reporting import page
from linnaeus.reporting.facts import ModelFacts, ReportFacts
from linnaeus.reporting.page import build_page
from linnaeus.reporting.worries import worries
from linnaeus.settings import CleanRecipe

PARTS = ["train"] * 6 + ["val"] * 2 + ["test"] * 2


@pytest.fixture(autouse=True)
def _blank_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing is tested next door, and slow."""
    monkeypatch.setattr(page, "png_bytes", lambda figure: b"png")
    for kind in ("class_counts", "sizes", "tradeoff"):
        monkeypatch.setattr(page, f"{kind}_figure", lambda table: Figure())


def thumbnail(folder: str, relpath: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "green").save(buffer, "JPEG")
    return buffer.getvalue()


def facts(
    names: tuple[str, ...] = ("cat", "dog"),
    *,
    each: int = 10,
    wrong: int = 0,
    models: int = 1,
    hashes: tuple[str, ...] = (),
) -> ReportFacts:
    """A project with `each` images a class, 6 of 10 for training and 2 of 10 for the test, `wrong` of them failed."""
    rows = [(f"{name}/{place}.jpg", name, label) for label, name in enumerate(names) for place in range(each)]
    images = pd.DataFrame(rows, columns=["relpath", "category", "label"])
    images = images.assign(format="jpg", channels=3, width=300, height=225, sha256=images["relpath"])
    images.loc[range(len(hashes)), "sha256"] = list(hashes)
    splits = Splits(images[["relpath", "category", "label"]].assign(split=PARTS * (len(images) // 10)))
    labels = splits.test["label"].to_numpy()
    predicted = labels.copy()
    predicted[:wrong] = (labels[:wrong] + 1) % len(names)
    score = scores(labels, predicted)
    row = {"acc_val": 0.95, "acc_train": 0.96, "parameters": 1000, "size_mb": 4.5, "train_seconds": 75.0}
    row |= {"predict_ms_per_image": 2.5, **vars(score)}
    table = leaderboard(pd.DataFrame([row | {"model_id": f"model-{place}"} for place in range(models)]), len(labels))
    catalogue = Catalogue(images, exclusion_table([]))
    duplicates = catalogue.duplicates().merge(splits.table[["relpath", "split"]], on="relpath")
    return ReportFacts(
        title="Pets",
        image_folder="/photos/pets",
        created="2026-01-02",
        version="0.1",
        catalogue=catalogue,
        duplicates=duplicates,
        clean=CleanRecipe(size=224, quality=90),
        clean_excluded=exclusion_table([]),
        splits=splits,
        leaderboard=table,
        models=tuple(model(row, labels, predicted, names) for row in table.to_dict("records")),
        predictions=splits.test.assign(
            predicted=[names[place] for place in predicted], probability=np.linspace(0.5, 0.8, len(labels))
        ),
        read_thumbnail=thumbnail,
        costs=(StageCost("catalogue", 75, 200), StageCost("split", 1, 210)),
        usage={"Command line": "linnaeus predict pets photo.jpg"},
        commands=("linnaeus run /photos/pets",),
        settings={"torch": "2.0"},
    )


def model(row: dict[Any, Any], labels: Any, predicted: Any, names: tuple[str, ...]) -> ModelFacts:
    history = pd.DataFrame(columns=["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "model_id"])
    report, confusion = class_report(labels, predicted, names), confusion_counts(labels, predicted, names)
    return ModelFacts(row["model_id"], "A small model.", row, history, report, confusion, b"png", b"png")


def headlines(told: ReportFacts) -> str:
    return "\n".join(worry.headline for worry in worries(told))


class Outline(HTMLParser):
    """What a page loads, shows and heads."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def test_the_page_loads_nothing_from_anywhere() -> None:
    outline = Outline(build_page(facts(wrong=1, models=2)))
    sources = [attributes["src"] or "" for _, attributes in outline.elements if "src" in attributes]
    assert sources
    assert all(source.startswith("data:image/") for source in sources)
    assert not outline.all("link")
    assert all((attributes.get("href") or "#").startswith("#") for attributes in outline.all("a"))


def test_every_picture_has_a_text_alternative() -> None:
    pictures = Outline(build_page(facts(wrong=1))).all("img")
    assert pictures
    assert all((picture.get("alt") or "").strip() for picture in pictures)


def test_every_table_has_a_caption_and_scrolls_in_a_box_that_the_keyboard_reaches() -> None:
    content = build_page(facts())
    outline = Outline(content)
    assert len(outline.all("table")) == len(outline.all("caption")) == content.count('<div class="scroll')
    boxes = [box for box in outline.all("div") if (box.get("class") or "").startswith("scroll")]
    assert all(box["tabindex"] == "0" and box["aria-label"] for box in boxes)


def test_headings_never_skip_a_level() -> None:
    levels = [int(tag[1]) for tag, _ in Outline(build_page(facts(models=2))).elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_a_class_name_is_text_and_never_markup() -> None:
    content = build_page(facts(("<b>x</b>", '"onload="'), wrong=2))
    assert "<b>x</b>" not in content
    assert "&lt;b&gt;x&lt;/b&gt;" in content
    assert 'alt="An image of class &#34;onload=&#34;"' in content


def test_the_first_screen_has_folder_counts_model_accuracy_and_interval() -> None:
    answer = build_page(facts(wrong=1)).split('id="data"')[0].replace("\u202f", " ")
    for words in ("/photos/pets", "20 usable images", "2 classes", "model-0 names 75.0 %", "3 right, 1 wrong"):
        assert words in answer
    assert "between 30.1 % and 95.4 % (95&nbsp;% Wilson interval)" in answer


def test_a_clean_large_project_gives_no_worry() -> None:
    told = facts(each=1000)
    assert worries(told) == []
    assert "None of the usual checks found anything" in build_page(told)


def test_copies_in_one_class_and_part_are_counted_but_called_neither_leak_nor_label_error() -> None:
    told = headlines(facts(hashes=("same", "same", "same")))
    assert "2 images are exact copies of another" in told
    assert "part" not in told
    assert "more than one class" not in told


def test_a_copy_in_another_part_is_a_leak() -> None:
    told = facts(hashes=("a", "b", "c", "d", "e", "same", "same"))
    assert "1 group of identical files lies in more than one part" in headlines(told)


def test_a_copy_in_another_class_is_a_label_error() -> None:
    hashes = ("same", *"bcdefghij", "same")
    assert "1 group of identical files has more than one class" in headlines(facts(hashes=hashes))


def test_what_was_left_out_is_counted_by_reason_and_every_path_is_listed() -> None:
    lost = [Exclusion(f"cat/{place}.txt", "not an image") for place in range(30)]
    told = facts()
    told = replace(
        told,
        catalogue=replace(told.catalogue, excluded=exclusion_table(lost)),
        clean_excluded=exclusion_table([Exclusion("dog/1.jpg", "unreadable image", "truncated")]),
    )
    assert "31 files or folders were left out" in headlines(told)
    content = build_page(told)
    assert all(f"cat/{place}.txt" in content for place in range(30))
    assert "truncated" in content


def test_few_test_images_are_a_worry_and_many_are_not() -> None:
    assert "Only 4 test images" in headlines(facts())
    assert "test image" not in headlines(facts(each=1000))


def test_uneven_classes_are_a_worry_from_twice_as_many() -> None:
    told = facts()
    fewer = replace(told, catalogue=Catalogue(told.catalogue.images.iloc[:15], told.catalogue.excluded))
    assert "10 images of cat, 5 of dog" in headlines(fewer)
    assert "uneven" not in headlines(told)


def test_overfitting_is_a_worry_only_where_training_is_well_above_validation() -> None:
    told = facts()
    overfitted = replace(told.chosen, result=told.chosen.result | {"acc_train": 0.999, "acc_val": 0.9})
    assert "seen: 99.9" in headlines(replace(told, models=(overfitted,)))
    assert "seen" not in headlines(told)


def test_a_model_whose_training_accuracy_is_unknown_gets_a_dash_and_no_worry() -> None:
    told = facts()
    unknown = replace(told.chosen, result=told.chosen.result | {"acc_train": float("nan")})
    told = replace(told, models=(unknown,), leaderboard=told.leaderboard.assign(acc_train=np.nan))
    assert "seen" not in headlines(told)
    assert "<td>\u2013</td>" in build_page(told)


def test_rivals_are_named_only_where_intervals_overlap() -> None:
    told = facts(models=2)
    assert "do not tell model-0 from model-1" in headlines(told)
    apart = told.leaderboard.assign(accuracy_low=[0.9, 0.1], accuracy_high=[0.95, 0.2])
    assert "do not tell" not in headlines(replace(told, leaderboard=apart))


def test_confident_mistakes_are_counted() -> None:
    told = facts(wrong=2)
    assert "mistake" not in headlines(told)
    sure = told.predictions.assign(probability=[0.99, 0.2, 0.5, 0.5])
    assert "1 of 2 mistakes came with a probability" in headlines(replace(told, predictions=sure))


def test_mistakes_come_with_label_prediction_and_probability_the_most_confident_first() -> None:
    shown = build_page(facts(wrong=2)).replace("\u202f", " ").split('id="mistakes"')[1]
    assert "2 test images of 4" in shown
    assert "labelled cat" in shown
    assert shown.index("predicted dog, 60.0 %") < shown.index("predicted dog, 50.0 %")


def test_no_more_than_48_mistakes_are_shown_and_all_are_counted() -> None:
    shown = build_page(facts(each=300, wrong=60)).split('id="mistakes"')[1]
    assert "60 test images of 120" in shown
    assert "Shown are the 48" in shown
    assert shown.count("<img") == 48


def test_a_model_without_mistakes_is_told_so() -> None:
    assert "None: every test image got the class of its label" in build_page(facts())


def test_a_hundred_classes_show_a_bounded_number_of_pictures() -> None:
    outline = Outline(build_page(facts(tuple(f"class-{place:03}" for place in range(100)), wrong=100)))
    assert 100 < len(outline.all("img")) < 160


def test_a_picture_that_is_gone_leaves_its_words() -> None:
    def gone(folder: str, relpath: str) -> bytes:
        raise DecodeError("cannot be opened")

    content = build_page(replace(facts(wrong=1), read_thumbnail=gone))
    assert "An image of cat taken for dog (it can no longer be read)" in content


def test_figures_are_embedded_as_png(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "png_bytes", lambda figure: b"drawn")
    content = build_page(facts(models=2))
    assert content.count("data:image/png;base64,ZHJhd24=") == 3  # of the whole
    assert content.count("data:image/png;base64,cG5n") == 4  # of the runs


def test_stages_say_what_they_took() -> None:
    content = build_page(facts())
    assert "1 min 15 s" in content
    assert "210 MiB" in content
