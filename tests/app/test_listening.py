"""Health, metrics and status of a real daemon that runs a real experiment."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.box import PATIENCE, Box, Json, until
from tests.servers.process import free_ports

TOKEN = "a-token-that-nobody-guesses"
SCRIPT = "import time\nprint('hello')\ntime.sleep(0.2)\n"
#: The second waits until the file is there.
WAITS = "import os, time\nwhile not os.path.exists({path!r}): time.sleep(0.05)\n"


Numbers = Mapping[tuple[str, frozenset[str]], float]


class Web:
    """The listener of a box's daemon."""

    def __init__(self, box: Box, daemon: subprocess.Popen[bytes]) -> None:
        self.box = box
        self.daemon = daemon
        self.port = until(self._port, "a listener", box.log)

    def _port(self) -> int | None:
        assert self.daemon.poll() is None, self.box.log()
        found = re.search(r'"url": ?"http://[^"]+:([0-9]+)"', self.box.log())
        return int(found[1]) if found else None

    def ask(self, path: str, **headers: str) -> tuple[int, str]:
        """Return status and text of an answer."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)) as connection:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def numbers(self) -> Numbers:
        """Return every sample by its name and the values of its labels."""
        status, text = self.ask("/metrics")
        assert status == 200
        return {
            (sample.name, frozenset(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def status(self) -> Json:
        """Return status.json."""
        status, text = self.ask("/status.json")
        assert status == 200
        return dict(json.loads(text))


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """Make a machine."""
    with Box(tmp_path) as box:
        yield box


def test_one_experiment_from_claim_to_metrics(box: Box) -> None:
    """The numbers add up, health and status agree, and a drain is seen from outside."""
    (box.queues / "somebody_elses").mkdir()
    web = Web(box, box.start())
    assert web.ask("/healthz") == (200, "ok\n")
    assert web.ask("/readyz") == (200, "ready\n")
    box.outcome(box.submit(SCRIPT, project='a "quoted" project'))
    gate = box.root / "gate"
    key = box.submit(WAITS.format(path=str(gate)), project="second")

    def counted() -> Numbers | None:
        numbers = web.numbers()
        settled = numbers["runner_stage_seconds_count", frozenset({"settle"})]
        return numbers if settled == numbers["runner_attempts", frozenset({"run"})] == 1 else None

    _adds_up(until(counted, "one ended and one running", box.log))
    assert key not in web.ask("/metrics")[1]
    status = web.status()
    assert [(one["key"], one["phase"]) for one in status["running"]] == [(key, "running")]
    _is_documented(status)
    web.daemon.terminate()
    until(lambda: web.ask("/readyz") == (503, "draining: 1 under way\n") or None, "a drain")
    assert web.ask("/healthz") == (200, "ok\n")
    gate.touch()
    assert web.daemon.wait(PATIENCE) == 0
    assert not box.complaints()


def _adds_up(numbers: Numbers) -> None:
    host, queue = socket.gethostname(), "local_test"
    first = frozenset({host, "local", queue, 'a "quoted" project'})
    second = frozenset({host, "local", queue, "second"})
    assert numbers["runner_project_completed_total", first] == 1
    assert numbers["runner_project_running", first] == 0
    assert numbers["runner_project_running", second] == 1
    assert numbers["runner_experiments_ended_total", frozenset({"completed", "acked"})] == 1
    assert numbers["runner_queue_checked_total", frozenset({host, "local", queue})] >= 2
    # As it was at some moment within the last 30 s.
    assert numbers["runner_queue_waiting", frozenset({host, "local", queue})] in {0, 1, 2}
    for stage in ("claim", "fetch", "environment", "start"):
        assert numbers["runner_stage_seconds_count", frozenset({stage})] == 2
    for stage in ("run", "upload", "settle"):
        assert numbers["runner_stage_seconds_count", frozenset({stage})] == 1
    assert numbers["runner_stage_seconds_sum", frozenset({"run"})] >= 0.2
    assert numbers["runner_attempts", frozenset({"run"})] == 1
    none: frozenset[str] = frozenset()
    built = numbers["runner_environments_built_total", none]
    assert built + numbers["runner_environments_reused_total", none] == 2
    assert numbers["runner_artifact_sent_bytes_total", none] > 0
    assert numbers["runner_leases_held", none] == 2
    assert numbers["runner_leases_lost_total", none] == 0
    cores = numbers["runner_resource_cpu_slots", frozenset({host})]
    assert numbers["runner_resource_cpu_free_slots", frozenset({host})] == cores - 1
    assert numbers["runner_claiming", none] == 1
    assert numbers["process_open_fds", none] > 0
    assert ("runner_event_loop_lag_seconds_count", none) in numbers


def _is_documented(status: Json) -> None:
    """See that the documentation names every field of status.json, and no other."""
    text = (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text()
    _, _, text = text.partition("## status.json")
    named = set(re.findall(r"^\| `([\w.\[\]]+)` \|", text, re.MULTILINE))
    assert status["version"] == 1
    assert set(_fields("", status)) == named


def _fields(prefix: str, value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for name, one in value.items():
            yield f"{prefix}{name}"
            yield from _fields(f"{prefix}{name}.", one)
    elif isinstance(value, list):
        for one in value:
            yield from _fields(f"{prefix.rstrip('.')}[].", one)


def test_a_wide_listener_needs_its_token_and_keeps_its_port_over_a_reload(box: Box) -> None:
    """What is closed stays closed; a second daemon says which port is taken and what to do."""
    token = box.root / "token"
    token.write_text(f"{TOKEN}\n")
    options = ("--listen", f":{free_ports(1)[0]}", "--web-token-file", str(token))
    web = Web(box, box.start(*options))
    assert web.ask("/healthz")[0] == 200
    assert web.ask("/status.json")[0] == 401
    assert web.ask("/metrics", Host="evil.example")[0] == 421
    second = box.start("--listen", f"127.0.0.1:{web.port}", "--queue-root", "", state="second")
    assert second.wait(PATIENCE) == 1
    assert f"port {web.port} is taken" in box.log("second")
    before = _started(web)
    assert before is not None
    web.daemon.send_signal(signal.SIGHUP)
    until(lambda: (_started(web) or before) > before or None, "the same port again", box.log)
    assert TOKEN not in box.log()
    assert box.drain(web.daemon) == 0


def _started(web: Web) -> float | None:
    """Return when the daemon on the port began; nobody may be there at the moment."""
    try:
        status, text = web.ask("/status.json", Authorization=f"Bearer {TOKEN}")
    except OSError:
        return None
    assert status == 200
    return float(json.loads(text)["daemon"]["started"])
