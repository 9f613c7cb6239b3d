"""What every benchmark shares: interleaved timings, peak memory, and the machine's description."""

import itertools
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping

import torch


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
    """Bytes of tensors that torch holds at most during a call, beyond what it held before.

    Counted from the profiler's record of allocations, so it is the same in every run. The resident memory of a process
    is not: allocators keep what was freed, and the kernel drops and reloads pages of libraries.

    Args:
        function: what to measure, called once before and once while recording.

    Returns:
        The peak.
    """
    function()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        function()
    results = profile.profiler.kineto_results.events()
    sizes = [(event.start_ns(), event.nbytes()) for event in results if event.name() == "[memory]"]
    return max(itertools.accumulate((size for _, size in sorted(sizes)), initial=0))


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
