"""How the models compare, in sentences for a reader."""

from dataclasses import dataclass

from linnaeus.evaluation.paired import Pair, sentence
from linnaeus.records import PART_NAMES
from linnaeus.reporting.facts import ReportFacts
from linnaeus.reporting.words import counted

MOST_PAIRS = 40


@dataclass(frozen=True)
class Compared:
    """What is to say before the pairs; the pairs with the chosen model, and as many of the others as fit; how many do
    not; and what runs stand behind a row of the leaderboard that stands for several."""

    opening: tuple[str, ...]
    with_chosen: tuple[str, ...]
    others: tuple[str, ...]
    more: int
    seeds: tuple[str, ...]


def compared(facts: ReportFacts) -> Compared:
    """The comparison of the models two by two."""
    found, chosen = facts.comparison, facts.chosen.model_id
    first = [pair for pair in found.pairs.pairs if chosen in {pair.first, pair.second}]
    others = [pair for pair in found.pairs.pairs if chosen not in {pair.first, pair.second}]
    return Compared(
        opening=tuple(_opening(facts)),
        with_chosen=tuple(map(_capitalised, first)),
        others=tuple(map(_capitalised, others[:MOST_PAIRS])),
        more=max(len(others) - MOST_PAIRS, 0),
        seeds=tuple(
            f"{name} stands for {counted(len(runs), 'run')} that differ in their seed ({', '.join(runs)}): their mean."
            for name, runs in found.seeds.items()
            if len(runs) > 1
        ),
    )


def _opening(facts: ReportFacts) -> list[str]:
    found = facts.comparison
    if not found.pairs.pairs:
        return []
    pair = found.pairs.pairs[0]
    lines = [
        f"All models were asked about the same {counted(pair.images, f'{PART_NAMES[found.part]} image')}, "
        + ("each on its own" if pair.groups == pair.images else f"in {pair.groups:,} groups that tell one thing each")
        + ", so they are compared image by image: the exact McNemar test, by groups; the interval of the difference by "
        "Agresti and Min; p-values of several pairs corrected by Holm."
    ]
    if found.pairs.q is not None and found.pairs.q_p_value is not None:
        is_told = found.pairs.q_p_value < 0.05
        verdict = "not all are equally often right" if is_told else "they may all be equally often right"
        lines.append(f"All together: Cochran's Q is {found.pairs.q:.1f}, p = {found.pairs.q_p_value:.2g}: {verdict}.")
    if found.part == "val":
        lines.append("Since validation also chose the models, the best of them looks a little better than it is.")
    return lines


def _capitalised(pair: Pair) -> str:
    said = sentence(pair)
    return f"{said[0].upper() + said[1:] if said.startswith('these') else said}."
