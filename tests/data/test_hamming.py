import numpy as np
import pytest
from numpy.typing import NDArray

from linnaeus.data import hamming
from linnaeus.data.hamming import MOST_PARTNERS, ClosePairs, close_pairs

Hashes = NDArray[np.uint64]


def _random(count: int, seed: int = 0) -> Hashes:
    return np.random.default_rng(seed).integers(0, 2**64, count, dtype=np.uint64)


def _changed(hashes: Hashes, bits: int, seed: int = 1) -> Hashes:
    """The hashes with as many of their bits changed."""
    generator = np.random.default_rng(seed)
    places = np.argsort(generator.random((len(hashes), 64)), axis=1)[:, :bits].astype(np.uint64)
    changes: Hashes = np.bitwise_or.reduce(np.uint64(1) << places, axis=1, initial=0)
    return hashes ^ changes


def _triples(pairs: ClosePairs) -> list[tuple[int, int, int]]:
    return sorted(zip(pairs.first.tolist(), pairs.second.tolist(), pairs.distance.tolist(), strict=True))


def _by_brute_force(hashes: Hashes, radius: int) -> list[tuple[int, int, int]]:
    distances = np.bitwise_count(hashes[:, np.newaxis] ^ hashes)
    first, second = np.nonzero(np.triu(distances <= radius, 1))
    return [*zip(first.tolist(), second.tolist(), distances[first, second].tolist(), strict=True)]


@pytest.mark.parametrize("radius", range(13))
def test_every_close_pair_is_found_once_and_no_other(radius: int) -> None:
    hashes = _random(300)
    hashes = np.concatenate([hashes, *(_changed(hashes[:40], bits, seed=bits) for bits in range(14))])
    expected = _by_brute_force(hashes, radius)
    assert len(expected) >= 40 * (radius + 1)
    assert _triples(close_pairs(hashes, radius)) == expected


@pytest.mark.parametrize("bucket_bits", [-25, -10, -6, -3, 0, 5, 20])
def test_nothing_is_missed_however_finely_the_hashes_are_sorted(
    bucket_bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = _random(200)
    hashes = np.concatenate([hashes, *(_changed(hashes, bits, seed=bits) for bits in (3, 9, 10))])
    monkeypatch.setattr(hamming, "BUCKET_BITS", bucket_bits)
    assert _triples(close_pairs(hashes, 10)) == _by_brute_force(hashes, 10)


def test_only_the_queries_are_compared_with_all() -> None:
    hashes = _random(100)
    hashes = np.concatenate([hashes, _changed(hashes, 6), _changed(hashes, 8, seed=2)])
    expected = [triple for triple in _by_brute_force(hashes, 10) if triple[0] < 100]
    assert _triples(close_pairs(hashes, 10, queries=100)) == expected


def test_a_cluster_gives_a_bounded_number_of_pairs_and_hangs_together() -> None:
    cluster = np.concatenate([np.zeros(3000, np.uint64), _changed(np.zeros(3000, np.uint64), 2)])
    pairs = close_pairs(cluster, 10)
    assert len(pairs.first) <= MOST_PARTNERS * len(cluster)
    assert set(pairs.first.tolist()) | set(pairs.second.tolist()) == set(range(len(cluster)))


def test_a_cluster_hides_no_other_pair() -> None:
    apart = _random(50)
    hashes = np.concatenate([np.zeros(2000, np.uint64), apart, _changed(apart, 10)])
    found = {(first, second) for first, second, _ in _triples(close_pairs(hashes, 10))}
    assert {(2000 + place, 2050 + place) for place in range(50)} <= found


@pytest.mark.parametrize("count", [0, 1])
def test_one_hash_or_none_has_no_pairs(count: int) -> None:
    assert _triples(close_pairs(_random(count), 10)) == []
