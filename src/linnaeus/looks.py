"""Who looked at the test part, and when: it is opened once, and every later look is counted."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from linnaeus.files import read_text_table, write_with

COLUMNS = ["time", "look", "model_id", "key"]


@dataclass(frozen=True)
class Looks:
    """`table`: a row for each run that was judged on the test part: time (UTC, ISO 8601), look (from 1: the runs of one
    command are one look), model_id, key (of what it was trained and judged on)."""

    table: pd.DataFrame

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
        return tuple(self.table.loc[self.table["look"] == 1, "model_id"])

    @property
    def later(self) -> int:
        """How often it was looked at after that."""
        return int(self.table["look"].nunique()) - 1 if self.is_open else 0

    @property
    def next(self) -> int:
        """The number of the next look."""
        return 1 + (int(self.table["look"].max()) if self.is_open else 0)

    @property
    def sentence(self) -> str:
        """What a reader should know of it."""
        if not self.is_open:
            return "The test part has not been opened yet; when all is chosen: linnaeus evaluate PROJECT --final"
        runs = f"{len(self.first)} run" + ("s" if len(self.first) > 1 else "")
        opened = f"The test part was opened on {self.opened} UTC for {runs}"
        again = "once" if self.later == 1 else f"{self.later} times"
        return opened + (f", and looked at {again} more since." if self.later else ", and not looked at since.")


def read_looks(path: Path) -> Looks:
    """The looks that a project's file has; none where there is no file."""
    if not path.is_file():
        return Looks(pd.DataFrame(columns=COLUMNS))
    return Looks(read_text_table(path, "model_id", "key"))


def add_looks(path: Path, time: str, look: int, keys: dict[str, str]) -> None:
    """Write down that runs are judged on the test part; the same run on the same images is no further look.

    keys: of what each run was trained and is judged on, by model_id.
    """
    table = read_looks(path).table
    rows = [(time, look, name, key) for name, key in keys.items() if key not in {*table["key"]}]
    if rows:
        added = pd.DataFrame(rows, columns=COLUMNS)
        whole = pd.concat([table, added], ignore_index=True) if len(table) else added
        write_with(path, lambda partial: whole.to_csv(partial, index=False))
