"""Stop where nothing is lost: Ctrl-C and a scheduler's SIGTERM take effect at the end of the step."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Catch the signals that ask the process to stop, as long as the body runs; a second signal stops it at once.

    Yields:
        A function that returns whether the process was asked to stop. Outside of the main thread signals cannot be
        caught, and the function always returns False.
    """
    asked = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        del number, frame
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    with ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                stack.callback(signal.signal, number, signal.signal(number, note))
        yield asked.is_set
