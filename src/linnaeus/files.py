"""Files written whole or not at all, and the hashes by which a stage recognises its inputs."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it takes the name `path` only once the block has ended well.

    A killed process leaves the temporary file behind; the next one that writes `path` takes it over.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The ending stays, since pandas and matplotlib choose the format by it.
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        with _named(path):
            yield partial
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A fresh folder beside `path` that replaces `path` only once the block has ended well."""
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        with _named(path):
            yield partial
            shutil.rmtree(path, ignore_errors=True)
            partial.replace(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors that do not say which file they are about, such as of a full disk, say that it is `path`."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8."""
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """The value a JSON file holds."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table twice, as `path` with .parquet (for programs) and with .csv (for people)."""
    with whole(path.with_suffix(".csv")) as partial:
        table.to_csv(partial, index=False)
    with whole(path.with_suffix(".parquet")) as partial:
        table.to_parquet(partial, index=False)


def read_text_table(path: Path, *texts: str) -> pd.DataFrame:
    """A CSV table whose columns `texts` stay text even where they look like numbers, or like nothing."""
    numbers = {name: [""] for name in pd.read_csv(path, nrows=0).columns if name not in texts}
    return pd.read_csv(path, dtype=dict.fromkeys(texts, str), keep_default_na=False, na_values=numbers)


def write_with(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file that then takes the name `path`."""
    with whole(path) as partial:
        write(partial)


def fingerprint(value: Any) -> str:
    """SHA-256, in hex, of a JSON-like value in canonical form."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256, in hex, of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
