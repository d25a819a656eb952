"""One door to run a function over many images on all of this machine's cores."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import cv2

from linnaeus.progress import Advance

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

AHEAD = 64


def core_count() -> int:
    """The number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def map_images(
    function: Callable[[Item], Outcome], items: Sequence[Item], advance: Advance | None = None
) -> Iterator[Outcome]:
    """The outcomes of `function`, in the order of `items`, at most some dozens ahead of the reader.

    Threads, not processes: decoding, resizing, hashing and encoding all release the interpreter lock, nothing
    has to be pickled, and a killed run leaves no orphans.
    """
    workers = core_count()
    waiting: deque[Future[Outcome]] = deque()
    with _pool(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > AHEAD * workers:
                    yield _next(waiting, advance)
            while waiting:
                yield _next(waiting, advance)
        finally:  # a reader that stops early, by Ctrl-C for one, waits only for what has begun
            pool.shutdown(cancel_futures=True)


def map_at_once(function: Callable[[Item], Outcome], items: Sequence[Item]) -> list[Outcome]:
    """The outcomes of `function` for a few items, on threads that stay for the next call.

    Not to be called from within such a function, which would wait for its own thread.
    """
    if core_count() == 1 or len(items) < 2:
        return [function(item) for item in items]
    return [*_threads(os.getpid(), core_count()).map(function, items)]


@cache
def _threads(process: int, workers: int) -> ThreadPoolExecutor:
    """The threads of one process; one that is forked has none of its parent's."""
    return _pool(workers)


def _pool(workers: int) -> ThreadPoolExecutor:
    """Threads that keep all cores busy, so that OpenCV starts none of its own, which would wait by spinning."""
    return ThreadPoolExecutor(workers, "images", initializer=cv2.setNumThreads, initargs=(1,))


def _next(waiting: deque[Future[Outcome]], advance: Advance | None) -> Outcome:
    outcome = waiting.popleft().result()
    if advance is not None:
        advance(1)
    return outcome
