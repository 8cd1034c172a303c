"""What the runner adds to an experiment: message on the queue to result in the store.

A trivial script with a warm environment, compared in the same run with the bare loop
``python script.py``. Prints the latency of one experiment at a time, and how many a second are
done when many wait.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.acceptance.box import Box

SCRIPT = "print('hello')"
ONE_BY_ONE = 60
WAITING = 200


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as directory, Box(Path(directory)) as box:
        bare = _bare(box.root)
        box.start()
        warm = box.submit(SCRIPT)
        assert box.outcome(warm)["cause"] == "completed"
        time.sleep(3)  # the environment's bytecode is compiled once, beside the first run
        latencies = sorted(_one(box) for _ in range(ONE_BY_ONE))
        rate = _burst(box)
    p50 = statistics.median(latencies)
    p99 = latencies[int(len(latencies) * 0.99)]
    print(f"bare python script.py        p50 {bare * 1000:7.1f} ms")
    print(f"queue to result in the store p50 {p50 * 1000:7.1f} ms   p99 {p99 * 1000:7.1f} ms")
    print(
        f"overhead                     p50 {(p50 - bare) * 1000:7.1f} ms   ratio {p50 / bare:.1f}"
    )
    print(
        f"{WAITING} waiting on 2 cores        {rate:7.1f} experiments/s; bare loop {1 / bare:.1f}/s"
    )


def _bare(root: Path) -> float:
    script = root / "bare.py"
    script.write_text(SCRIPT)
    times = []
    for _ in range(20):
        begun = time.perf_counter()
        subprocess.run([sys.executable, str(script)], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def _one(box: Box) -> float:
    message = box.message(SCRIPT)
    key = message["experiment"]["key"]
    result = box.storage / "experiments" / key / "output.tar"
    record = result.with_name(f"_claim.{key}.json")
    begun = time.perf_counter()
    box.publish(message)
    while not (result.exists() and _has_ended(record)):
        time.sleep(0.001)
    return time.perf_counter() - begun


def _has_ended(record: Path) -> bool:
    return bool(json.loads(record.read_bytes())["state"] == "ended")


def _burst(box: Box) -> float:
    messages = [box.message(SCRIPT) for _ in range(WAITING)]
    before = len(box.settled())
    begun = time.perf_counter()
    for message in messages:
        box.publish(message)
    while len(box.settled()) < before + WAITING:
        time.sleep(0.01)
    return WAITING / (time.perf_counter() - begun)


if __name__ == "__main__":
    main()
