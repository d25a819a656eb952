import os
import signal
import threading
from collections.abc import Iterator

import pytest

from linnaeus.training.interruption import interruptible


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Ctrl-C interrupts, also where the tests run in the background, where it would be ignored."""
    earlier = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, earlier[0])
    signal.signal(signal.SIGTERM, earlier[1])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_first_signal_is_noted_and_does_not_interrupt(number: signal.Signals) -> None:
    with interruptible() as is_asked_to_stop:
        assert not is_asked_to_stop()
        signal.raise_signal(number)
        assert is_asked_to_stop()


def test_a_second_ctrl_c_interrupts() -> None:
    with interruptible() as is_asked_to_stop:
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert is_asked_to_stop()


def test_after_the_block_signals_do_what_they_did_before() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with interruptible():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_an_error_in_the_block_gives_the_handlers_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="wrong"), interruptible():
        raise ValueError("wrong")
    assert signal.getsignal(signal.SIGINT) == before


def test_what_the_process_ignores_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interruptible() as is_asked_to_stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        assert not is_asked_to_stop()


def test_in_another_thread_nothing_is_taken_over() -> None:
    answers: list[bool] = []
    before = signal.getsignal(signal.SIGINT)

    def work() -> None:
        with interruptible() as is_asked_to_stop:
            assert signal.getsignal(signal.SIGINT) == before
            answers.append(is_asked_to_stop())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert answers == [False]
