import threading
from collections.abc import Iterator

import pytest

from linnaeus.scale.ahead import ahead


def test_items_come_in_their_order() -> None:
    assert [*ahead(range(10))] == [*range(10)]
    assert [*ahead([])] == []


def test_items_that_are_false_end_nothing() -> None:
    assert [*ahead([0, None, [], 1])] == [0, None, [], 1]


def test_the_next_items_are_made_before_they_are_asked_for_and_no_more_than_that() -> None:
    made: list[int] = []
    third_is_made = threading.Event()

    def items() -> Iterator[int]:
        for number in range(10):
            made.append(number)
            if number == 2:
                third_is_made.set()
            yield number

    reader = ahead(items(), most=2)
    assert next(reader) == 0
    assert third_is_made.wait(10)
    reader.close()  # type: ignore[attr-defined]
    assert made == [0, 1, 2]


def test_an_error_comes_out_in_the_reader_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("the third is broken")

    reader = ahead(items(), most=5)
    assert [next(reader), next(reader)] == [1, 2]
    with pytest.raises(ValueError, match="the third is broken"):
        next(reader)


@pytest.mark.parametrize("read", [1, 3])
def test_a_reader_that_stops_early_leaves_no_thread(read: int) -> None:
    before = {*threading.enumerate()}
    reader = ahead(iter(int, 1))
    for _ in range(read):
        next(reader)
    assert {*threading.enumerate()} > before
    reader.close()  # type: ignore[attr-defined]
    assert {*threading.enumerate()} == before


def test_no_thread_is_left_after_an_error() -> None:
    before = {*threading.enumerate()}
    with pytest.raises(ZeroDivisionError):
        [*ahead(1 // number for number in (1, 0, 1))]
    assert {*threading.enumerate()} == before
