"""What the status page costs: the daemon's processor time with and without it, and one answer.

Sixteen experiments run, on as many cores as the daemon is made to believe in, and the page asks as
it does in a browser: for the status every two seconds, for one live output every second. Prints the
share of a core above what the daemon takes anyhow (goal: at most 1 %), and how long
``/status.json`` takes with a hundred results (goal: a median of at most 20 ms).
"""

from __future__ import annotations

import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

from tests.acceptance.box import Box, until

RUNS, RESULTS = 16, 100
ROUNDS, SECONDS = 2, 30.0
ANSWERS = 100
GOAL_SHARE, GOAL_MILLISECONDS = 0.01, 20.0
#: A process with a child, and a line each second.
SCRIPT = """
import os, time
os.fork()
while True:
    print("epoch", time.time(), "loss", 0.123, flush=True)
    time.sleep(1)
"""
#: Starts a daemon that counts so many cores.
ON_MANY_CORES = f"""
import os, sys
os.sched_getaffinity = lambda _: set(range({RUNS}))
from runner.cli import main
sys.exit(main(sys.argv[4:]))
"""
TOKEN = "of-this-benchmark"  # noqa: S105 - it keeps nobody out
_TICKS = os.sysconf("SC_CLK_TCK")


class Asker:
    """The page, as far as the daemon knows."""

    def __init__(self, port: int) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=60)
        self._stream, self._position = "", 0

    def status(self) -> dict[str, object]:
        """Ask for the status."""
        return self._ask("/status.json?recent=100")

    def output(self, run: str) -> None:
        """Follow an output."""
        query = f"run={run}&stream={self._stream}&from={self._position}"
        piece = self._ask(f"/output.json?{query}")
        self._stream, self._position = str(piece["stream"]), int(str(piece["end"]))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _ask(self, path: str) -> dict[str, object]:
        self._connection.request("GET", path, headers={"Authorization": f"Bearer {TOKEN}"})
        answer = self._connection.getresponse()
        assert answer.status == 200, answer.read()
        return dict(json.loads(answer.read()))


def main() -> int:
    """Measure and print; 1 where a goal is missed."""
    with tempfile.TemporaryDirectory() as directory, Box(Path(directory).resolve()) as box:
        _fill_history(box)
        token = box.root / "token"
        token.write_text(TOKEN)
        daemon = box.start(
            "--max-cores",
            str(RUNS),
            "--web-token-file",
            str(token),
            wrapper=(sys.executable, "-c", ON_MANY_CORES),
        )
        port = until(lambda: _port(box), "a listener", box.log)
        with closing(Asker(port)) as asker:
            run = _sixteen(box, asker)
            without, beside = _shares(daemon.pid, asker, run)
            median = _median(asker)
    above = beside - without
    print(f"the daemon with {RUNS} experiments       {without:8.2%} of a core")
    print(f"with the page open as well          {beside:8.2%} of a core")
    print(f"the page costs                      {above:8.2%} of a core   goal {GOAL_SHARE:.0%}")
    print(
        f"/status.json, median               {median:8.1f} ms        goal {GOAL_MILLISECONDS:.0f}"
    )
    return int(above > GOAL_SHARE or median > GOAL_MILLISECONDS)


def _fill_history(box: Box) -> None:
    ending = {
        "queue": "local_test",
        "project": "benchmark",
        "attempt": 1,
        "cause": "exit",
        "exit_code": 1,
        "detail": "it exited with 1",
        "settled": "acked",
        "ended": time.time(),
        "seconds": 10.0,
        "advice": "Read the end of the output, where the script says what went wrong.",
    }
    box.state.mkdir()
    lines = (json.dumps({"key": f"train_{n}", **ending}) + "\n" for n in range(RESULTS))
    (box.state / "recent.jsonl").write_text("".join(lines))


def _port(box: Box) -> int | None:
    found = re.search(r'"url": ?"http://[^"]+:([0-9]+)"', box.log())
    return int(found[1]) if found else None


def _sixteen(box: Box, asker: Asker) -> str:
    """Start them; return the name of one run, when all are running."""
    for _ in range(RUNS):
        box.submit(SCRIPT, max_duration="1h")

    def running() -> str | None:
        rows = asker.status()["running"]
        assert isinstance(rows, list)
        stages = [row["stage"] for row in rows]
        return str(rows[0]["run"]) if stages == ["run"] * RUNS else None

    return until(running, f"{RUNS} running", box.log, 300)


def _shares(pid: int, asker: Asker, run: str) -> tuple[float, float]:
    """Return the share of a core without the page and with it, by turns."""
    without, beside = list[float](), list[float]()
    for _ in range(ROUNDS):
        without.append(_share(pid, lambda _: None))
        beside.append(_share(pid, lambda second: _look(asker, run, second)))
    return statistics.mean(without), statistics.mean(beside)


def _look(asker: Asker, run: str, second: int) -> None:
    asker.output(run)
    if second % 2 == 0:
        asker.status()


def _share(pid: int, each_second: Callable[[int], None]) -> float:
    begun, before = time.monotonic(), _spent(pid)
    for second in range(int(SECONDS)):
        each_second(second)
        time.sleep(max(0.0, begun + second + 1 - time.monotonic()))
    return (_spent(pid) - before) / (time.monotonic() - begun)


def _spent(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _median(asker: Asker) -> float:
    taken = []
    for _ in range(ANSWERS):
        begun = time.perf_counter()
        asker.status()
        taken.append((time.perf_counter() - begun) * 1000)
        time.sleep(0.05)
    return statistics.median(taken)


if __name__ == "__main__":
    sys.exit(main())
