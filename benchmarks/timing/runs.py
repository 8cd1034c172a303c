"""One run from its start to its end, timed, and many of them shown: for the benchmarks of runs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

from runner.lifecycle.runs.run import Run, RunSpec


async def taken(spec: RunSpec) -> float:
    """Return the milliseconds of a run; raises RuntimeError where it does not end well."""
    begun = time.perf_counter()
    run = await Run.start(spec)
    ended = await run.wait()
    milliseconds = (time.perf_counter() - begun) * 1000
    await run.forget()
    if ended.code != 0:
        raise RuntimeError(f"the run did not end well: {ended}")
    return milliseconds


def show(name: str, times: Sequence[float]) -> None:
    """Print the middle one, and one that is slower than nine of ten."""
    slow = sorted(times)[int(len(times) * 0.9)]
    print(f"{name:<28} p50 {statistics.median(times):7.1f} ms   p90 {slow:7.1f} ms")
