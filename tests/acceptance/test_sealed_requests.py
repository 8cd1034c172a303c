"""Sealed and signed requests, from making the keys to the results, through the real daemon."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.privacy import making
from runner.privacy.envelope import envelope
from tests.acceptance.box import Box, Json, until
from tests.privacy.sealing import laid_out


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """One machine."""
    with Box(tmp_path) as box:
        yield box


def _options(place: Path) -> list[str]:
    return [
        *("--encrypt-dir", str(place / making.MESSAGE)),
        *("--request-signatures-dir", str(place / making.SIGNING)),
    ]


def _sealed(place: Path, message: Json) -> Json:
    client = place / making.CLIENT
    sealing = making.sealing_key(client / making.SEALING_KEY)
    return envelope(message, sealing, making.signing_key(client / making.SIGNING_KEY))


def _status(box: Box) -> Json:
    command = [sys.executable, "-m", "runner", "status", "--json", "--state-dir", str(box.state)]
    done = subprocess.run(command, check=False, capture_output=True, env=box.environ())
    return dict(json.loads(done.stdout)) if done.returncode == 0 and done.stdout else {}


def test_a_sealed_request_runs_and_one_in_clear_is_buried(box: Box) -> None:
    """What is known of it meanwhile, on disk, is what came from the queue."""
    place = laid_out(box.root / "keys")
    box.start(*_options(place))
    clear = box.publish_message(box.message("print('never')"))
    go = box.root / "go"
    waits = f"import os, time\nprint('begun', flush=True)\nwhile not os.path.exists({str(go)!r}):"
    message = box.message(f"{waits}\n    time.sleep(0.02)\nprint('done')", args=["shibboleth"])
    box.publish_message(_sealed(place, message))
    until(lambda: "begun" in box.live_output() or None, "the run", box.log)
    (record,) = (box.state / "runs").glob("*/record.json")
    assert b"shibboleth" not in record.read_bytes()
    assert _status(box)["daemon"]["messages"] == "sealed and signed"
    go.touch()
    key = str(message["experiment"]["key"])
    assert box.outcome(key)["cause"] == "completed"
    assert "done\n" in box.output(key)
    assert "this runner has keys for sealed ones" in box.reason(clear)
    assert box.complaints() == []


def test_a_run_is_adopted_with_its_sealed_message(box: Box) -> None:
    """The next daemon opens the record's message anew."""
    place = laid_out(box.root / "keys")
    daemon = box.start(*_options(place))
    go = box.root / "go"
    waits = f"import os, time\nprint('begun', flush=True)\nwhile not os.path.exists({str(go)!r}):"
    message = box.message(f"{waits}\n    time.sleep(0.02)")
    box.publish_message(_sealed(place, message))
    until(lambda: "begun" in box.live_output() or None, "the run", box.log)
    box.kill(daemon)
    box.start(*_options(place))
    go.touch()
    ended = box.outcome(str(message["experiment"]["key"]))
    assert (ended["cause"], ended["attempt"]) == ("completed", 1)


def test_sealed_requests_wait_for_their_key(box: Box) -> None:
    """Nothing of them is lost, and no attempt is counted, while the operator brings it."""
    place = laid_out(box.root / "keys")
    (place / making.MESSAGE).rename(box.root / "away")
    box.start(*_options(place))
    message = box.message("print('done')")
    box.publish_message(_sealed(place, message))
    until(lambda: ("--encrypt-dir" in box.log() and box.settled()) or None, "given back", box.log)
    (box.root / "away").rename(place / making.MESSAGE)
    ended = box.outcome(str(message["experiment"]["key"]))
    assert (ended["cause"], ended["attempt"]) == ("completed", 1)


def test_clear_text_does_not_come_back_by_oversight(box: Box) -> None:
    """A daemon that has lost its options still wants sealed requests, until it is told not to."""
    place = laid_out(box.root / "keys")
    daemon = box.start(*_options(place))
    until(lambda: (box.state / "keys-seen").exists() or None, "the start", box.log)
    box.drain(daemon)
    daemon = box.start()
    buried = box.publish_message(box.message("print('never')"))
    assert "had keys for sealed ones before" in box.reason(buried)
    box.drain(daemon)
    box.start("--clear-text-messages")
    assert box.outcome(box.submit("print('done')"))["cause"] == "completed"


def test_half_of_the_keys_is_no_configuration(box: Box) -> None:
    """One sentence, with both options."""
    daemon = box.start("--encrypt-dir", str(box.root / "keys"))
    assert daemon.wait(60) != 0
    assert "--encrypt-dir is given without --request-signatures-dir" in box.log()


def test_keys_of_senders_lie_where_messages_write_nothing(box: Box) -> None:
    """An experiment could make itself somebody who is believed."""
    place = laid_out(box.root / "keys")
    within = box.root / "store" / "signing"
    (place / making.SIGNING).rename(within)
    options = ("--encrypt-dir", str(place / making.MESSAGE))
    daemon = box.start(*options, "--request-signatures-dir", str(within))
    assert daemon.wait(60) != 0
    assert f"the credential {within} lies inside --local-store-root" in box.log()
