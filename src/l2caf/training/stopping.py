"""Stop where nothing is lost: Ctrl-C and a scheduler's SIGTERM wait for the end of the step."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Turn signals into a question.

    Yields:
        Whether the process was asked to stop. Outside of the main thread, where signals cannot be caught, never.
    """
    asked = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        del number, frame
        if asked.is_set():  # asked twice: at once
            raise KeyboardInterrupt
        asked.set()

    with ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                stack.callback(signal.signal, number, signal.signal(number, note))
        yield asked.is_set
