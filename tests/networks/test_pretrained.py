from pathlib import Path

import pandas as pd
import pytest
import timm

from linnaeus.errors import RecipeError
from linnaeus.networks.pretrained import FACTS_FILE, pretrained_table


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))


@pytest.fixture(scope="module")
def facts() -> pd.DataFrame:
    return pd.read_csv(FACTS_FILE, comment="#", index_col="model")


def test_the_models_that_match_are_listed_with_what_is_known_of_them() -> None:
    table = pretrained_table("tf_efficientnet_lite?")
    assert [*table.columns] == ["model", "params_m", "top1", "input_px", "weights"]
    assert [*table["model"]] == [f"tf_efficientnet_lite{number}.in1k" for number in (4, 3, 2, 1, 0)]
    assert [*table.iloc[-1]] == ["tf_efficientnet_lite0.in1k", 3.37, 74.85, 224, "installed"]
    assert table["weights"].iloc[0] == "to download"


def test_the_most_accurate_come_first_and_those_without_a_figure_last() -> None:
    known = pretrained_table("resnet50*")["top1"]
    assert known.isna().any()
    figures = known.dropna()
    assert figures.is_monotonic_decreasing
    assert known.iloc[: len(figures)].notna().all()


def test_the_deck_s_names_are_understood() -> None:
    assert pretrained_table("MobileNetV2")["model"].str.startswith("mobilenetv2_100.").all()


def test_a_name_with_a_tag_is_one_row() -> None:
    assert len(pretrained_table("resnet18.tv_in1k")) == 1


@pytest.mark.parametrize("pattern", ["efficentnet*", "mobilnetv2_100"])
def test_a_pattern_without_a_match_is_refused_with_near_names(pattern: str) -> None:
    with pytest.raises(RecipeError, match=r"no pretrained model .*; near it: (efficientnet|mobilenetv2)_"):
        pretrained_table(pattern)


def test_a_pattern_like_no_name_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"no pretrained model '0\*'$"):
        pretrained_table("0*")


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0.in1k", "test_vit.r160_in1k", "resnet18.tv_in1k"])
def test_the_parameters_listed_are_those_of_the_backbone(facts: pd.DataFrame, name: str) -> None:
    backbone = timm.create_model(name, num_classes=0)
    assert facts.loc[name, "parameters"] == sum(parameter.numel() for parameter in backbone.parameters())


def test_the_figures_are_possible_and_each_model_has_one_row(facts: pd.DataFrame) -> None:
    assert facts.index.is_unique
    assert facts["top1"].dropna().between(30, 92).all()
    assert facts["parameters"].between(5e4, 7e9).all()
