"""The architecture of docs/architecture.md, held against the code."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import linnaeus

SOURCE = Path(linnaeus.__file__).parent

# From the bottom up. A file may import from the rows below its own, and from its own room.
ROWS: tuple[tuple[str, ...], ...] = (
    ("errors", "records"),
    ("files", "progress", "decisions", "settings"),
    ("recipe_sections",),
    ("recipe",),
    ("project", "provenance", "runs", "deck", "looks"),
    ("scale",),
    ("data", "networks"),
    ("evaluation",),
    ("training",),
    ("reporting", "deploy"),
    ("outcomes",),
    ("steps",),
    ("stages",),
    ("jobs", "reproduction", "using"),
    ("cli",),
)
ROW_OF = {room: row for row, rooms in enumerate(ROWS) for room in rooms}
LONGEST_FILE = 400
LONGEST_FUNCTION = 60
MOST_ARGUMENTS = 5
DOORS = (
    "cli/main.py",
    "cli/judging.py",
    "cli/reproduce.py",
    "cli/tuning.py",
    "cli/using.py",
    "__main__.py",
    "__init__.py",
)

FILES = sorted(SOURCE.rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def imports_of(path: Path) -> Iterator[str]:
    """The project's modules that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)} has a relative import"
            if node.module == "linnaeus":
                yield from (f"linnaeus.{alias.name}" for alias in node.names)
            elif (node.module or "").startswith("linnaeus."):
                yield str(node.module)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("linnaeus."))


def functions_of(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_every_file_belongs_to_a_row() -> None:
    rooms = {room_of(path) for path in FILES} - {"__init__", "__main__"}
    assert rooms == set(ROW_OF)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_point_downwards_only(path: Path) -> None:
    if path.name in {"__init__.py", "__main__.py"} and path.parent == SOURCE:
        return  # the front door names everything
    own = room_of(path)
    for module in imports_of(path):
        other = module.split(".")[1]
        assert other == own or ROW_OF[other] < ROW_OF[own], f"{name_of(path)} imports {module}"


def test_no_module_imports_itself_through_others() -> None:
    graph = {"linnaeus." + name_of(path).removesuffix(".py").replace("/", "."): path for path in FILES}
    edges = {name: {module for module in imports_of(path) if module in graph} for name, path in graph.items()}
    finished: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join([*above, name])
        if name not in finished:
            for other in edges[name]:
                visit(other, (*above, name))
            finished.add(name)

    for name in edges:
        visit(name, ())


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_and_functions_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE
    for function in functions_of(path):
        length = (function.end_lineno or 0) - function.lineno + 1
        assert length <= LONGEST_FUNCTION, f"{name_of(path)}: {function.name} has {length} lines"


@pytest.mark.parametrize("path", [path for path in FILES if name_of(path) not in DOORS], ids=name_of)
def test_functions_take_at_most_five_positional_arguments(path: Path) -> None:
    for function in functions_of(path):
        names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
        count = len([name for name in names if name not in {"self", "cls"}])
        assert count <= MOST_ARGUMENTS, f"{name_of(path)}: {function.name} takes {count}"


def test_heavy_imports_inside_functions_are_the_doors_and_optional_extras() -> None:
    doors = {
        "__init__.py",
        "cli/main.py",
        "cli/options.py",
        "cli/judging.py",
        "cli/reproduce.py",
        "cli/tuning.py",
        "cli/using.py",
        "progress.py",
    }
    optional = {"scale/engine.py", "scale/backends.py", "scale/energy.py", "training/loggers.py", "training/search.py"}
    optional |= {"evaluation/feature_map.py", "evaluation/saliency.py"}
    allowed = doors | optional | {"project.py", "data/decode.py", "data/sources.py"}
    lazy = {
        name_of(path)
        for path in FILES
        for function in functions_of(path)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert lazy <= allowed


def test_the_public_names_are_those_that_are_listed_and_each_can_be_had() -> None:
    assert sorted(linnaeus.__all__) == linnaeus.__all__
    assert set(linnaeus.__all__) == set(linnaeus._HOME_OF)
    for name in linnaeus.__all__:
        value = getattr(linnaeus, name)
        assert callable(value), name
        assert value.__doc__, name
