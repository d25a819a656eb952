import threading
import time

import pytest

from linnaeus.scale import cores
from linnaeus.scale.cores import core_count, map_at_once, map_images


def test_there_is_at_least_one_core() -> None:
    assert core_count() >= 1


@pytest.mark.parametrize("count", [0, 1, 500])
def test_outcomes_come_in_the_order_of_the_items(count: int) -> None:
    def slow_first(number: int) -> int:
        time.sleep(0.001 * (number % 3 == 0))
        return number * number

    assert [*map_images(slow_first, range(count))] == [number * number for number in range(count)]


def test_every_item_advances_the_bar_by_one() -> None:
    steps: list[int] = []
    assert len([*map_images(str, range(200), steps.append)]) == 200
    assert steps == [1] * 200


def test_an_error_reaches_the_reader() -> None:
    def fail(number: int) -> int:
        raise KeyError(number)

    with pytest.raises(KeyError):
        [*map_images(fail, [1])]


def test_the_work_runs_only_a_little_ahead_of_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "AHEAD", 4)
    done: list[int] = []
    outcomes = map_images(done.append, range(1000))
    next(outcomes)
    time.sleep(0.05)
    assert len(done) <= 4 * core_count() + 1
    outcomes.close()  # type: ignore[attr-defined]


def test_a_reader_that_stops_early_cancels_what_has_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "core_count", lambda: 1)
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        time.sleep(0.01)

    outcomes = map_images(work, range(64))
    next(outcomes)
    outcomes.close()  # type: ignore[attr-defined]
    assert len(begun) < 64


def test_all_cores_work_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "core_count", lambda: 2)
    both_there = threading.Barrier(2, timeout=10)
    assert [*map_images(lambda _: both_there.wait() >= 0, range(4))] == [True] * 4


@pytest.mark.parametrize("cores_at_hand", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 50])
def test_a_few_items_come_in_their_order(monkeypatch: pytest.MonkeyPatch, cores_at_hand: int, count: int) -> None:
    monkeypatch.setattr(cores, "core_count", lambda: cores_at_hand)
    assert map_at_once(str, range(count)) == [str(number) for number in range(count)]


def test_a_few_items_are_worked_on_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "core_count", lambda: 2)
    both = threading.Barrier(2)
    assert sorted(map_at_once(lambda _: both.wait(timeout=10), [1, 2])) == [0, 1]


def test_an_error_of_one_of_a_few_items_reaches_the_caller_and_the_next_call_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cores, "core_count", lambda: 2)
    with pytest.raises(ZeroDivisionError):
        map_at_once(lambda number: 1 / number, [1, 0, 2])
    assert map_at_once(abs, [-1, -2]) == [1, 2]
