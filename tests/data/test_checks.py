from typing import Any

import numpy as np
import pandas as pd
import pytest

from linnaeus.data.checks import CHECKS, check_images, least, most
from linnaeus.settings import CheckRecipe

ORDINARY = {
    "category": "cat",
    "format": "jpg",
    "content_format": "JPEG",
    "mode": "RGB",
    "width": 300,
    "height": 200,
    "frames": 1,
    "bit_depth": 8,
    "has_transparency": False,
    "aspect": 1.5,
    "luma_p5": 0.1,
    "luma_p95": 0.9,
    "sharpness": 0.2,
    "entropy": 7.3,
    "colourfulness": 0.2,
}


def _checked(*odd: dict[str, Any], ordinary: int = 5, **settings: Any) -> pd.DataFrame:
    rows = [ORDINARY | change for change in odd] + [ORDINARY] * ordinary
    images = pd.DataFrame(rows).assign(relpath=[f"{place}.jpg" for place in range(len(rows))])
    return check_images(images, CheckRecipe(**settings))


def _found(checked: pd.DataFrame, row: int = 0) -> set[str]:
    return {check.name for check in CHECKS if checked.loc[row, f"is_{check.name}"]}


ODD: list[tuple[dict[str, Any], str]] = [
    ({"luma_p95": 0.2}, "dark"),
    ({"luma_p5": 0.9}, "bright"),
    ({"sharpness": 0.01}, "blurry"),
    ({"entropy": 0.5}, "low_information"),
    ({"colourfulness": 0.0}, "grey_among_colour"),
    ({"aspect": 3.5}, "extreme_aspect"),
    ({"aspect": 0.25}, "extreme_aspect"),
    ({"width": 20, "height": 20}, "odd_size"),
    ({"width": 4000, "height": 3000}, "odd_size"),
    ({"format": "png"}, "wrong_extension"),
    ({"format": ""}, "wrong_extension"),
    ({"frames": 2}, "animated"),
    ({"bit_depth": 16}, "sixteen_bit"),
    ({"mode": "CMYK"}, "cmyk"),
    ({"mode": "P", "has_transparency": True}, "palette_transparency"),
    ({"mode": "LA", "has_transparency": True}, "grey_alpha"),
    ({"mode": "RGBA", "has_transparency": True}, "transparent"),
]


@pytest.mark.parametrize(("change", "name"), ODD)
def test_each_oddity_is_found_by_its_check_alone(change: dict[str, Any], name: str) -> None:
    checked = _checked(change)
    assert _found(checked) == {name}
    assert checked[f"{name}_score"].iloc[0] < 0.5
    assert all(_found(checked, row) == set() for row in range(1, len(checked)))


def test_every_check_has_a_case_above() -> None:
    assert {name for _, name in ODD} == {check.name for check in CHECKS}


def test_scores_are_half_at_the_threshold_and_fall_towards_the_bad_end() -> None:
    values = pd.Series([0.0, 1.0, 2.0, 4.0, 1e9])
    assert least(values, 2.0) == pytest.approx([0, 1 / 3, 0.5, 2 / 3, 1])
    assert most(values, 2.0) == pytest.approx([1, 2 / 3, 0.5, 1 / 3, 0], abs=1e-8)


def test_a_worse_image_has_a_lower_score() -> None:
    scores = _checked({"luma_p95": 0.2}, {"luma_p95": 0.1}, {"luma_p95": 0.0})["dark_score"]
    assert (np.diff(scores[:3]) < 0).all()


@pytest.mark.parametrize(
    ("setting", "value", "change", "name"),
    [
        ("dark", 0.95, {}, "dark"),
        ("bright", 0.05, {}, "bright"),
        ("blurry", 0.3, {}, "blurry"),
        ("information", 7.9, {}, "low_information"),
        ("aspect", 1.2, {}, "extreme_aspect"),
        ("size", 1.5, {"width": 600, "height": 400}, "odd_size"),
    ],
)
def test_every_threshold_is_a_setting(setting: str, value: float, change: dict[str, Any], name: str) -> None:
    assert _found(_checked(change)) == set()
    assert name in _found(_checked(change, ordinary=5, **{setting: value}))


def test_grey_images_are_odd_only_among_coloured_ones() -> None:
    grey = {"colourfulness": 0.0}
    assert _found(_checked(grey, grey, ordinary=3)) == {"grey_among_colour"}
    assert _found(_checked(grey, grey, grey, grey, ordinary=3)) == set()


@pytest.mark.parametrize(("kind", "ending"), [("JPEG", "jpeg"), ("MPO", "jpg"), ("TIFF", "tif"), ("XBM", "xbm")])
def test_every_usual_ending_is_right(kind: str, ending: str) -> None:
    assert _found(_checked({"content_format": kind, "format": ending})) == set()
