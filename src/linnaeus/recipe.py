"""Typed recipes: load, check, change."""

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from linnaeus.errors import RecipeError
from linnaeus.recipe_sections import FITTED_HEADS, DataRecipe, ModelRecipe, ScratchRecipe, TrainingRecipe
from linnaeus.settings import CheckRecipe, CleanRecipe, ScanRecipe, Section, SplitRecipe

RECIPE_FOLDER = Path(__file__).parent / "recipes"


class Recipe(Section):
    """One model: what it is, what it sees and how it is trained.

    `name` is the run's model_id; `starts_from` names the recipe whose trained run this one goes on from.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+=-]*$", max_length=120)
    starts_from: str | None = None
    model: ModelRecipe
    data: DataRecipe = DataRecipe()
    training: TrainingRecipe = TrainingRecipe()

    @model_validator(mode="after")
    def _agree(self) -> Self:
        head = getattr(self.model, "head", "dense")
        if head in FITTED_HEADS and self.data.augment is not None:
            raise ValueError(f"a {head} sees each image once, as it is; say so: data.augment: null")
        if self.data.views is not None and isinstance(self.model, ScratchRecipe):
            raise ValueError("a CNN from scratch has no frozen trunk whose activations of views could be kept")
        return self

    def changed(self, changes: Mapping[str, Any], name: str | None = None) -> "Recipe":
        """This recipe with dotted settings changed, such as {"training.epochs": 8}.

        Without a `name` of its own the changed recipe is called after its changes, so that two runs never share one.
        Raises RecipeError where a key or a value is not allowed.
        """
        content = _with_changes(self, changes, self.name)
        suffix = "".join(f"-{key.rpartition('.')[2]}{_in_a_name(value)}" for key, value in sorted(changes.items()))
        content["name"] = name or re.sub(r"[^A-Za-z0-9._+=-]+", "", self.name + suffix)
        return checked(Recipe, content, where=f"{self.name} changed")

    def seeded(self, seed: int) -> "Recipe":
        """This recipe with another seed, called after it; where it starts from a run, from that with the same seed."""
        if seed == self.training.seed:
            return self
        started = {"starts_from": f"{self.starts_from}-seed{seed}"} if self.starts_from else {}
        return self.changed({"training.seed": seed} | started, name=f"{self.name}-seed{seed}")


def _with_changes(section: Section, changes: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A section's content with dotted settings changed."""
    content = section.model_dump(mode="json")
    for key, value in changes.items():
        *names, last = key.split(".")
        place = content
        for name in names:
            if not isinstance(place.get(name), dict):
                raise RecipeError(f"{where}: no section {name!r} for {key!r}")
            place = place[name]
        place[last] = value
    return content


def _in_a_name(value: Any) -> str:
    return "-".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def default_recipes() -> tuple[Recipe, ...]:
    """Lite0 under a probe, under the deck's head, and fine-tuned; the deck's best CNN from scratch for a few epochs."""
    scratch = load_recipe("conv4invto128-dense256-up").changed({"training.epochs": 8})
    return *map(load_recipe, ("lite0-probe", "lite0-dense256", "lite0-dense256-finetune")), scratch


class Plan(Section):
    """The main job: which names the classes get, how images are read, cleaned, checked and split, and which models are
    trained.

    `rename`: "animals10" (the built-in map), or a map from folder name to class name. `folds`: models are ranked over
    so many folds of training and validation; null for 5 where validation has fewer than 100 images, 1 for never.
    """

    rename: Literal["animals10"] | dict[str, str] | None = None
    scan: ScanRecipe = ScanRecipe()
    clean: CleanRecipe = CleanRecipe()
    check: CheckRecipe = CheckRecipe()
    split: SplitRecipe = SplitRecipe()
    folds: int | None = Field(None, ge=1)
    recipes: tuple[Recipe, ...] = Field(default_factory=default_recipes, min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        if self.folds == 2:
            raise ValueError("folds: at least 3, or 1 for none")
        names = [recipe.name for recipe in self.recipes]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two recipes are called {twice[0]}; give each a name of its own")
        return self


def transfer_recipe(backbone: str, head: str = "dense256") -> Recipe:
    """A recipe for any timm backbone, frozen, under a head: one of the deck's, trained as it trains those, an "mlp", a
    "probe" or "knn". Several backbones are joined by "+"."""
    first, *more = backbone.split("+")
    model = {"kind": "transfer", "backbone": first, "more_backbones": more, "head": head}
    data = {"augment": None, "balance": "none" if head in FITTED_HEADS else "mid"}
    training = {"epochs": 13 if head == "dense256" else 15}
    name = re.sub("[/:]", "-", f"{backbone}-{head}")
    content = {"name": name, "model": model, "data": data, "training": training}
    return checked(Recipe, content, where=f"{backbone} under {head}")


Checked = TypeVar("Checked", bound=BaseModel)
Changed = TypeVar("Changed", bound=Section)


def checked(kind: type[Checked], content: Any, *, where: str) -> Checked:
    """`content` as a `kind`. Raises RecipeError that names each wrong key, and the key that was probably meant."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        lines = [_explain(kind, problem) for problem in error.errors()]
        raise RecipeError(f"{where}: " + "; ".join(lines)) from None


def _explain(kind: type[BaseModel], problem: Any) -> str:
    place = ".".join(str(part) for part in problem["loc"] if part not in {"scratch", "transfer"})
    if problem["type"] != "extra_forbidden":
        message = str(problem["msg"]).removeprefix("Value error, ")
        return f"{place}: {message}" if place else message
    meant = difflib.get_close_matches(place.rpartition(".")[2], known_keys(kind), n=1)
    return f"{place}: no such setting" + (f"; did you mean {meant[0]!r}?" if meant else "")


def known_keys(kind: type[BaseModel]) -> set[str]:
    """Every setting's name, at any depth, of a recipe or a section."""
    keys: set[str] = set()
    for name, field in kind.model_fields.items():
        keys.add(name)
        for section in _sections(field.annotation):
            keys |= known_keys(section)
    return keys


def _sections(annotation: Any) -> Iterable[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _sections(part)


def recipe_names() -> list[str]:
    """The names of the recipes that come with Linnaeus, sorted."""
    return sorted(path.stem for path in RECIPE_FOLDER.glob("*.yaml"))


def canonical_name(name: str) -> str:
    """A recipe's name in this project's spelling, from any of the deck's: `-` for `_`, `up` for `upsamp`.

    >>> canonical_name("conv4invto128_dense256_upsamp"), canonical_name("conv5invto128_dense1 (continued to 70)")
    ('conv4invto128-dense256-up', 'conv5invto128-dense1-70')
    """
    spelled = re.sub(r"\s*\((?:continued to )?(\w+)\)", r"-\1", name.strip()).lower().replace("_", "-")
    return re.sub(r"(?<=-)upsamp(?=-|$)", "up", spelled)


def load_recipe(name_or_path: str | Path) -> Recipe:
    """A recipe that comes with Linnaeus, by any spelling of its name, or one of the user's own, by its file's path.

    A name may end in "-seed3" for the recipe with that seed.
    Raises RecipeError where there is none, or where it is wrong.
    """
    text = str(name_or_path)
    own = Path(text)
    if own.suffix in {".yaml", ".yml"}:
        return checked(Recipe, load_yaml(own), where=text)
    path = RECIPE_FOLDER / f"{canonical_name(text)}.yaml"
    if not path.is_file() and (seeded := re.fullmatch(r"(.+)-seed(\d+)", text)):
        return load_recipe(seeded[1]).seeded(int(seeded[2]))
    if not path.is_file():
        meant = difflib.get_close_matches(canonical_name(text), recipe_names(), n=3)
        hint = f"did you mean {', '.join(meant)}?" if meant else "`linnaeus models` lists all"
        raise RecipeError(f"no recipe {text!r}; {hint} (one of your own: give the path of its .yaml file)")
    return checked(Recipe, load_yaml(path), where=path.name)


def parse_changes(changes: Iterable[str]) -> dict[str, Any]:
    """Settings from texts such as "training.epochs=8", whose values are YAML. Raises RecipeError."""
    settings: dict[str, Any] = {}
    for change in changes:
        key, sign, value = change.partition("=")
        if not sign:
            raise RecipeError(f"{change}: expected KEY=VALUE, such as training.epochs=8")
        try:
            settings[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise RecipeError(f"{change}: {value!r} is no value") from None
    return settings


def changed_section(section: Changed, changes: Iterable[str], *, where: str) -> Changed:
    """A section with settings changed by texts such as "dark=0.2" or "labels.folds=3". Raises RecipeError."""
    return checked(type(section), _with_changes(section, parse_changes(changes), where), where=where)


def recipe_text(recipe: Recipe) -> str:
    """The recipe as YAML, with every setting."""
    text: str = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
    return text


def load_plan(path: Path) -> Plan:
    """A plan from a YAML file, whose `recipes` may be names, paths, or whole recipes. Raises RecipeError."""
    content = load_yaml(path)
    if isinstance(content, dict) and isinstance(content.get("recipes"), list):
        named = (load_recipe(item) if isinstance(item, str) else item for item in content["recipes"])
        content = content | {"recipes": [*named]}
    return checked(Plan, content, where=str(path))


def load_yaml(path: Path) -> Any:
    """The content of a YAML file. Raises RecipeError where it is absent or no YAML."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not valid YAML: {error}") from None
