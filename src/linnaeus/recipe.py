"""Typed recipes: load, check, change. Every default lives here."""

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from linnaeus.errors import RecipeError
from linnaeus.settings import CheckRecipe, CleanRecipe, ScanRecipe, Section, SplitRecipe

RECIPE_FOLDER = Path(__file__).parent / "recipes"

Balance = Literal["none", "down", "up", "mid", "median", "class-weights"] | Annotated[int, Field(ge=1)]
Dropout = Annotated[float, Field(ge=0, lt=1)]
Width = Annotated[int, Field(ge=1)]

# The deck's heads: widths and dropouts of the dense layers between the backbone and the last layer.
HEADS: dict[str, tuple[tuple[int, ...], tuple[float, ...]]] = {
    "dense128": ((128,), ()),
    "dense256": ((256,), ()),
    "2dense": ((128, 32), (0.0, 0.2)),
    "3dense": ((32, 64, 128), (0.2, 0.3, 0.2)),
}


class AugmentRecipe(Section):
    """Random changes to training images; the defaults are the deck's."""

    flip_horizontal: bool = True
    flip_vertical: bool = True
    brightness: float = Field(0.1, ge=0, le=1, description="added, up to this share of white")
    contrast: tuple[float, float] = (0.8, 1.2)
    saturation: tuple[float, float] = (0.8, 1.2)
    hue: float = Field(0.05, ge=0, le=0.5, description="share of a full turn of the colour circle")
    crop: float = Field(0.85, gt=0, le=1, description="smallest share of the side that a crop keeps")


class DataRecipe(Section):
    """What training sees: the balance of its classes, and augmentation (null for none)."""

    balance: Balance = "mid"
    augment: AugmentRecipe | None = AugmentRecipe()


class ScratchRecipe(Section):
    """A CNN from scratch: 3x3 convolutions without padding, each with ReLU and max-pooling; then dense layers."""

    kind: Literal["scratch"] = "scratch"
    conv_widths: tuple[Width, ...] = Field(min_length=1)
    pool_sizes: tuple[Width, ...] = Field(min_length=1)
    dense_widths: tuple[Width, ...] = ()
    dropouts: tuple[Dropout, ...] = ()

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if len(self.pool_sizes) != len(self.conv_widths):
            raise ValueError(f"{len(self.conv_widths)} conv_widths but {len(self.pool_sizes)} pool_sizes")
        _check_dropouts(self)
        return self


class TransferRecipe(Section):
    """A pretrained backbone under dense layers; `head` may name one of the deck's (HEADS) instead of its widths.

    `weights`: "auto" takes them from an installed package or else from the hub, "random" none, otherwise a file
    (safetensors, or a state dict). `unfrozen_last_layers` of 0 keeps the whole backbone frozen.
    """

    kind: Literal["transfer"] = "transfer"
    backbone: str = "tf_efficientnet_lite0"
    weights: str = "auto"
    input_size: int | None = Field(None, ge=16, description="pixels; null for the backbone's own")
    dense_widths: tuple[Width, ...] = (256,)
    dropouts: tuple[Dropout, ...] = ()
    unfrozen_last_layers: int = Field(0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _named_head(cls, content: Any) -> Any:
        if not isinstance(content, dict) or "head" not in content:
            return content
        others = {key: value for key, value in content.items() if key != "head"}
        if content["head"] not in HEADS:
            raise ValueError(f"no head {content['head']!r}; there are {', '.join(HEADS)}")
        if {"dense_widths", "dropouts"} & others.keys():
            raise ValueError("give either head, or dense_widths and dropouts")
        return others | dict(zip(("dense_widths", "dropouts"), HEADS[content["head"]], strict=True))

    @model_validator(mode="after")
    def _agree(self) -> Self:
        _check_dropouts(self)
        return self


ModelRecipe = Annotated[ScratchRecipe | TransferRecipe, Field(discriminator="kind")]


def _check_dropouts(model: ScratchRecipe | TransferRecipe) -> None:
    if model.dropouts and len(model.dropouts) != len(model.dense_widths):
        raise ValueError(f"{len(model.dense_widths)} dense_widths but {len(model.dropouts)} dropouts")


class TrainingRecipe(Section):
    """Adam on cross-entropy; the epoch with the lowest validation loss is kept.

    `patience`: epochs without a lower validation loss after which training stops; null never stops early.
    """

    learning_rate: float = Field(0.0005, gt=0, le=1)
    epochs: int = Field(15, ge=0)
    patience: int | None = Field(5, ge=1)
    batch_size: int = Field(32, ge=1)
    seed: int = Field(0, ge=0)
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"


class Recipe(Section):
    """One model: what it is, what it sees and how it is trained.

    `name` is the run's model_id; `starts_from` names the recipe whose trained run this one goes on from.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+=-]*$", max_length=120)
    starts_from: str | None = None
    model: ModelRecipe
    data: DataRecipe = DataRecipe()
    training: TrainingRecipe = TrainingRecipe()

    def changed(self, changes: Mapping[str, Any], name: str | None = None) -> "Recipe":
        """This recipe with dotted settings changed, such as {"training.epochs": 8}.

        Without a `name` of its own the changed recipe is called after its changes, so that two runs never share one.
        Raises RecipeError where a key or a value is not allowed.
        """
        content = _with_changes(self, changes, self.name)
        suffix = "".join(f"-{key.rpartition('.')[2]}{_in_a_name(value)}" for key, value in sorted(changes.items()))
        content["name"] = name or re.sub(r"[^A-Za-z0-9._+=-]+", "", self.name + suffix)
        return checked(Recipe, content, where=f"{self.name} changed")


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
    """The deck's best CNN from scratch for a few epochs; Lite0 with a frozen backbone; the same fine-tuned."""
    scratch = load_recipe("conv4invto128-dense256-up").changed({"training.epochs": 8})
    return scratch, load_recipe("lite0-dense256"), load_recipe("lite0-dense256-finetune")


class Plan(Section):
    """The main job: which names the classes get, how images are read, cleaned, checked and split, and which models are
    trained.

    `rename`: "animals10" (the built-in map), or a map from folder name to class name.
    """

    rename: Literal["animals10"] | dict[str, str] | None = None
    scan: ScanRecipe = ScanRecipe()
    clean: CleanRecipe = CleanRecipe()
    check: CheckRecipe = CheckRecipe()
    split: SplitRecipe = SplitRecipe()
    recipes: tuple[Recipe, ...] = Field(default_factory=default_recipes, min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [recipe.name for recipe in self.recipes]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two recipes are called {twice[0]}; give each a name of its own")
        return self


def transfer_recipe(backbone: str, head: str = "dense256") -> Recipe:
    """A recipe for any timm backbone, frozen, under one of the deck's heads; trained as the deck trains those."""
    model = {"kind": "transfer", "backbone": backbone, "head": head}
    data = {"augment": None}
    training = {"epochs": 13 if head == "dense256" else 15}
    name = f"{backbone}-{head}".replace("/", "-").replace(":", "-")
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

    Raises RecipeError where there is none, or where it is wrong.
    """
    text = str(name_or_path)
    own = Path(text)
    if own.suffix in {".yaml", ".yml"}:
        return checked(Recipe, load_yaml(own), where=text)
    path = RECIPE_FOLDER / f"{canonical_name(text)}.yaml"
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
