"""The page says what is so, escapes what it is given, and needs nothing but itself."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from linnaeus.data.catalogue import Catalogue, exclusion_table
from linnaeus.decisions import ABSENT, DROPPED
from linnaeus.errors import DecodeError
from linnaeus.evaluation.slices import slices
from linnaeus.looks import Looks
from linnaeus.records import Exclusion
from linnaeus.reporting import page
from linnaeus.reporting.facts import ReportFacts
from linnaeus.reporting.hover import Hotspot, HoverPicture
from linnaeus.reporting.page import build_page
from linnaeus.reporting.pictures import embedded
from linnaeus.reporting.worries import worries
from report_facts import decisions, facts, issues, looks

SUSPECT = {"check": "label_issue", "detail": "looks like dog", "suggested": "relabel", "suggested_label": "dog"}


@pytest.fixture(autouse=True)
def _blank_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing is tested next door, and slow."""
    monkeypatch.setattr(page, "png_bytes", lambda figure: b"png")
    for kind in ("class_counts", "sizes"):
        monkeypatch.setattr(page, f"{kind}_figure", lambda table: Figure())
    hover = HoverPicture(embedded(b"hover", "Drawn"), [Hotspot(0.5, 0.5, "a point")])
    names = ("history", "tradeoff", "reliability", "slices", "map")
    monkeypatch.setattr(page, "_hovers", lambda told: dict.fromkeys(names, hover))


def headlines(told: ReportFacts) -> str:
    return "\n".join(worry.headline for worry in worries(told))


def with_findings(*findings: dict[str, str]) -> ReportFacts:
    told = facts()
    return replace(told, issues=issues(told.catalogue.images, *findings))


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
    told = with_findings(SUSPECT | {"relpath": "cat/3.jpg"}, {"check": "cmyk", "relpath": "cat/4.jpg"})
    leaking = facts(wrong=1, pairs=[("cat/0.jpg", "dog/9.jpg", "near")])
    pictures = Outline(build_page(replace(leaking, issues=told.issues))).all("img")
    assert pictures
    assert all((picture.get("alt") or "").strip() for picture in pictures)


def test_every_table_has_a_caption_and_scrolls_in_a_box_that_the_keyboard_reaches() -> None:
    content = build_page(facts())
    outline = Outline(content)
    assert len(outline.all("table")) == len(outline.all("caption")) == content.count('<div class="scroll')
    boxes = [box for box in outline.all("div") if (box.get("class") or "").startswith("scroll")]
    assert all(box["tabindex"] == "0" and box["aria-label"] for box in boxes)


def test_headings_never_skip_a_level() -> None:
    told = with_findings({"check": "dark", "relpath": "cat/0.jpg"}, {"check": "cmyk", "relpath": "cat/1.jpg"})
    told = replace(told, models=facts(models=2).models)
    levels = [int(tag[1]) for tag, _ in Outline(build_page(told)).elements if re.fullmatch(r"h\d", tag)]
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
    told = facts(pairs=[("cat/0.jpg", "cat/1.jpg", "same bytes"), ("cat/1.jpg", "cat/2.jpg", "near")])
    assert "2 images are copies or near-copies of another" in headlines(told)
    assert "part" not in headlines(told)
    assert "different labels" not in headlines(told)
    assert "1 picture occurs more than once" in build_page(told)
    assert "1 group was kept together, in one part" in build_page(told)


def test_a_copy_in_another_part_is_a_leak_and_the_first_worry() -> None:
    told = facts(pairs=[("cat/0.jpg", "dog/9.jpg", "near")])
    assert headlines(told).startswith("The split leaks: 1 pair of images lies in different parts")
    answer = build_page(told).split('id="data"')[0]
    assert "though the split leaks" in answer
    assert "none of them leaks" not in answer


def test_a_copy_in_another_class_is_a_label_conflict() -> None:
    assert "1 picture has copies with different labels" in headlines(facts(pairs=[("cat/0.jpg", "dog/0.jpg", "near")]))


def test_suspects_are_worries_until_they_are_dropped_or_relabelled_as_suggested() -> None:
    told = with_findings(*(SUSPECT | {"relpath": f"cat/{n}.jpg"} for n in range(4)))
    assert "4 labels are suspect" in headlines(told)
    settled = decisions(("cat/0.jpg", "drop", ""), ("cat/1.jpg", "relabel", "dog"), ("cat/2.jpg", "relabel", "fox"))
    assert "2 labels are suspect" in headlines(replace(told, decisions=settled))


def test_an_image_that_shows_nothing_is_one_worry_however_many_checks_found_it() -> None:
    told = with_findings(*({"check": name, "relpath": "cat/0.jpg"} for name in ("dark", "low_information")))
    assert "1 image shows next to nothing" in headlines(told)
    dropped = replace(told, decisions=decisions(("cat/0.jpg", "drop", "")))
    assert "shows next to nothing" not in headlines(dropped)


def test_a_project_that_was_not_checked_says_so_and_never_that_nothing_was_found() -> None:
    told = replace(facts(each=1000), issues=None)
    content = build_page(told)
    assert "The images were not checked" in headlines(told)
    assert "<code>linnaeus check</code> has not been run" in content
    assert "None of the usual checks" not in content


def test_where_labels_were_not_judged_none_is_called_right() -> None:
    told = facts(each=1000)
    assert "no suspect label" in build_page(told)
    assert told.issues is not None
    unjudged = replace(told.issues, checked=told.issues.checked.drop(columns="is_label_issue"))
    content = build_page(replace(told, issues=unjudged))
    assert "no suspect label" not in content
    assert "Whether labels are right was not judged" in content
    assert "labels and outliers were not judged" in content


def test_decisions_are_counted_and_what_is_still_undecided() -> None:
    told = with_findings(*(SUSPECT | {"relpath": f"cat/{n}.jpg"} for n in range(5)))
    rows = [("cat/0.jpg", "drop", ""), ("cat/1.jpg", "relabel", "dog"), ("cat/2.jpg", "keep", "")]
    content = build_page(replace(told, decisions=decisions(*rows)))
    assert "keeps 1 image, drops 1 and relabels 1" in content
    assert "For 3 images something is suggested that is not done: nothing is changed until you write drop" in content
    assert "<code>cat/1.jpg</code> \u2013 relabelled dog" in content
    assert "Your decisions" not in build_page(facts())


def test_what_the_user_dropped_is_listed_but_no_worry() -> None:
    told = replace(facts(), clean_excluded=exclusion_table([Exclusion("cat/0.jpg", DROPPED)]))
    assert "left out" not in headlines(told)
    assert "Dropped by decision: 1" in build_page(told)
    absent = replace(told, clean_excluded=exclusion_table([Exclusion("cat/x.jpg", ABSENT)]))
    assert "1 file or folder was left out" in headlines(absent)


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
    unranked = told.leaderboard.assign(acc_train=np.nan)
    told = replace(told, models=(unknown,), comparison=replace(told.comparison, leaderboard=unranked))
    assert "seen" not in headlines(told)
    assert "<dt>Training accuracy</dt><dd>\u2013</dd>" in build_page(told)


def test_rivals_are_those_that_the_images_cannot_tell_from_the_chosen_model() -> None:
    told = facts(models=2)
    assert "cannot tell model-0 from model-1" in headlines(told)
    (pair,) = told.comparison.pairs.pairs
    apart = replace(told.comparison.pairs, pairs=(replace(pair, adjusted_p_value=0.01, low=0.1, high=0.2),))
    assert "cannot tell" not in headlines(replace(told, comparison=replace(told.comparison, pairs=apart)))


def test_a_report_before_the_test_part_is_opened_speaks_of_validation_and_says_that_it_also_chose() -> None:
    told = facts(wrong=1)
    closed = replace(told.chosen, part="val", result=told.chosen.result | {"accuracy": float("nan")})
    unopened = replace(told.comparison, looks=looks())
    content = build_page(replace(told, models=(closed,), comparison=unopened)).replace("\u202f", " ")
    assert "model-0 names 75.0 % of the validation images correctly" in content
    assert "The test part has not been opened for it" in content
    assert "evaluate PROJECT --final" in content
    assert "test images correctly" not in content


def test_later_looks_at_the_test_part_are_a_worry() -> None:
    told = facts()
    assert "looked at" not in headlines(told)
    again = Looks(pd.concat([told.comparison.looks.table, looks("other").table.assign(look=2)]))
    worried = headlines(replace(told, comparison=replace(told.comparison, looks=again)))
    assert "The test part was looked at 1 more time" in worried


def test_a_kind_of_images_that_it_does_worse_on_is_a_worry() -> None:
    told = facts(each=300)
    right = np.arange(len(told.predictions)) % 4 != 0
    worse = slices(right, pd.DataFrame({"light": np.where(right, "day", "night")}))
    worried = replace(told, trust=replace(told.trust, slices=worse))
    assert "It is right less often on 1 kind of images" in headlines(worried)
    assert "light: night" in build_page(worried)
    assert "Nothing is told apart by channels (constant)." in build_page(worried)


def test_several_seeds_are_one_row_with_mean_and_spread() -> None:
    told = facts()
    spread = told.leaderboard.assign(seeds=3, acc_val_sd=0.012, accuracy_sd=0.021)
    seeds = {"model-0": ["model-0", "model-0-seed1", "model-0-seed2"]}
    content = build_page(replace(told, comparison=replace(told.comparison, leaderboard=spread, seeds=seeds)))
    assert "mean of 3 seeds" in content
    assert "± 1.2" in content
    assert "stands for 3 runs that differ in their seed" in content


def test_confident_mistakes_are_counted() -> None:
    told = facts(wrong=2)
    assert "mistake" not in headlines(told)
    sure = told.predictions.assign(probability=[0.99, 0.2, 0.5, 0.5])
    assert "1 of 2 mistakes came with a probability" in headlines(replace(told, predictions=sure))


def test_mistakes_come_with_label_prediction_reason_and_their_like_in_training() -> None:
    shown = build_page(facts(wrong=2)).replace("\u202f", " ").split('id="mistakes"')[1]
    assert "2 test images of 4" in shown
    assert "taken for dog, 98.0 %" in shown
    assert 'alt="What in it spoke for dog"' in shown
    assert 'alt="A training image of cat that is much like it"' in shown
    assert "cat taken for dog</h3>" in shown


def test_many_mistakes_are_counted_and_a_bounded_number_of_them_is_shown() -> None:
    shown = build_page(facts(each=300, wrong=60)).split('id="mistakes"')[1]
    assert "60 test images of 120" in shown
    assert shown.count('class="why"') <= 24 + 12 + 6 * 4


def test_a_model_without_mistakes_is_told_so() -> None:
    assert "None: every test image got the class of its label" in build_page(facts())


def test_a_hundred_classes_show_a_bounded_number_of_pictures() -> None:
    outline = Outline(build_page(facts(tuple(f"class-{place:03}" for place in range(100)), wrong=100)))
    assert 100 < len(outline.all("img")) < 300


def test_a_picture_that_is_gone_leaves_its_words() -> None:
    def gone(folder: str, relpath: str) -> bytes:
        raise DecodeError("cannot be opened")

    content = build_page(replace(facts(wrong=1), read_thumbnail=gone))
    assert "An image of cat that got dog (it can no longer be read)" in content


def test_figures_are_embedded_as_png(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "png_bytes", lambda figure: b"drawn")
    content = build_page(facts(models=2))
    assert content.count("data:image/png;base64,ZHJhd24=") == 2  # of the whole
    assert content.count("data:image/png;base64,cG5n") == 4  # of the runs: the first one's training can be hovered


def test_stages_say_what_they_took() -> None:
    content = build_page(facts())
    assert "1 min 15 s" in content
    assert "210 MiB" in content
