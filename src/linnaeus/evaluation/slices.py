"""Where a classifier fails: accuracy on slices of the images, by what is known of each."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_bool_dtype, is_float_dtype, is_integer_dtype
from scipy.stats import fisher_exact

from linnaeus.evaluation.intervals import wilson_interval
from linnaeus.evaluation.paired import LEVEL, holm

Mask = NDArray[np.bool_]

MOST_VALUES = 20
FEWEST_IMAGES = 20
MISSING = "missing"
SLICE_COLUMNS = [
    "column",
    "slice",
    "images",
    "correct",
    "accuracy",
    "low",
    "high",
    "rest_accuracy",
    "difference",
    "p_value",
    "adjusted_p_value",
    "is_worse",
]


@dataclass(frozen=True)
class Slice:
    """A slice of the images: those of one value, or of one range of values, of a column."""

    column: str
    name: str
    mask: Mask


def slices(correct: Mask, columns: pd.DataFrame, *, fewest: int = FEWEST_IMAGES) -> pd.DataFrame:
    """A row a slice: its accuracy (0 to 1), and whether that is worse than the accuracy of all other images.

    `correct` (images,); `columns`: a row an image, cut as `slice_table` says. `low` to `high`: 95 % Wilson interval of
    the accuracy; `difference`: accuracy minus `rest_accuracy`; `p_value`: Fisher's exact test of the slice against the
    rest, Holm-corrected over all tests in `adjusted_p_value`; `is_worse`: adjusted below 0.05 and the difference
    negative. The worst come first. A slice of fewer than `fewest` images, or with fewer outside, is not tested: its
    p-values are NaN, and it comes last. Slices of the same images, or of exactly the others (yes and no), share one
    test. Each image counts as an independent one.
    """
    cut = [*_cut(slice_table(columns))]
    tests = {_question(part.mask): part.mask for part in cut if _is_testable(part.mask, fewest)}
    p_values = [_fisher(correct, mask) for mask in tests.values()]
    answers = dict(zip(tests, zip(p_values, holm(p_values), strict=True), strict=True))
    rows = [_row(correct, part, answers.get(_question(part.mask), (np.nan, np.nan))) for part in cut]
    table = pd.DataFrame(rows, columns=SLICE_COLUMNS).astype({"is_worse": bool})
    return (
        table.assign(is_tested=table["p_value"].notna())
        .sort_values(["is_tested", "is_worse", "difference"], ascending=[False, False, True], kind="stable")
        .drop(columns="is_tested")
        .reset_index(drop=True)
    )


def slice_table(columns: pd.DataFrame) -> pd.DataFrame:
    """The name of each image's slice (rows), by column; columns that `left_out` names are absent.

    Truth, text, categories and whole numbers of at most 20 distinct values have a slice a value; other numbers have
    quartiles, named by their least and greatest value ("0.12 to 0.34"), fewer where many values are equal. What has no
    value is in "missing".
    """
    skipped = {*left_out(columns)["column"]}
    return pd.DataFrame({name: _names(values) for name, values in columns.items() if name not in skipped})


def left_out(columns: pd.DataFrame) -> pd.DataFrame:
    """The columns that make no slices: `column` and `reason`, in their order."""
    reasons = {name: _reason(_plain(values)) for name, values in columns.items()}
    return pd.DataFrame(
        [(name, reason) for name, reason in reasons.items() if reason is not None], columns=["column", "reason"]
    )


def _plain(values: pd.Series) -> pd.Series:
    """Values as truth, numbers or text; whole numbers that a gap made floats are whole again."""
    plain = values.convert_dtypes()
    if is_bool_dtype(plain.dtype) and not isinstance(plain.dtype, pd.CategoricalDtype):
        return plain.map({True: "yes", False: "no"}, na_action="ignore")
    if is_float_dtype(plain.dtype) or is_integer_dtype(plain.dtype):
        return plain
    return plain.astype(object).map(str, na_action="ignore")


def _is_ranged(plain: pd.Series) -> bool:
    """Whether a column is cut into ranges: fractions, and many whole numbers; two values are always two slices."""
    distinct = plain.nunique()
    if is_integer_dtype(plain.dtype):
        return distinct > MOST_VALUES
    return is_float_dtype(plain.dtype) and distinct > 2


def _reason(plain: pd.Series) -> str | None:
    """Why a column makes no slices, None where it does."""
    if plain.isna().all():
        return "all missing"
    if plain.nunique(dropna=False) == 1:
        return "constant"
    if not _is_ranged(plain) and plain.nunique() > MOST_VALUES:
        return f"more than {MOST_VALUES} distinct texts"
    return None


def _names(values: pd.Series) -> pd.Series:
    plain = _plain(values)
    named = _ranges(plain) if _is_ranged(plain) else plain.map(_number, na_action="ignore")
    return named.astype(object).where(plain.notna(), MISSING)


def _ranges(plain: pd.Series) -> pd.Series:
    """The name of each value's quartile; the lowest whose upper bound the value does not pass."""
    present = plain.dropna()
    numbers = present.to_numpy(float)
    quartiles = np.quantile(numbers, [0.25, 0.5, 0.75], method="inverted_cdf")
    # Where the greatest value is common, a bound would be that value and leave nothing above it.
    bounds = np.unique(np.minimum(quartiles, numbers[numbers < numbers.max()].max()))
    ranges = present.groupby(np.searchsorted(bounds, numbers))
    ends = [*zip(ranges.min(), ranges.max(), strict=True)]
    for digits in range(3, 18):
        names = [_range_name(low, high, digits) for low, high in ends]
        if len({*names}) == len(names):
            break
    return pd.Series(np.array(names, dtype=object)[ranges.ngroup()], index=present.index).reindex(plain.index)


def _range_name(low: float, high: float, digits: int) -> str:
    if low == high:
        return _number(low, digits)
    return f"{_number(low, digits)} to {_number(high, digits)}"


def _number(value: float | str, digits: int = 3) -> str:
    """A fraction to so many significant digits, everything else as it is."""
    if isinstance(value, float):
        return np.format_float_positional(value, digits, fractional=False, trim="-")
    return str(value)


def _cut(names: pd.DataFrame) -> Iterator[Slice]:
    for column, of_images in names.items():
        for name in sorted(of_images.unique()):
            yield Slice(str(column), name, of_images.to_numpy() == name)


def _question(mask: Mask) -> bytes:
    """What a test of a slice asks: the same for a slice and for all other images."""
    return bytes(mask ^ mask[0])


def _is_testable(mask: Mask, fewest: int) -> bool:
    return fewest <= int(mask.sum()) <= len(mask) - fewest


def _fisher(correct: Mask, mask: Mask) -> float:
    counts = [[(correct & part).sum(), (~correct & part).sum()] for part in (mask, ~mask)]
    return float(fisher_exact(counts).pvalue)


def _row(correct: Mask, part: Slice, p_values: tuple[float, float]) -> dict[str, object]:
    right, images = int(correct[part.mask].sum()), int(part.mask.sum())
    rest = float(correct[~part.mask].mean())
    p_value, adjusted = p_values
    low, high = wilson_interval(right, images)
    return {
        "column": part.column,
        "slice": part.name,
        "images": images,
        "correct": right,
        "accuracy": right / images,
        "low": low,
        "high": high,
        "rest_accuracy": rest,
        "difference": right / images - rest,
        "p_value": p_value,
        "adjusted_p_value": adjusted,
        "is_worse": adjusted < LEVEL and right / images < rest,
    }
