"""A machine that its cloud takes away: real daemons, and metadata services that speak as theirs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.acceptance.box import PATIENCE, Box, until
from tests.faults.s3_box import s3_box
from tests.servers.faults import Side, Stall
from tests.servers.metadata import ec2, gce
from tests.servers.s3 import S3Server

#: The first attempt saves when it is told to end; the second one goes on from there.
SAVES = """
import pathlib, signal, time
saved = pathlib.Path('../modeldir/saved')
if saved.exists():
    print('went on from', saved.read_text())
    raise SystemExit(0)
def save(*_):
    saved.write_text('step 7')
    raise SystemExit(0)
signal.signal(signal.SIGTERM, save)
print('begun', flush=True)
time.sleep(1000)
"""
#: Two checkpoints' worth: the second is far too much for the time there is.
GROWS = """
import os, pathlib, time
model = pathlib.Path('../modeldir')
if (model / 'first').exists():
    print('went on from', (model / 'first').read_text(), (model / 'second').exists())
    raise SystemExit(0)
(model / 'first').write_text('the first checkpoint')
print('begun', flush=True)
while not pathlib.Path({go!r}).exists():
    time.sleep(0.02)
(model / 'second').write_bytes(os.urandom(30_000_000))
print('grown', flush=True)
time.sleep(1000)
"""


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A machine of its own for every test."""
    with Box(tmp_path) as box:
        yield box


def begun(box: Box, word: str = "begun") -> None:
    """Wait until the run says so."""
    until(lambda: word in box.live_output() or None, "the run", box.log)


def check_given_back(box: Box, key: str) -> None:
    """See that another runner may begin at once, and that the attempt did not count."""
    assert len(box.waiting()) == 1
    claim = box.claim(key)
    assert claim is not None
    assert (claim["state"], claim["previous_cause"], claim["counted"]) == ("released", "drained", 0)


def test_a_spot_instance_gives_its_experiment_back_in_time(box: Box) -> None:
    """What the script saves is stored; the daemon ends, and one that comes too early only waits."""
    key = box.submit(SAVES)
    with ec2() as cloud:
        variables = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": cloud.url}
        daemon = box.start("--spot-notices", "aws", "--kill-grace", "1h", variables=variables)
        begun(box)
        cloud.announce(timedelta(seconds=60))
        assert daemon.wait(PATIENCE) == 0
        check_given_back(box, key)
        assert "AWS will terminate this spot instance" in box.log()
        assert '"machine-ending"' in box.log()
        assert box.stored(key, "modeldir", "saved") == b"step 7"
        told = box.log().count('"machine-ending"')
        again = box.start("--spot-notices", "aws", variables=variables)
        until(lambda: box.log().count('"machine-ending"') > told or None, "the notice", box.log)
        time.sleep(0.5)  # long enough to be claimed, if anything were
        assert again.poll() is None
        check_given_back(box, key)
        cloud.take_back()
        assert box.outcome(key)["cause"] == "completed"
        assert "went on from step 7" in box.output(key)
        assert box.drain(again) == 0
    assert box.complaints() == []


def test_a_preempted_instance_gives_its_experiment_back_in_time(box: Box) -> None:
    """The word comes by a poll that waits: long before the next look of anybody who only looks."""
    key = box.submit(SAVES)
    with gce() as cloud:
        daemon = box.start("--spot-notices", "gcp", variables={"GCE_METADATA_HOST": cloud.host})
        begun(box)
        until(lambda: cloud.waiting == 2 or None, "polls", box.log)

        def polls() -> int:
            return sum("preempted" in one.target for one in cloud.asked)

        before = polls()
        cloud.set("preempted", "TRUE")
        assert daemon.wait(PATIENCE) == 0
        # The poll that waited brought it; who asked after that had been told.
        assert polls() <= before + 1
    check_given_back(box, key)
    assert box.stored(key, "modeldir", "saved") == b"step 7"
    assert box.complaints() == []


def test_a_drain_may_be_given_a_time(box: Box) -> None:
    """For whoever hears of the machine's end elsewhere: a hook of the nodes, say."""
    key = box.submit(SAVES)
    daemon = box.start("--kill-grace", "1h")
    begun(box)
    command = [sys.executable, "-m", "runner", "drain", "--within", "30s"]
    subprocess.run(
        [*command, "--state-dir", str(box.state)], check=True, env=box.environ(), timeout=PATIENCE
    )
    assert daemon.wait(PATIENCE) == 0
    check_given_back(box, key)
    assert box.stored(key, "modeldir", "saved") == b"step 7"


def test_nobody_is_asked_where_there_is_no_cloud(box: Box) -> None:
    """Neither by default on a machine whose firmware names none, nor where it is switched off."""
    with ec2() as aws, gce() as google:
        variables = {
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": aws.url,
            "GCE_METADATA_HOST": google.host,
        }
        box.start("--spot-notices", "off", variables=variables)
        key = box.submit("print('here')")
        assert box.outcome(key)["cause"] == "completed"
        assert not aws.asked
        assert not google.asked


@pytest.mark.service("s3")
def test_what_cannot_be_stored_in_time_is_left(tmp_path: Path, seaweed_server: S3Server) -> None:
    """The last whole checkpoint stays what the next attempt begins with; nothing half is left."""
    with s3_box(tmp_path, seaweed_server) as box, ec2() as cloud:
        go = tmp_path / "go"
        key = box.submit(GROWS.format(go=os.fspath(go)))
        daemon = box.start(
            "--spot-notices",
            "aws",
            "--checkpoint-default",
            "1s",
            variables={"AWS_EC2_METADATA_SERVICE_ENDPOINT": cloud.url},
        )
        model = f"experiments/{key}/modeldir.tar"
        until(lambda: box.object(model) or None, "a checkpoint", box.log)
        stall = Stall(at=1 << 20, side=Side.REQUEST)
        box.proxy.inject(stall, method="PUT", path="modeldir", times=None)
        go.touch()
        begun(box, "grown")
        cloud.announce(timedelta(seconds=15))
        # The store never answers, and a result may wait an hour for it: only the notice ends this.
        assert daemon.wait(PATIENCE) == 0
        check_given_back(box, key)
        assert "could be stored before the machine is taken away" in box.log()
        box.check_clean()
        box.proxy.clear()
        box.start()
        assert box.outcome(key)["cause"] == "completed"
        assert "went on from the first checkpoint False" in box.output(key)
        box.check_clean()
