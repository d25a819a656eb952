"""One door to run a function over many images on all of this machine's cores."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from linnaeus.progress import Advance

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

CHUNK = 64


def core_count() -> int:
    """The number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def map_images(
    function: Callable[[Item], Outcome], items: Sequence[Item], advance: Advance | None = None
) -> Iterator[Outcome]:
    """The outcomes of `function`, in the order of `items`, at most a few chunks ahead of the reader.

    Threads, not processes: decoding, resizing, hashing and encoding all release the interpreter lock, nothing
    has to be pickled, and a killed run leaves no orphans.
    """
    workers = core_count()
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(items), CHUNK * workers):
            chunk = items[start : start + CHUNK * workers]
            for outcome in pool.map(function, chunk):
                if advance is not None:
                    advance(1)
                yield outcome
