"""The deck's models: what it says of each, and the recipes that train them again."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

import pandas as pd

from linnaeus.errors import RecipeError
from linnaeus.recipe import RECIPE_FOLDER, Recipe, canonical_name, load_recipe

DECK_TABLE = RECIPE_FOLDER / "deck.csv"


@dataclass(frozen=True)
class DeckRow:
    """One model of the deck: our recipe's name, the deck's own, and the deck's accuracies (None where it tells none).

    `accuracy` is on the test part. `group`: "sampling" (the three that differ in the balance of classes), "scratch"
    or "transfer".
    """

    recipe: str
    deck_name: str
    acc_train: float | None
    acc_val: float | None
    accuracy: float
    group: str


def deck_rows() -> tuple[DeckRow, ...]:
    """Every row of the deck's tables, in the deck's order; what a row starts from comes before it."""
    table = pd.read_csv(DECK_TABLE)
    records = table.astype(object).where(table.notna(), None).to_dict("records")
    return tuple(DeckRow(**{str(name): value for name, value in record.items()}) for record in records)


def deck_ladder(only: str = "*", epochs_scale: float = 1.0) -> list[tuple[DeckRow, Recipe]]:
    """The rows that a glob such as "conv5*" names, and those that they start from, with their recipes, in order.

    only: of recipes or of the deck's names, in any spelling, or of groups. epochs_scale: what the epochs of each recipe
    are multiplied by; such recipes have names of their own. Raises RecipeError.
    """
    if not 0 < epochs_scale < math.inf:
        raise RecipeError(f"epochs can be multiplied by a number above 0, not by {epochs_scale:g}")
    rows = deck_rows()
    wanted = {name for row in rows if _is_named(row, only) for name in _chain(row.recipe)}
    if not wanted:
        raise RecipeError(f"no model of the deck is called {only!r}; they are {', '.join(row.recipe for row in rows)}")
    return [(row, _scaled(load_recipe(row.recipe), epochs_scale)) for row in rows if row.recipe in wanted]


def _is_named(row: DeckRow, pattern: str) -> bool:
    names = (row.recipe, canonical_name(row.deck_name), row.deck_name.lower().replace("_", "-"), row.group)
    spellings = (canonical_name(pattern), pattern.lower().replace("_", "-"))
    return any(fnmatchcase(name, spelling) for name in names for spelling in spellings)


def _chain(name: str | None) -> Iterator[str]:
    """A recipe's name, that of the recipe it starts from, and so on."""
    while name is not None:
        yield name
        name = load_recipe(name).starts_from


def _scaled(recipe: Recipe, epochs_scale: float) -> Recipe:
    """The recipe for a multiple of its epochs, at least one where it has any; it starts from one that is scaled too."""
    if epochs_scale == 1:
        return recipe
    ending, epochs = f"-epochsx{epochs_scale:g}", recipe.training.epochs
    changes: dict[str, int | str] = {"training.epochs": max(1, round(epochs * epochs_scale)) if epochs else 0}
    if recipe.starts_from is not None:
        changes["starts_from"] = recipe.starts_from + ending
    return recipe.changed(changes, name=recipe.name + ending)
