"""Signals that ask a run to stop."""

import signal
import threading

import pytest

from l2caf.training.stopping import stop_requests


def test_a_first_signal_is_noted_and_a_second_one_stops_at_once() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), stop_requests() as should_stop:  # noqa: PT012
        assert not should_stop()
        signal.raise_signal(signal.SIGTERM)
        assert should_stop()
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) == before


def test_outside_of_the_main_thread_signals_are_left_alone() -> None:
    before, seen = signal.getsignal(signal.SIGTERM), []

    def body() -> None:
        with stop_requests() as should_stop:
            seen.extend([signal.getsignal(signal.SIGTERM), should_stop()])

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert seen == [before, False]
