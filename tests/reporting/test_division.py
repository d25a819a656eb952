"""The sentences on the split say what was done, and nothing else."""

from dataclasses import replace

import pytest

from linnaeus.data.catalogue import exclusion_table
from linnaeus.data.split import Splits
from linnaeus.records import Exclusion
from linnaeus.reporting.division import how_divided
from linnaeus.reporting.facts import ReportFacts
from linnaeus.settings import SplitRecipe
from report_facts import facts


def told(recipe: SplitRecipe, **changes: object) -> str:
    plain = facts()
    return sentences(replace(plain, division=replace(plain.division, recipe=recipe, **changes)))  # type: ignore[arg-type]  # the tests' own words


def sentences(given: ReportFacts) -> str:
    return " ".join(how_divided(given)).replace("\u202f", " ")


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        (SplitRecipe(val=0.25, test=0.15, seed=7), "class by class (seed 7): 25 % for validation, 15 % for test"),
        (SplitRecipe(method="kfold", folds=4, fold=3), "of 4 folds, numbered from 0, fold 3 is the test part, fold 0 "),
        (SplitRecipe(method="hash", seed=2), "own path decides (SHA-256, seed 2)"),
        (SplitRecipe(group_column="patient"), "near-duplicates and images with the same patient"),
        (SplitRecipe(near_duplicates=False), "Near-duplicates were not kept together"),
        (SplitRecipe(near_duplicates=False, group_pattern=r"cam(\d)"), r"path has the same match of cam(\d)"),
    ],
)
def test_method_and_groups_are_those_of_the_settings(recipe: SplitRecipe, says: str) -> None:
    assert says in told(recipe)


def test_given_parts_and_a_table_of_the_users_own_are_named() -> None:
    assert "parts of their own" in told(SplitRecipe(), has_given_parts=True)
    assert "at random" not in told(SplitRecipe(), has_given_parts=True)
    assert "/mine.csv" in told(SplitRecipe(), own_table="/mine.csv")


def test_groups_of_several_images_are_counted() -> None:
    plain = facts()
    assert "There are none of these" in sentences(plain)
    grouped = plain.splits.table.assign(group=[0, 0, 0, 1, 1, *range(2, 17)])
    assert "2 groups have more than one image: 5 in all, 3 in the largest" in sentences(
        replace(plain, splits=Splits(grouped))
    )


def test_leaks_and_images_in_no_part_are_not_kept_silent() -> None:
    assert "No copies and no group lie in different parts" in sentences(facts())
    leaking = facts(pairs=[("cat/0.jpg", "cat/9.jpg", "near")])
    assert "No copies" not in sentences(leaking)
    left_out = exclusion_table([Exclusion("cat/new.jpg", "ties images of different parts together")])
    assert "1 image is in no part" in sentences(replace(leaking, splits=replace(leaking.splits, left_out=left_out)))
