"""Numbers as a reader wants them."""

import math
import re
from typing import Any

MISSING = "\u2013"  # an en dash
NARROW_SPACE = "\u202f"


def percent(share: float | None, decimals: int = 1) -> str:
    """A share between 0 and 1 in per cent.

    >>> percent(0.9286).replace(NARROW_SPACE, " ")
    '92.9 %'
    """
    return MISSING if share is None or math.isnan(share) else f"{100 * share:.{decimals}f}{NARROW_SPACE}%"


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun, such as "1 image" or "1,200 images"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def listing(names: list[str], most: int = 4) -> str:
    """Names in a sentence: "a", "a and b", "a, b and 7 more"."""
    shown = names if len(names) <= most else [*names[: most - 1], f"{len(names) - most + 1} more"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def duration(seconds: float | None) -> str:
    """A time span: "0.4 s", "12 s", "3 min 20 s" or "2 h 5 min"."""
    if seconds is None or math.isnan(seconds):
        return MISSING
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def number(value: float | None, decimals: int = 0) -> str:
    """A number with thousands separated, or a dash where it is missing."""
    return MISSING if value is None or math.isnan(value) else f"{value:,.{decimals}f}"


def slice_name(row: dict[Any, Any]) -> str:
    """A row of slices as "sharpness: 0.03 to 0.11"."""
    return f"{row['column'].replace('_', ' ')}: {row['slice']}"


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, in a table too."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~])", r"\\\1", text)
