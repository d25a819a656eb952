"""Ctrl-C that lets a step be finished."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed, or the process was asked to end, since the block began; a second time interrupts.

    Outside the main thread signals do not arrive, and the answer is no. What the process ignores, as one started with
    nohup or in the background does, stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    asked = threading.Event()
    earlier = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    earlier = {number: handler for number, handler in earlier.items() if handler not in (signal.SIG_IGN, None)}

    def restore() -> None:
        for number, handler in earlier.items():
            signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        asked.set()
        restore()

    for number in earlier:
        signal.signal(number, note)
    try:
        yield asked.is_set
    finally:
        restore()
