"""How the images came into their parts, in sentences for a reader."""

from collections.abc import Iterator

from linnaeus.reporting.facts import ReportFacts
from linnaeus.reporting.words import counted, listing, percent


def how_divided(facts: ReportFacts) -> list[str]:
    """The method with its seed and shares, what was kept together, and what came of it."""
    own_table = facts.division.own_table
    opening = [f"The images are those of a table of the user's own, {own_table}."] if own_table else []
    return [*opening, _method(facts), *_together(facts), *_outcome(facts)]


def _method(facts: ReportFacts) -> str:
    recipe = facts.division.recipe
    val, test, seed = percent(recipe.val, 0), percent(recipe.test, 0), recipe.seed
    if facts.division.has_given_parts:
        return "The images came in parts of their own, which are kept; a part that was missing was drawn from training."
    if recipe.method == "kfold":
        return (
            f"Cross-validation, class by class (seed {seed}): of {recipe.folds} folds, numbered from 0, fold "
            f"{recipe.fold} is the test part, fold {(recipe.fold + 1) % recipe.folds} validation, the others training."
        )
    if recipe.method == "hash":
        return (
            f"Each image's own path decides (SHA-256, seed {seed}), so that images which are added move none; about "
            f"{val} go to validation, about {test} to test, the others to training."
        )
    return (
        f"The images were drawn at random, class by class (seed {seed}): {val} for validation, {test} for test, the "
        "others for training."
    )


def _together(facts: ReportFacts) -> Iterator[str]:
    recipe, table = facts.division.recipe, facts.splits.table
    ties = [
        *(["near-duplicates"] if recipe.near_duplicates else []),
        *([f"images with the same {recipe.group_column}"] if recipe.group_column else []),
        *([f"images whose path has the same match of {recipe.group_pattern}"] if recipe.group_pattern else []),
    ]
    if ties:
        sizes = table["group" if "group" in table else "relpath"].value_counts()
        several = sizes[sizes > 1]
        found = (
            f"{counted(len(several), 'group has', 'groups have')} more than one image: {several.sum():,} in all, "
            f"{several.max():,} in the largest."
            if len(several)
            else "There are none of these."
        )
        yield f"Kept together in one part: {listing(ties)}. {found}"
    if not recipe.near_duplicates:
        yield "Near-duplicates were not kept together."


def _outcome(facts: ReportFacts) -> Iterator[str]:
    if facts.division.leaks.empty:
        yield "No copies and no group lie in different parts."
    if len(facts.splits.left_out):
        yield (
            f"{counted(len(facts.splits.left_out), 'image is', 'images are')} in no part, since each would tie images "
            "of different parts together."
        )
