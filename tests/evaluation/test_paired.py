from itertools import product
from math import sqrt

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from statsmodels.stats import contingency_tables
from statsmodels.stats.multitest import multipletests

from linnaeus.evaluation import paired
from linnaeus.evaluation.paired import (
    Lead,
    Pair,
    cochrans_q,
    compare_pairs,
    difference_interval,
    images_needed,
    lead_of,
    sentence,
    sign_flip_p_value,
)

Z = float(norm.ppf(0.975))
CELLS = [(0, 0, 5), (0, 4, 10), (7, 3, 40), (3, 7, 10), (60, 90, 2618), (5, 5, 10)]


@pytest.fixture(autouse=True)
def _uncollected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Statsmodels collects garbage whenever it corrects p-values, which takes longer than all the rest."""
    monkeypatch.setattr("gc.collect", lambda: 0)


def _table(first_only: int, second_only: int, images: int) -> pd.DataFrame:
    """Right answers of two models, both wrong on all other images."""
    first = np.arange(images) < first_only
    second = np.arange(images) >= images - second_only
    return pd.DataFrame({"first": first, "second": second}).astype(int)


def _pair(first_only: int, second_only: int, images: int) -> Pair:
    (pair,) = compare_pairs(_table(first_only, second_only, images)).pairs
    return pair


def _random(models: int, images: int, seed: int = 0) -> pd.DataFrame:
    drawn = np.random.default_rng(seed).random((images, models)) < np.linspace(0.6, 0.9, models)
    return pd.DataFrame(drawn, columns=[*"abcdefg"[:models]]).astype(int)


@pytest.mark.parametrize(("first_only", "second_only", "images"), CELLS)
def test_the_interval_of_single_images_is_agresti_and_min_s(first_only: int, second_only: int, images: int) -> None:
    pair = _pair(first_only, second_only, images)
    b, c, n = first_only + 0.5, second_only + 0.5, images + 2
    half = Z * sqrt((b + c) - (c - b) ** 2 / n) / n
    assert (pair.low, pair.high) == pytest.approx(((c - b) / n - half, (c - b) / n + half), abs=1e-12)


def test_the_interval_ends_at_all_images() -> None:
    assert _pair(0, 2, 2).high == 1
    assert _pair(2, 0, 2).low == -1


def test_models_that_never_differ_have_an_interval_that_more_images_narrow() -> None:
    few, many = _pair(0, 0, 10), _pair(0, 0, 1000)
    assert few.low < many.low < 0 < many.high < few.high
    assert (few.difference, few.p_value, few.needed, few.is_told) == (0, 1, None, False)


@pytest.mark.parametrize("copies", [1, 4])
def test_the_interval_holds_the_true_difference_in_95_of_100_draws_with_copies_or_without(copies: int) -> None:
    random, groups, draws = np.random.default_rng(5), 60, 800
    held = 0
    for _ in range(draws):
        right = random.random((groups, 2)) < (0.7, 0.8)
        correct = pd.DataFrame(np.repeat(right, copies, axis=0)).astype(int)
        low, high = difference_interval(lead_of(correct, np.repeat(np.arange(groups), copies)))
        held += low <= 0.1 <= high
    assert 0.93 <= held / draws <= 0.975


def test_copies_of_images_are_no_more_evidence_than_the_images() -> None:
    correct = _random(2, 80)
    once = compare_pairs(correct).pairs[0]
    copied = pd.concat([correct] * 3, ignore_index=True)
    grouped = compare_pairs(copied, np.tile(np.arange(80), 3)).pairs[0]
    assert grouped.p_value == pytest.approx(once.p_value, abs=1e-12)
    assert grouped.difference == pytest.approx(once.difference, abs=1e-12)
    assert (grouped.images, grouped.groups) == (240, 80)
    assert grouped.high - grouped.low == pytest.approx(once.high - once.low, rel=0.05)
    ungrouped = compare_pairs(copied).pairs[0]
    assert ungrouped.p_value < once.p_value


@pytest.mark.parametrize(("first_only", "second_only", "images"), [*CELLS, (0, 1, 1), (1200, 1350, 9000)])
def test_the_p_value_of_single_images_is_mcnemar_s_exact_one(first_only: int, second_only: int, images: int) -> None:
    expected = contingency_tables.mcnemar([[0, second_only], [first_only, 0]], exact=True).pvalue
    assert _pair(first_only, second_only, images).p_value == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_the_p_value_of_groups_counts_all_flips(seed: int) -> None:
    sums = np.random.default_rng(seed).integers(-3, 6, 11)
    flips = np.array([*product((-1, 1), repeat=len(sums))]) @ sums
    assert sign_flip_p_value(sums) == pytest.approx(np.mean(np.abs(flips) >= abs(sums.sum())), abs=1e-12)


def test_one_group_proves_nothing() -> None:
    pair = compare_pairs(_table(0, 9, 9), np.zeros(9, int)).pairs[0]
    assert pair.p_value == 1
    assert not pair.is_told


def test_many_groups_by_fft_are_as_by_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    sums = np.random.default_rng(1).integers(-5, 6, 800)
    direct = sign_flip_p_value(sums)
    monkeypatch.setattr(paired, "LONGEST_DIRECT", 0)
    assert 0.01 < direct < 1
    assert sign_flip_p_value(sums) == pytest.approx(direct, abs=1e-12)


def test_a_tiny_p_value_keeps_its_digits() -> None:
    assert sign_flip_p_value(np.ones(400, int)) == pytest.approx(2 * 0.5**400, rel=1e-9)


def test_a_column_may_be_the_mean_of_seeds_in_32_bits_too() -> None:
    first, second = np.array([0, 1, 1, 2, 3, 3]) / 3, np.array([1, 1, 2, 2, 2, 2]) / 2
    exact = compare_pairs(pd.DataFrame({"a": first, "b": second})).pairs[0]
    rough = compare_pairs(pd.DataFrame({"a": first, "b": second}, dtype=np.float32)).pairs[0]
    assert rough == exact
    # In sixths the leads are 3, 1, 4, 2, 0, 0.
    assert (exact.first_only, exact.second_only) == pytest.approx((0, 10 / 6))
    assert exact.difference == pytest.approx(10 / 36)
    assert exact.p_value == pytest.approx(2 / 16, abs=1e-12)


@pytest.mark.parametrize("share", [np.nan, -0.5, 1.5, 1 / np.pi])
def test_what_is_no_share_of_seeds_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share of right answers"):
        compare_pairs(pd.DataFrame({"a": [0, 1], "b": [share, 1]}))


def test_q_of_single_images_is_statsmodels() -> None:
    correct = _random(4, 60)
    expected = contingency_tables.cochrans_q(correct.to_numpy())
    found = compare_pairs(correct)
    assert found.q == pytest.approx(expected.statistic, abs=1e-9)
    assert found.q_p_value == pytest.approx(expected.pvalue, abs=1e-9)


def test_q_of_copies_is_that_of_the_images() -> None:
    correct = _random(3, 50)
    copied = pd.concat([correct] * 2, ignore_index=True)
    assert cochrans_q(copied, np.tile(np.arange(50), 2)) == pytest.approx(cochrans_q(correct, np.arange(50)))


def test_q_is_0_where_all_agree_and_none_for_two() -> None:
    right = np.array([0, 1, 1, 1 / 3])
    found = compare_pairs(pd.DataFrame(dict.fromkeys("abc", right)))
    assert (found.q, found.q_p_value) == (0, 1)
    assert compare_pairs(_table(1, 2, 5)).q is None


def test_p_values_are_holm_corrected_for_three_models_and_as_they_are_for_two() -> None:
    found = compare_pairs(_random(3, 120)).pairs
    raw = [pair.p_value for pair in found]
    assert [(pair.first, pair.second) for pair in found] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [pair.adjusted_p_value for pair in found] == pytest.approx(multipletests(raw, method="holm")[1])
    assert raw != [pair.adjusted_p_value for pair in found]
    assert _pair(3, 9, 40).adjusted_p_value == _pair(3, 9, 40).p_value


def test_needed_is_connor_s_example() -> None:
    """Connor 1987, page 209: 0.45 and 0.05 of the pairs differ; 23 pairs at 5 % and 80 %."""
    assert images_needed(lead_of(_table(1, 9, 20), np.arange(20))) == 23


def test_as_many_images_as_needed_are_told_apart_in_about_80_of_100_draws() -> None:
    needed = images_needed(lead_of(_table(10, 20, 100), np.arange(100)))
    assert needed is not None
    random = np.random.default_rng(3)
    drawn = random.multinomial(needed, [0.1, 0.2, 0.7], size=400)
    told = [sign_flip_p_value(np.repeat([-1, 1], [first, second])) < 0.05 for first, second, _ in drawn]
    assert 0.73 <= np.mean(told) <= 0.86  # the exact test is a little weaker than the formula's


def test_copies_need_as_many_times_the_images() -> None:
    single = lead_of(_table(10, 14, 100), np.arange(100))
    tripled = Lead(np.repeat(single.of_images, 3), single.of_groups * 3, single.sizes * 3, 1)
    once, copied = images_needed(single), images_needed(tripled)
    assert once is not None
    assert copied == pytest.approx(3 * once, abs=3)


def test_needed_is_more_than_there_are_wherever_there_is_a_difference_that_is_not_told() -> None:
    for first, second, others in product(range(4), range(12), range(0, 40, 13)):
        pair = _pair(first, second, max(first + second + others, 1))
        assert (pair.needed is None) == (pair.is_told or first == second)
        assert pair.needed is None or pair.needed > pair.images


def test_more_pairs_need_more_images() -> None:
    correct = _table(3, 5, 60)
    correct["third"] = correct["second"]
    alone, among = _pair(3, 5, 60).needed, compare_pairs(correct).pairs[1].needed
    assert alone is not None
    assert among is not None
    assert among > alone


@pytest.mark.parametrize(("first_only", "second_only"), [(10, 44), (44, 10)])
def test_a_sentence_names_the_better_one_first(first_only: int, second_only: int) -> None:
    better, worse = ("second", "first") if second_only > first_only else ("first", "second")
    assert sentence(_pair(first_only, second_only, 2618)) == (
        f"{better} is better than {worse}: +1.3 points (95 % interval 0.7 to 1.9)"
    )


def test_a_sentence_says_how_many_images_it_would_take() -> None:
    assert sentence(_pair(30, 35, 2618)) == (
        "these 2,618 pictures cannot tell second from first (difference +0.2 points, 95 % interval -0.4 to 0.8); "
        "about 53,000 would be needed"
    )


def test_a_sentence_says_that_two_are_equally_often_right() -> None:
    assert sentence(_pair(4, 4, 100)) == (
        "these 100 pictures cannot tell second from first (difference 0.0 points, 95 % interval -5.8 to 5.8); "
        "they are right equally often"
    )


def test_a_sentence_does_not_call_a_small_difference_zero() -> None:
    assert "difference +0.04 points" in sentence(_pair(30, 31, 2618))


def test_the_table_has_a_row_a_pair_and_whole_numbers_needed() -> None:
    found = compare_pairs(pd.DataFrame({"a": [1, 1, 0, 0], "b": [0, 1, 0, 0], "c": [0, 1, 0, 0]}))
    table = found.table
    assert [*table.columns] == [*Pair.__dataclass_fields__, "is_told"]
    assert [*table["first"] + table["second"]] == ["ab", "ac", "bc"]
    assert table["needed"].isna().tolist() == [False, False, True]
    assert table.to_csv().splitlines()[1].split(",")[12] == str(found.pairs[0].needed)


def test_one_model_makes_no_pairs_and_an_empty_table() -> None:
    found = compare_pairs(pd.DataFrame({"a": [0, 1]}))
    assert (found.q, found.pairs, len(found.table)) == (None, (), 0)
