"""Which of many 64-bit hashes differ in a few bits only, found without comparing all with all.

Two hashes within a radius agree somewhere. Halved, they differ in at most half of the radius in the first half, or in
less than that in the second. A half of `radius + kept` blocks then has `kept` blocks in which they agree altogether. So
for each choice of that many blocks the hashes are sorted by those, and compared only within their bucket. Nothing
within the radius is missed (pigeonhole principle, as in Norouzi, Punjani and Fleet 2012, "Fast search in Hamming space
with multi-index hashing").
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from math import comb, log2

import numpy as np
from numpy.typing import NDArray

from linnaeus.progress import Progress, silent

BITS = 64
MOST_PARTNERS = 64  # of one hash; a cluster of n alike would otherwise be n * n pairs
MOST_ROUNDS = 500  # of sorting for one half
BUCKET_BITS = 6  # buckets of about 2 to this power hashes cost as much to compare as to sort; measured
PORTION = 1 << 16  # hashes that are compared at a time, so that they stay in the cache

# Odd, from the golden ratio: its products spread the chosen bits over the upper half of a word (Knuth, TAOCP 6.4).
SPREAD = np.uint64(0x9E3779B97F4A7C15)
UPPER, HALF_WORD = np.uint64(0xFFFFFFFF00000000), np.uint64(32)


Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]


@dataclass(frozen=True)
class ClosePairs:
    """Pairs of hashes, by their places, and in how many bits they differ; a row a pair."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    distance: NDArray[np.uint8]


@dataclass(frozen=True)
class _Half:
    """Half of the bits in blocks, of which two hashes that are close there agree in at least `kept`."""

    blocks: tuple[int, ...]
    kept: int


@dataclass(frozen=True)
class _Round:
    """One choice of blocks, and which pairs an earlier round has found: those that agree in a block of `passed`, or
    that are close in the `earlier` half."""

    mask: int
    passed: tuple[int, ...]
    earlier: _Half | None


def close_pairs(
    hashes: NDArray[np.uint64], radius: int, queries: int | None = None, progress: Progress = silent
) -> ClosePairs:
    """Each pair of hashes that differ in at most `radius` bits, once, with first < second.

    queries: only pairs whose first is among this many at the beginning are looked for; all where it is None.
    A hash that stands first in MOST_PARTNERS pairs may lack others, and none stands first in more, so that there are
    never more than that many pairs a hash; every other hash's pairs are complete. There may be up to 2^32 hashes. Time
    grows as about their number to the power 1.5, on one core; memory in proportion, some 80 bytes a hash.
    """
    partners = np.zeros(len(hashes) if queries is None else queries, np.int64)
    found: list[Pairs] = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.uint8))]
    rounds = [*_rounds(len(hashes), radius)] if len(hashes) > 1 else []
    with progress("Comparing perceptual hashes", len(rounds)) as advance:
        for choice in rounds:
            found += _close_in_buckets(hashes, radius, choice, partners)
            advance(1)
    first, second, distance = (np.concatenate(column) for column in zip(*found, strict=True))
    return ClosePairs(np.minimum(first, second), np.maximum(first, second), distance)


def _rounds(count: int, radius: int) -> Iterator[_Round]:
    # Bits far apart in the hash are less alike, so both the halves and the blocks take every so manieth.
    earlier = None
    for start, allowed in enumerate((radius // 2, radius - radius // 2 - 1)):
        if allowed < 0:
            continue
        kept = _blocks_to_keep(BITS // 2, allowed, log2(count) - BUCKET_BITS)
        size = allowed + kept
        half = _Half(tuple(_mask(range(start + 2 * block, BITS, 2 * size)) for block in range(size)), kept)
        for chosen in combinations(range(size), kept):
            passed = tuple(half.blocks[block] for block in range(chosen[-1]) if block not in chosen)
            yield _Round(sum(half.blocks[block] for block in chosen), passed, earlier)
        earlier = half


def _blocks_to_keep(bits: int, allowed: int, wanted_bits: float) -> int:
    """How many blocks must agree for a bucket to be known by about `wanted_bits` bits."""
    kept = 1
    while bits * kept / (allowed + kept) < min(wanted_bits, bits) and kept + allowed < bits:
        if comb(allowed + kept + 1, kept + 1) > MOST_ROUNDS:
            break
        kept += 1
    return kept


def _mask(bits: range) -> int:
    return sum(1 << bit for bit in bits)


def _close_in_buckets(
    hashes: NDArray[np.uint64], radius: int, choice: _Round, partners: NDArray[np.int64]
) -> Iterator[Pairs]:
    """The close pairs of one round that no earlier round has found; `partners` counts them by their first hash."""
    # A word holds its bucket above and its place below, so that a plain sort, the fastest, orders both.
    words = ((hashes & np.uint64(choice.mask)) * SPREAD) & UPPER
    words |= np.arange(len(hashes), dtype=np.uint64)
    words.sort()
    place = (words & ~UPPER).astype(np.int64)
    values = hashes[place]
    is_last = np.append(words[1:] >> HALF_WORD != words[:-1] >> HALF_WORD, True)
    lasts = np.flatnonzero(is_last)
    later = np.repeat(lasts, np.diff(lasts, prepend=-1)) - np.arange(len(hashes))  # members of the bucket still to come
    starts = np.flatnonzero((later > 0) & (place < len(partners)))
    starts = starts[partners[place[starts]] < MOST_PARTNERS]
    for begin in range(0, len(starts), PORTION):
        left, step = starts[begin : begin + PORTION], 1
        while len(left):
            differing = values[left] ^ values[left + step]
            distance = np.bitwise_count(differing)
            near = np.flatnonzero(distance <= radius)
            if len(near):
                near = near[_is_new(differing[near], choice)]
                first = place[left[near]]
                yield first, place[left[near] + step], distance[near]
                partners[first] += 1  # each stands once among the left ones of one step
                left = left[partners[place[left]] < MOST_PARTNERS]
            step += 1
            left = left[later[left] >= step]


def _is_new(differing: NDArray[np.uint64], choice: _Round) -> NDArray[np.bool_]:
    is_new = np.ones(len(differing), np.bool_)
    for block in choice.passed:
        is_new &= differing & np.uint64(block) != 0
    if choice.earlier is not None:
        agreeing = sum(differing & np.uint64(block) == 0 for block in choice.earlier.blocks)
        is_new &= agreeing < choice.earlier.kept
    return is_new
