"""How a long job says how far it is: it calls a function with how much is done and how much there is.

A job takes one `Report` and knows nothing of terminals. What does several jobs in turn takes `Reports`, which gives a
report for each of them by name.
"""

from collections.abc import Callable

Report = Callable[[int, int], None]
Reports = Callable[[str], Report]


def silent(done: int, total: int) -> None:
    """Report nothing."""
    del done, total


def all_silent(what: str) -> Report:
    """Report nothing, whatever the job is called."""
    del what
    return silent
