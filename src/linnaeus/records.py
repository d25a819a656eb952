"""Frozen facts that cross files."""

from dataclasses import dataclass
from typing import Literal

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")
PART_NAMES: dict[Part, str] = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class Preprocessing:
    """What a model expects of its input: a square side in pixels, and a mean and a standard deviation
    per RGB channel, in units of the 0 to 1 scale."""

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class Exclusion:
    """One thing in the image folder that is not used, and why. `reason` is what exclusions are counted by."""

    relpath: str
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Scores:
    """Shares between 0 and 1 on one part; precision, recall and F1 are weighted by class size."""

    accuracy: float
    precision: float
    recall: float
    f1_score: float


@dataclass(frozen=True)
class StageCost:
    """What one stage took when it was last done: wall seconds, and the process's peak memory until then in MiB."""

    stage: str
    seconds: float
    peak_memory_mib: float
