"""Who looked at the test part, and when: it is opened once, and every later look is counted."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from linnaeus.files import read_text_table, write_with

COLUMNS = ["time", "look", "model_id", "key", "splits"]


@dataclass(frozen=True)
class Looks:
    """Looks at the test part that the project has now.

    `table`: a row for each run that was judged on it: time (UTC, ISO 8601), look (a number: the runs of one command are
    one look), model_id, key (of what it was trained and judged on), splits (hash). `elsewhere`: looks at the test parts
    of other divisions of the images.
    """

    table: pd.DataFrame
    elsewhere: int = 0

    @property
    def is_open(self) -> bool:
        """Whether the test part was ever looked at."""
        return len(self.table) > 0

    @property
    def opened(self) -> str:
        """When it was opened, UTC, to the minute."""
        return str(self.table["time"].iloc[0])[:16].replace("T", " ")

    @property
    def first(self) -> tuple[str, ...]:
        """The runs with which it was opened."""
        return tuple(self.table.loc[self.table["look"] == self.table["look"].iloc[0], "model_id"])

    @property
    def later(self) -> int:
        """How often it was looked at after that."""
        return int(self.table["look"].nunique()) - 1 if self.is_open else 0

    @property
    def sentence(self) -> str:
        """What a reader should know of it."""
        others = f" Test parts of other divisions were looked at {_times(self.elsewhere)}." if self.elsewhere else ""
        if not self.is_open:
            return f"The test part has not been opened; when all is chosen: linnaeus evaluate PROJECT --final{others}"
        runs = f"{len(self.first)} run" + ("s" if len(self.first) > 1 else "")
        opened = f"The test part was opened on {self.opened} UTC for {runs}"
        since = f"and looked at {_times(self.later)} more since." if self.later else "and not looked at since."
        return f"{opened}, {since}{others}"


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def read_looks(path: Path, splits: str) -> Looks:
    """The looks that a project's file has at the test part of these splits (their hash)."""
    table = _read(path)
    is_now = table["splits"].eq(splits)
    return Looks(table[is_now].reset_index(drop=True), int(table.loc[~is_now, "look"].nunique()))


def add_looks(path: Path, time: str, keys: dict[str, str], *, splits: str, is_same_look: bool = False) -> None:
    """Write down that runs are judged on the test part; the same run on the same images is no further look.

    keys: of what each run was trained and is judged on, by model_id. is_same_look: they belong to the last look.
    """
    table = _read(path)
    look = int(table["look"].max()) + (not is_same_look) if len(table) else 1
    rows = [(time, look, name, key, splits) for name, key in keys.items() if key not in {*table["key"]}]
    if rows:
        added = pd.DataFrame(rows, columns=COLUMNS)
        whole = pd.concat([table, added], ignore_index=True) if len(table) else added
        write_with(path, lambda partial: whole.to_csv(partial, index=False))


def _read(path: Path) -> pd.DataFrame:
    return read_text_table(path, "model_id", "key", "splits") if path.is_file() else pd.DataFrame(columns=COLUMNS)
