"""What every benchmark shares: interleaved timings, peak memory of a fresh process, and the machine's description."""

import ctypes
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import torch

CLEAR_PEAK: Final = "5"  # written to clear_refs: resets the process's peak of resident memory (Linux)


def interleaved(methods: Mapping[str, Callable[[], object]], repetitions: int) -> dict[str, list[float]]:
    """Seconds of every method, one repetition of each in turn, so that a slow minute falls on all alike.

    Args:
        methods: name and what to time; each is called once before, untimed.
        repetitions: timed calls per method.

    Returns:
        Seconds per call.
    """
    for method in methods.values():
        method()
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for turn in range(repetitions):
        order = list(methods) if turn % 2 else list(methods)[::-1]
        for name in order:
            _settle()
            start = time.perf_counter()
            methods[name]()
            _settle()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratios(seconds: Mapping[str, list[float]], base: str) -> dict[str, float]:
    """Median over repetitions of each method's time over the base's time in the same repetition."""
    return {
        name: statistics.median(a / b for a, b in zip(times, seconds[base], strict=True))
        for name, times in seconds.items()
    }


def _settle() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_of(function: Callable[[], object]) -> int:
    """Bytes by which the process's resident memory rises above its present size during a call (Linux)."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed must not serve the call unseen
    Path("/proc/self/clear_refs").write_text(CLEAR_PEAK, encoding="ascii")
    before = _status("VmRSS")
    function()
    return _status("VmHWM") - before


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def in_fresh_process(module: str, *arguments: str) -> Any:
    """What a module prints (JSON) when run as a script of its own."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603  (our own modules)
    return json.loads(done.stdout.splitlines()[-1])


def machine() -> dict[str, str | int]:
    """Where the figures come from: no host names, no paths."""
    cuda = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
    return {
        "processor": platform.machine(),
        "cores": os.cpu_count() or 0,
        "threads": torch.get_num_threads(),
        "gpu": cuda,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
