"""Runs that are killed, for tests: imports once, then forks a child for every line on stdin.

A line is the seconds after which the child is killed with SIGKILL; the answer says whether it was, or `done`.
"""

import os
import signal
import sys
import time
from pathlib import Path

from l2caf.jobs.run import Local, RunOptions, open_source, run
from l2caf.models import load


def main() -> None:
    pictures, folder, workers = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    loaded = load("embedded/digits")
    options = RunOptions(targets="top2", batch_size=4, shard_size=8)
    answer("ready")
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            run(open_source(pictures), loaded, folder, options, engine=Local(workers, threads=1))
            os._exit(0)
        answer("killed" if was_killed(child, float(line)) else "done")


def answer(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def was_killed(child: int, after_s: float) -> bool:
    end = time.monotonic() + after_s
    while time.monotonic() < end:
        if os.waitpid(child, os.WNOHANG)[0]:
            return False
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    main()
