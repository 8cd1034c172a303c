"""What a daemon makes of stores that fail: the cause, the message's fate, and no leftovers.

A missing artifact is the experiment's end; a store that fails is the world's, and tried again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.box import packed, until
from tests.faults.s3_box import S3Box, s3_box
from tests.servers.certificates import self_signed
from tests.servers.faults import (
    Fault,
    Interrupt,
    LoseAnswer,
    Meanwhile,
    Side,
    Spoil,
    Stall,
    Truncate,
    s3_error,
)
from tests.servers.proxy import Proxy
from tests.servers.s3 import S3Server
from tests.servers.seaweed import READER

pytestmark = pytest.mark.service("s3")

SCRIPT = """
import pathlib
print(len(pathlib.Path('data.txt').read_text()))
model = pathlib.Path('../modeldir')
model.mkdir(exist_ok=True)
(model / 'model.bin').write_bytes(bytes(range(256)) * 100_000)
print('done')
"""
DATA = os.urandom(12_000_000).hex()
#: Far less than any timeout, and far more than anything takes.
SOON = 45.0


@pytest.fixture
def box(tmp_path: Path, seaweed_server: S3Server) -> Iterator[S3Box]:
    """A machine, a bucket, and a proxy between the two."""
    with s3_box(tmp_path, seaweed_server) as box:
        yield box


def submit(box: S3Box, script: str = SCRIPT, **fields: object) -> str:
    """Queue an experiment with 24 MB of data that stores 25 MB."""
    workspace = packed({"train.py": script, "data.txt": DATA})
    return box.submit(script, workspace=workspace, resources_needed=needs(), **fields)


def needs() -> dict[str, object]:
    """Return what the experiment asks for."""
    return {"cpus": 1, "gpus": 0, "ram": "256m", "hdd": "512m"}


def check_done(box: S3Box, key: str, attempt: int = 1) -> None:
    """See that it ran to its end and that everything it made is there."""
    outcome = box.outcome(key)
    assert (outcome["cause"], outcome["attempt"]) == ("completed", attempt), outcome
    lines = box.output(key).splitlines()
    assert lines[-2:] == [str(len(DATA)), "done"]
    assert box.stored(key, "modeldir", "model.bin") == bytes(range(256)) * 100_000
    assert box.ended(key)["settled"] == "acked"
    box.check_clean()


#: By name: what befalls which requests, and how many of them.
WEATHERED: dict[str, tuple[Fault, str, str, int]] = {
    "a storm of 503": (s3_error("SlowDown", 503), "", "", 6),
    "downloads broken off": (Interrupt(at=1 << 20), "GET", r"blobstore", 5),
    "downloads cut short": (Truncate(at=1 << 20, lie=True), "GET", r"blobstore", 3),
    "uploads broken off": (Interrupt(at=1 << 20, side=Side.REQUEST), "PUT", r"modeldir", 3),
    "uploads damaged": (Spoil(at=1000, side=Side.REQUEST), "PUT", r"modeldir", 2),
    "answers lost": (LoseAnswer(), "PUT", "", 6),
    "completions lost": (LoseAnswer(), "POST", r"modeldir.*uploadId", 1),
}


@pytest.mark.parametrize("weather", WEATHERED)
def test_bad_weather_costs_no_attempt(box: S3Box, weather: str) -> None:
    """What another try mends is never seen by the experiment."""
    fault, method, path, times = WEATHERED[weather]
    rule = box.proxy.inject(fault, method=method, path=path, times=times)
    box.start()
    key = submit(box)
    check_done(box, key)
    assert len(rule.struck) == times


def test_an_outage_in_the_middle_of_a_download(box: S3Box) -> None:
    """The store is away for a moment while the workspace is fetched."""

    def fall() -> None:
        box.proxy.down()
        box.proxy.up()

    outage = threading.Thread(target=fall, name="outage")
    box.proxy.inject(Meanwhile(outage.start), method="GET", path="blobstore", nth=2)
    box.start()
    check_done(box, submit(box))
    outage.join()


def test_a_damaged_download_is_used_by_nobody(box: S3Box) -> None:
    """The attempt ends before it runs, and the next one fetches the right bytes."""
    # Inside the padding of a tar this byte would be noticed by nobody but the checksum.
    place = len(packed({"train.py": SCRIPT, "data.txt": DATA})) - 1 - (16 << 20)
    box.proxy.inject(Spoil(at=place), method="GET", path="blobstore", start=16 << 20)
    box.start()
    key = submit(box)
    check_done(box, key, attempt=2)
    assert "store-unavailable" in box.output(key)


def test_a_missing_workspace_ends_the_experiment(box: S3Box) -> None:
    """The user reads which artifact is not where, and what to do."""
    message = box.message(SCRIPT)
    artifact = message["experiment"]["artifacts"]["workspace"]
    box.server.request("DELETE", f"/{box.bucket}/{artifact['key']}")
    box.start()
    key = box.publish(message)
    outcome = box.outcome(key)
    assert (outcome["cause"], outcome["attempt"]) == ("artifact-missing", 1)
    output = box.output(key)
    for word in ("'workspace'", artifact["key"], "submit again"):
        assert word in output
    assert box.ended(key)["settled"] == "acked"
    box.check_clean()


def test_a_workspace_that_is_denied_ends_the_experiment(box: S3Box) -> None:
    """Keys without the right: the store's own code is in the sentence."""
    message = box.message(SCRIPT)
    keys = {"access_key": READER.access_key, "secret_access_key": READER.secret_key.reveal()}
    message["experiment"]["artifacts"]["workspace"]["credentials"] = {"aws": keys}
    box.start()
    key = box.publish(message)
    outcome = box.outcome(key)
    assert (outcome["cause"], outcome["attempt"]) == ("artifact-missing", 1)
    output = box.output(key)
    for word in ("'workspace'", "cannot be read", "AccessDenied"):
        assert word in output
    assert READER.secret_key.reveal() not in output + box.log()
    assert box.ended(key)["settled"] == "acked"
    box.check_clean()


def test_results_that_are_denied_are_said_so(box: S3Box) -> None:
    """A token that expires while the experiment runs: buried with the reason, not run again."""
    script = SCRIPT + "\nprint('ran')"
    box.proxy.inject(
        s3_error("ExpiredToken", 400, "The provided token has expired."),
        method="(PUT|POST)",
        path="modeldir",
        times=None,
    )
    box.start()
    key = submit(box, script)
    ending = box.ended(key)
    assert ending["cause"] == "results-denied"
    assert "expired" in str(ending)
    assert box.output(key).splitlines().count("ran") == 1
    box.check_clean()


def test_a_store_nobody_can_trust_defers_the_experiment(tmp_path: Path, box: S3Box) -> None:
    """An unknown certificate is the operator's business: the message waits, nothing was run."""
    context, authority = self_signed(tmp_path)
    upstream = ("127.0.0.1", box.server.port)
    with Proxy(upstream, tls=context) as proxy:
        plain, box.proxy = box.proxy, proxy
        daemon = box.start("--retry-delay", "3s")
        key = submit(box)
        until(lambda: "--s3-ca" in box.log() or None, "the option that helps", box.log)
        assert box.claim(key) is None
        assert box.dead() == []
        box.drain(daemon)
        box.start("--s3-ca", str(authority))
        check_done(box, key)
        box.proxy = plain


@pytest.mark.parametrize("at", [0, 1 << 20])
def test_a_cancelled_experiment_waits_for_no_store(box: S3Box, at: int) -> None:
    """The download stalls; who cancels hears the end soon."""
    rule = box.proxy.inject(Stall(at=at), method="GET", path="blobstore", times=None)
    box.start()
    key = submit(box)
    box.proxy.wait_for_fault(rule)
    box.cancel(key)
    assert box.outcome(key, SOON)["cause"] == "cancelled"
    box.check_clean()


def test_a_drained_daemon_waits_for_no_store(box: S3Box) -> None:
    """A second signal while the download stalls: the daemon goes, and the next one runs it."""
    rule = box.proxy.inject(Stall(at=1 << 20), method="GET", path="blobstore", times=1)
    daemon = box.start()
    key = submit(box)
    box.proxy.wait_for_fault(rule)
    daemon.terminate()
    until(lambda: '"draining"' in box.log() or None, "the drain", box.log)
    daemon.terminate()
    until(lambda: daemon.poll() is not None or None, "the end", box.log, SOON)
    assert daemon.returncode == 0
    box.start()
    check_done(box, key, attempt=2)
