"""The demo's report in a real browser: whole at every width, quiet, and alone."""

from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize("width", [390, 1440])
def test_the_report_opens_from_disk_without_error_network_or_sideways_scrolling(
    browser: Any, demo: tuple[Path, str], width: int
) -> None:
    page = demo[0] / "digits-linnaeus" / "report.html"
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(page.resolve().as_uri())
    assert browser.get_log("browser") == []
    loaded = browser.execute_script("return performance.getEntriesByType('resource').map(r => r.name)")
    assert [name for name in loaded if not name.startswith(("data:", "file:"))] == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    pictures = browser.execute_script("return [...document.images].map(i => [i.alt, i.naturalWidth])")
    assert len(pictures) > 10
    assert all(alt and pixels for alt, pixels in pictures)


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1440, "dark")])
def test_the_report_has_nothing_that_axe_complains_of(
    browser: Any, demo: tuple[Path, str], width: int, scheme: str
) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    browser.get((demo[0] / "digits-linnaeus" / "report.html").resolve().as_uri())
    browser.execute_script("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    browser.execute_script(files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    found = browser.execute_async_script("axe.run().then(arguments[0])")
    assert [(fault["id"], [node["html"] for node in fault["nodes"]][:3]) for fault in found["violations"]] == []


def test_a_point_of_a_figure_says_what_it_is_and_a_point_of_the_map_shows_its_picture(
    browser: Any, demo: tuple[Path, str]
) -> None:
    browser.get((demo[0] / "digits-linnaeus" / "report.html").resolve().as_uri())
    stages = browser.find_elements("css selector", ".hover-stage")
    assert len(stages) >= 4
    for stage in stages:
        browser.execute_script("arguments[0].focus()", stage)
        stage.send_keys("\ue015")  # arrow down
        assert stage.find_element("css selector", ".hover-text").text
    assert stages[-2].find_elements("css selector", ".hover-tile")  # the map; cost comes after it
    assert browser.get_log("browser") == []
