"""Hotspots lie where the picture shows their points, and the page tells what they are."""

import io
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure
from PIL import Image

from linnaeus import reporting
from linnaeus.reporting.figures import panels_of, png_bytes, titled
from linnaeus.reporting.hover import Hotspot, HoverPicture, atlas, hotspots
from linnaeus.reporting.map_figure import map_figure
from linnaeus.reporting.pictures import embedded

NASTY = "\"cat\" & 'dog' <b>\n</script><script>alert(1)</script>"
RED, BLUE = (220, 20, 20), (20, 20, 220)


def plain_jpeg(colour: tuple[int, int, int], size: tuple[int, int] = (40, 30)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "JPEG")
    return buffer.getvalue()


def page_of(*pictures: HoverPicture) -> str:
    folder = Path(reporting.__file__).parent
    environment = Environment(autoescape=True, loader=FileSystemLoader(folder), undefined=StrictUndefined)
    # The report's own head: its policy is what the script has to live with.
    head = (folder / "template.html").read_text(encoding="utf-8").partition("<head>")[2].partition("<title>")[0]
    text = (
        f'{{% from "hover.html" import hover_figure %}}<!DOCTYPE html><html lang="en"><head>{head}<title>Hover</title>'
        '<style>{% include "style.css" %}{% include "hover.css" %}</style></head><body><main>'
        '{% for picture in pictures %}{{ hover_figure(picture, "A caption") }}{% endfor %}</main>'
        '<script>{% include "hover.js" %}</script></body></html>'
    )
    return environment.from_string(text).render(pictures=pictures)


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_a_hotspot_lies_on_the_pixels_of_its_dot(scale: str) -> None:
    figure, panels = panels_of(2, height=6.2)
    for axes in panels:
        titled(axes, "$5$ Ωmega", "epoch", "loss")
        axes.set(xscale=scale, xlim=(1, 90), ylim=(0, 1))
    panels[1].plot([7], [0.3], "o", color="#ff0000", mew=0, ms=9)
    drawn = png_bytes(figure)
    (spot,) = hotspots(figure, panels[1], [7], [0.3], ["dot"])
    red, green, _ = np.asarray(Image.open(io.BytesIO(drawn)).convert("RGB"), float).transpose(2, 0, 1)
    rows, columns = np.nonzero((red > 200) & (green < 100))
    # A pixel's middle lies half a pixel after its edge.
    assert abs(spot.x * red.shape[1] - columns.mean() - 0.5) < 1
    assert abs(spot.y * red.shape[0] - rows.mean() - 0.5) < 1


def test_points_outside_of_the_axes_are_left_out_with_their_labels_and_tiles() -> None:
    figure, (axes,) = panels_of(1, height=3)
    axes.set(xscale="log", xlim=(1, 10), ylim=(0, 1))
    xs, ys, labels = [2.0, 0.0, 20.0, 5.0], [0.5, 0.5, 0.5, np.nan], ["in", "zero", "right", "nowhere"]
    png_bytes(figure)
    (spot,) = hotspots(figure, axes, xs, ys, labels, tiles=[3, 2, 1, 0])
    assert (spot.label, spot.tile) == ("in", 3)


def test_an_atlas_is_a_near_square_grid_in_the_order_of_its_thumbnails() -> None:
    made = atlas([plain_jpeg(RED), None, plain_jpeg(BLUE), plain_jpeg(BLUE), plain_jpeg(RED)], side=16)
    with Image.open(io.BytesIO(made.jpeg)) as sheet:
        assert sheet.size == (48, 32)
        middles = [
            sheet.getpixel((16 * (place % made.columns) + 8, 16 * (place // made.columns) + 8)) for place in range(5)
        ]
    expected = [RED, (221, 221, 221), BLUE, BLUE, RED]
    assert np.abs(np.array(middles) - np.array(expected)).max() < 12


def test_an_atlas_of_nothing_is_one_grey_tile() -> None:
    with Image.open(io.BytesIO(atlas([], side=8).jpeg)) as sheet:
        assert sheet.size == (8, 8)


def test_labels_with_quotes_and_markup_come_back_from_the_page_as_they_were() -> None:
    spots = [Hotspot(1 / 3, 0.5, NASTY, 4), Hotspot(0.25, 0.75, "Größe 猫")]
    page = page_of(HoverPicture(embedded(b"", 'A "picture"'), spots))
    found = re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
    assert [json.loads(text) for text in found] == [[[0.3333, 0.5, NASTY, 4], [0.25, 0.75, "Größe 猫"]]]
    assert page.count("<script") == 2


def test_without_the_script_nothing_is_shown_or_focused_beside_the_picture() -> None:
    page = page_of(HoverPicture(embedded(b"", "A picture"), [Hotspot(0.5, 0.5, "dot")]))
    tags = re.findall(r'<[^>]*class="hover-(?:mark|tip|hint)"[^>]*>', page)
    assert len(tags) == 3
    assert all(tag.endswith(" hidden>") for tag in tags)
    assert " tabindex=" not in page.partition("<script>")[0]


@pytest.mark.parametrize("classes", [1, 20, 40, 80])
def test_a_map_tells_its_classes_apart_and_rings_the_mistakes(classes: int) -> None:
    points = np.random.default_rng(0).random((160, 2))
    categories = [f"_{place % classes}" for place in range(160)]
    figure = map_figure(points, categories, np.arange(160) < 7)
    *dots, rings = figure.axes[0].collections
    looks = {(str(dot.get_facecolor()), str(dot.get_paths()[0].vertices)) for dot in dots}
    assert len(looks) == min(classes, 64)
    assert len(rings.get_offsets()) == 7  # type: ignore[arg-type]
    named = [text.get_text().lstrip("\N{ZERO WIDTH SPACE}") for text in figure.legends[0].get_texts()]
    more = [f"and {classes - 34} more"] if classes > 34 else []
    assert named == [*sorted(set(categories))[:34], *more, "wrong (7)"]


def test_a_map_of_one_image_can_be_drawn() -> None:
    assert png_bytes(map_figure(np.full((1, 2), 0.5), ["cat"], np.array([False])))


@cache
def four_corners() -> tuple[Figure, list[Hotspot]]:
    """Points at the corners, numbered row by row; the first one's label is nasty and long."""
    figure, (axes,) = panels_of(1, height=5)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    xs, ys = [0, 1, 0, 1], [1, 1, 0, 0]
    axes.plot(xs, ys, "o")
    png_bytes(figure)
    return figure, hotspots(figure, axes, xs, ys, [NASTY + " long" * 40, "one", "two", "three"], tiles=[0, 1, None, 0])


@pytest.fixture(params=[390, 1440])
def opened(browser: Any, request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """The browser, phone and desk, with two pictures on a page; the first has an atlas of a red and a blue tile."""
    figure, spots = four_corners()
    drawn = embedded(png_bytes(figure), "Four corners")
    tiles = atlas([plain_jpeg(RED), plain_jpeg(BLUE)])
    path = tmp_path / "page.html"
    path.write_text(page_of(HoverPicture(drawn, spots, tiles), HoverPicture(drawn, spots[1:])), encoding="utf-8")
    width = int(request.param)
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": 1, "y": 1})
    browser.get(path.as_uri())
    yield browser
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def place_of(browser: Any, spot: int, off: float) -> dict[str, float]:
    """Where a hotspot of the first picture is on the screen, or `off` pixels below it."""
    script = "const box = document.images[0].getBoundingClientRect(); return [box.left, box.top, box.width, box.height]"
    left, top, width, height = browser.execute_script(script)
    place = four_corners()[1][spot]
    return {"x": left + place.x * width, "y": top + place.y * height + off}


def point(browser: Any, spot: int, *, off: float = 0) -> None:
    browser.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", **place_of(browser, spot, off)})


def tap(browser: Any, spot: int, *, off: float = 0) -> None:
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    finger = [place_of(browser, spot, off)]
    for kind, fingers in (("touchStart", finger), ("touchEnd", [])):
        browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})


def shown(browser: Any, picture: int = 0) -> str | None:
    """The words beside a point, None where there are none."""
    script = (
        "const tip = document.querySelectorAll('.hover-tip')[arguments[0]]; return tip.hidden ? null : tip.innerText"
    )
    words = browser.execute_script(script, picture)
    return None if words is None else str(words).strip()


def press(browser: Any, *keys: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    for key in keys:
        ActionChains(browser).send_keys(getattr(Keys, key)).perform()


def test_hovering_shows_the_nearest_label_with_its_tile_inside_the_screen(opened: Any) -> None:
    point(opened, 0, off=20)
    assert (shown(opened) or "").startswith(NASTY)
    box = opened.execute_script("return document.querySelector('.hover-tip').getBoundingClientRect().toJSON()")
    assert 0 <= box["left"] < box["right"] <= opened.execute_script("return document.documentElement.clientWidth")
    point(opened, 1)
    tile = "return [getComputedStyle(arguments[0]).objectPosition, arguments[0].offsetWidth]"
    element = opened.find_element("css selector", ".hover-tile")
    assert (shown(opened), opened.execute_script(tile, element)) == ("one", ["-64px 0px", 64])
    point(opened, 2)
    assert (shown(opened), element.is_displayed()) == ("two", False)
    point(opened, 2, off=-40)
    assert shown(opened) is None


def test_arrow_keys_go_to_the_nearest_in_their_direction_aloud_and_escape_closes(opened: Any) -> None:
    press(opened, "TAB", "ARROW_RIGHT")
    assert (shown(opened) or "").startswith(NASTY)
    press(opened, "ARROW_RIGHT")
    assert shown(opened) == "one"
    press(opened, "ARROW_DOWN")
    assert shown(opened) == "three"
    press(opened, "ARROW_DOWN", "ARROW_LEFT")
    assert shown(opened) == "two"
    assert opened.find_element("css selector", "[aria-live]").get_attribute("textContent") == "two"
    press(opened, "ESCAPE")
    assert shown(opened) is None
    press(opened, "PAGE_DOWN")
    assert shown(opened) == "three"
    press(opened, "HOME", "TAB", "END")
    assert (shown(opened), shown(opened, 1)) == (None, "one")


def test_escape_also_closes_what_the_mouse_opened(opened: Any) -> None:
    point(opened, 3)
    assert shown(opened) == "three"
    press(opened, "ESCAPE")
    assert shown(opened) is None


def test_a_tap_shows_the_nearest_however_far_and_one_elsewhere_closes(opened: Any) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    tap(opened, 3, off=-60)
    assert WebDriverWait(opened, 10).until(shown) == "three"
    opened.execute_script("document.querySelector('figcaption').click()")
    assert shown(opened) is None


def test_on_paper_there_is_only_the_picture(opened: Any) -> None:
    point(opened, 1)
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    displays = (
        "return ['tip', 'mark', 'hint'].map(n => getComputedStyle(document.querySelector('.hover-' + n)).display)"
    )
    printed = opened.execute_script(displays)
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert printed == ["none", "none", "none"]
