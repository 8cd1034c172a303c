"""What a daemon costs that has nothing to do, and how soon it claims after its start.

Twenty local queues, nothing waiting: resident memory, processor time over half a minute, threads.
Compared in the same run with a Python that only sleeps.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests.acceptance.box import Box, until

QUEUES = 20
SECONDS = 30.0


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as directory, Box(Path(directory)) as box:
        for number in range(QUEUES - 1):
            (box.queues / f"local_{number}").mkdir()
        daemon = box.start()
        until(lambda: "waiting for experiments" in box.log() or None, "the start", box.log)
        bare = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
        time.sleep(2)
        _print(f"daemon, {QUEUES} queues", psutil.Process(daemon.pid))
        _print("sleeping python", psutil.Process(bare.pid))
        bare.kill()
        bare.wait()
        box.drain(daemon)
    starts = sorted(_start_to_claim() for _ in range(5))
    median, worst = starts[2] * 1000, starts[4] * 1000
    print(f"start to first claim         median {median:.0f} ms   worst {worst:.0f} ms")


def _print(name: str, process: psutil.Process) -> None:
    before = process.cpu_times()
    time.sleep(SECONDS)
    after = process.cpu_times()
    used = after.user + after.system - before.user - before.system
    print(
        f"{name:28} resident {process.memory_info().rss / 1e6:5.1f} MB   "
        f"{used / SECONDS * 100:.3f} % of a core   {process.num_threads()} threads"
    )


def _start_to_claim() -> float:
    with tempfile.TemporaryDirectory() as directory, Box(Path(directory)) as box:
        key = box.submit("print('hello')")
        begun = time.perf_counter()
        daemon = box.start()
        until(lambda: box.claim(key), "the claim", box.log)
        took = time.perf_counter() - begun
        box.outcome(key)
        box.drain(daemon)
    return took


if __name__ == "__main__":
    main()
