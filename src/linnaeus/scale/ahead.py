"""One thread that makes items before they are asked for."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


def ahead(items: Iterable[Item], most: int = 2) -> Iterator[Item]:
    """The items in their order, at most `most` of them made before the reader asks.

    An error of theirs comes out in the reader, after the items before it. A reader that stops early waits only for the
    item that is being made.
    """
    iterator = iter(items)
    with ThreadPoolExecutor(1, "ahead") as thread:
        waiting = deque(thread.submit(list, islice(iterator, 1)) for _ in range(most + 1))
        try:
            while made := waiting.popleft().result():
                yield made[0]
                waiting.append(thread.submit(list, islice(iterator, 1)))
        finally:
            thread.shutdown(cancel_futures=True)
