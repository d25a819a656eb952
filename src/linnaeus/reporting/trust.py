"""How far the chosen model's answers can be trusted, in sentences for a reader."""

from collections.abc import Iterator

import pandas as pd

from linnaeus.evaluation.calibration import Calibration, error_by_chance, expected_calibration_error
from linnaeus.records import PART_NAMES
from linnaeus.reporting.facts import ReportFacts
from linnaeus.reporting.words import counted, listing, percent, slice_name


def how_far_to_trust(facts: ReportFacts) -> dict[str, list[str]]:
    """What to say of its probabilities, and of the kinds of images it does worse on."""
    return {"calibration": [*_calibration(facts)], "slices": [*_slices(facts)]}


def calibration_errors(reliability: pd.DataFrame) -> tuple[Calibration, Calibration]:
    """The expected calibration error before and after calibration."""
    before, after = (
        expected_calibration_error(reliability[reliability["is_calibrated"] == is_calibrated].reset_index(drop=True))
        for is_calibrated in (False, True)
    )
    return before, after


def chance_error(reliability: pd.DataFrame) -> float:
    """Up to which calibration error chance alone explains it, once calibrated."""
    return error_by_chance(reliability[reliability["is_calibrated"]].reset_index(drop=True))


def _calibration(facts: ReportFacts) -> Iterator[str]:
    part = PART_NAMES[facts.chosen.part]
    before, after = calibration_errors(facts.trust.reliability)
    yield (
        f"Its logits are divided by a temperature of {facts.trust.temperature:.3g}, which was fitted on validation"
        + (" (1 leaves them as they are, for want of mistakes to learn from)." if facts.trust.temperature == 1 else ".")
    )
    chance = chance_error(facts.trust.reliability)
    verdict = "more than" if after.ece > chance else "no more than"
    helped = "" if after.ece < before.ece else " Calibration did not help here."
    yield (
        f"On the {part} images its probabilities were off by {percent(before.ece)} on average before (expected "
        f"calibration error, equal-mass bins; debiased {percent(before.ece_debiased)}), and are by "
        f"{percent(after.ece)} ({percent(after.ece_debiased)}) now. That is {verdict} chance explains: of models whose "
        f"probabilities mean exactly what they say, 19 in 20 would be off by up to {percent(chance)} on these "
        f"images.{helped}"
    )


def _slices(facts: ReportFacts) -> Iterator[str]:
    tested = facts.trust.slices[facts.trust.slices["p_value"].notna()]
    worse = tested[tested["is_worse"]]
    if tested.empty:
        yield "There are too few images to tell: no kind of images has enough of them."
        return
    yield (
        f"{counted(len(tested), 'kind')} of images with enough {PART_NAMES[facts.chosen.part]} images to tell "
        f"{'was' if len(tested) == 1 else 'were'} held against all others (Fisher's exact test, corrected by Holm)."
    )
    for row in worse.to_dict("records"):
        yield (
            f"It is right less often on {slice_name(row)}: "
            f"{percent(row['accuracy'])} of {counted(row['images'], 'image')}, against {percent(row['rest_accuracy'])}."
        )
    if worse.empty:
        yield "On none of them is it right less often than chance explains; the lowest are shown."
    if len(facts.trust.unsliced):
        reasons = (
            f"{row['column'].replace('_', ' ')} ({row['reason']})" for row in facts.trust.unsliced.to_dict("records")
        )
        yield f"Nothing is told apart by {listing([*reasons], 99)}."
