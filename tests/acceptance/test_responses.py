"""Reports about experiments, from a real daemon to ``studio-runner watch``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
)

from runner.privacy import making
from runner.privacy.envelope import envelope
from tests.acceptance.accounts import on_every_broker
from tests.acceptance.box import NOTHING, PATIENCE, Box, Json, until
from tests.acceptance.pair import Pair
from tests.privacy.sealing import laid_out

RESPONSE = "local_test_response"
PASSPHRASE = b"open sesame"


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """One machine, with a response queue."""
    with Box(tmp_path) as box:
        (box.queues / RESPONSE).mkdir()
        yield box


@pytest.fixture(scope="module")
def private() -> RSAPrivateKey:
    """Return the key of somebody who reads reports."""
    return generate_private_key(65537, 2048)


def _keys(box: Box, private: RSAPrivateKey, name: str = "local_") -> list[str]:
    """Lay both halves out, and return the daemon's options."""
    directory = box.root / "response-keys"
    directory.mkdir()
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1)
    (directory / name).write_bytes(public)
    encryption = BestAvailableEncryption(PASSPHRASE)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, encryption)
    (box.root / "private.pem").write_bytes(pem)
    (box.root / "passphrase").write_bytes(PASSPHRASE + b"\n")
    return ["--response-signatures-dir", str(directory)]


def _watch(
    box: Box,
    *words: str,
    sealed: bool = False,
    queue: str = "local_test",
    variables: Mapping[str, str] = NOTHING,
) -> tuple[int, list[Json], str]:
    """Run the command; return its status, its documents, and what it tells a person."""
    opening = ["--private-key", str(box.root / "private.pem")]
    opening += ["--passphrase-file", str(box.root / "passphrase")]
    done = subprocess.run(
        [sys.executable, "-m", "runner", "watch", queue, *words, "--json"]
        + ["--queue-root", str(box.queues), "--state-dir", str(box.state)]
        + (opening if sealed else []),
        check=False,
        capture_output=True,
        env={**box.environ(), **variables},
        timeout=PATIENCE,
    )
    documents = [json.loads(line) for line in done.stdout.splitlines()]
    return done.returncode, documents, done.stderr.decode()


def _states(documents: list[Json]) -> list[str]:
    found = [one["progress"] for one in documents if "progress" in one]
    return [one.get("state", "Prestart") for one in found if "json" not in one]


def _lines(documents: list[Json]) -> list[str]:
    return [one["logging"]["message"] for one in documents if "logging" in one]


def test_an_experiment_is_followed_line_by_line(box: Box, private: RSAPrivateKey) -> None:
    """Sealed for its reader: states in order, every line, JSON by itself, the end."""
    box.start(*_keys(box, private))
    key = box.submit("print('one'); print('two'); print('{\"loss\": 0.5}')")
    status, told, err = _watch(box, key, sealed=True)
    assert (status, _states(told)) == (0, ["Prestart", "Started", "Success"]), err
    assert _lines(told) == ["start", "one", "two", '{"loss": 0.5}', "stop"]
    [fragment] = [one["progress"]["json"] for one in told if "json" in one.get("progress", {})]
    assert json.loads(fragment) == {"loss": 0.5}
    assert {one["experimentId"] for one in told} == {key}
    assert {one["executorId"] for one in told} == {os.uname().nodename}
    [unique] = {one["uniqueId"] for one in told}
    assert unique.startswith(f"{os.uname().nodename}-")
    assert "left there, 1: it is about another experiment" in err
    assert list((box.queues / RESPONSE).iterdir()) == []
    assert box.complaints() == []


def test_a_failure_says_why_and_is_the_commands_status(box: Box) -> None:
    """The original never said that an experiment had failed."""
    box.start("--clear-text-responses")
    key = box.submit("import sys\nprint('last words', flush=True)\nsys.exit(7)")
    status, told, _ = _watch(box, key)
    assert (status, _states(told)) == (7, ["Prestart", "Started", "Failed"])
    assert told[-1]["progress"]["error"]["code"] == 7
    assert told[-1]["progress"]["error"]["msg"].startswith("exit")
    assert "last words" in _lines(told)
    [stop] = [one["logging"] for one in told if one.get("logging", {}).get("message") == "stop"]
    assert stop["fields"]["success"] == "False"


def test_what_is_stopped_says_so_before_it_ends(box: Box) -> None:
    """A state that the original has, and never sent."""
    box.start("--clear-text-responses")
    key = box.submit("import time\nprint('begun', flush=True)\ntime.sleep(600)")
    until(lambda: "begun" in box.live_output() or None, "the run", box.log)
    command = [sys.executable, "-m", "runner", "cancel", key, "--state-dir", str(box.state)]
    subprocess.run(command, check=True, capture_output=True, env=box.environ())
    status, told, _ = _watch(box, key)
    assert (status, _states(told)) == (1, ["Prestart", "Started", "Stopping", "Failed"])


def test_the_next_daemon_goes_on_where_the_last_one_was(box: Box) -> None:
    """No line twice, none left out, though daemons come and go."""
    daemon = box.start("--clear-text-responses")
    go = box.root / "go"
    script = "import os, time\nprint('before', flush=True)\n"
    script += f"while not os.path.exists({str(go)!r}):\n    time.sleep(0.02)\nprint('after')"
    key = box.submit(script)
    until(lambda: _has(box, b"before") or None, "its first line", box.log)
    command = [sys.executable, "-m", "runner", "detach", "--state-dir", str(box.state)]
    subprocess.run(command, check=True, capture_output=True, env=box.environ())
    daemon.wait(PATIENCE)
    box.start("--clear-text-responses")
    go.touch()
    status, told, _ = _watch(box, key)
    assert (status, _states(told)) == (0, ["Prestart", "Started", "Success"])
    wanted = ["start", "before", "goes on under another daemon", "after", "stop"]
    assert _lines(told) == wanted


def _has(box: Box, words: bytes) -> bool:
    return any(words in one.read_bytes() for one in (box.queues / RESPONSE).glob("[0-9]*"))


def test_another_attempt_tells_its_own_lines(box: Box) -> None:
    """Its output begins with that of the first one, of which the reader knows already."""
    box.start("--clear-text-responses", "--retry-on", "exit")
    script = "import pathlib, sys\nmark = pathlib.Path('../modeldir/mark')\n"
    script += "print('second' if mark.exists() else 'first', flush=True)\n"
    script += "if not mark.exists():\n    mark.touch()\n    sys.exit(3)"
    key = box.submit(script)
    status, told, _ = _watch(box, key)
    states = ["Prestart", "Started", "Prestart", "Prestart", "Started", "Success"]
    assert (status, _states(told)) == (0, states)
    lines = _lines(told)
    assert [line for line in lines if line in {"first", "second"}] == ["first", "second"]
    [again] = [
        one["logging"] for one in told if one.get("logging", {}).get("fields", {}).get("error")
    ]
    assert (again["severity"], again["fields"]["again_in_seconds"]) == ("Warning", "0")


def test_a_flood_of_lines_is_few_reports(box: Box) -> None:
    """All of them, in their order, or the last report says how much is left out."""
    box.start("--clear-text-responses")
    key = box.submit("for number in range(20_000):\n    print('line', number)")
    status, told, _ = _watch(box, key)
    assert (status, _states(told)) == (0, ["Prestart", "Started", "Success"])
    messages = [line for line in _lines(told) if line.startswith("line ")]
    lines = [line for message in messages for line in message.split("\n")]
    assert lines == [f"line {number}" for number in range(20_000)]
    assert len(messages) < 200


def test_more_than_can_be_told_ends_with_the_last_lines(box: Box) -> None:
    """Nobody waits for reports, and how much is left out is no secret."""
    box.start("--clear-text-responses")
    key = box.submit("for number in range(200_000):\n    print(number, 'x' * 100)")
    status, told, _ = _watch(box, key)
    assert (status, _states(told)) == (0, ["Prestart", "Started", "Success"])
    lines = _lines(told)
    assert lines[-1] == "stop"
    assert lines[-2].startswith("199999 x")
    assert any("bytes of its output are left out" in line for line in lines)
    assert sum(len(line) for line in lines) < 8 << 20


def test_a_sealed_request_is_told_sealed_or_not_at_all(box: Box, private: RSAPrivateKey) -> None:
    """Whatever the operator allows for those in clear text."""
    place = laid_out(box.root / "keys")
    box.start(
        *_keys(box, private, "another_queue"),
        *("--clear-text-responses", "--clear-text-messages"),
        *("--encrypt-dir", str(place / making.MESSAGE)),
        *("--request-signatures-dir", str(place / making.SIGNING)),
    )
    client = place / making.CLIENT
    sealing = making.sealing_key(client / making.SEALING_KEY)
    message = box.message("print('private')")
    signing = making.signing_key(client / making.SIGNING_KEY)
    box.publish_message(envelope(message, sealing, signing))
    box.outcome(str(message["experiment"]["key"]))
    until(lambda: "is not told" in box.log() or None, "the log", box.log)
    assert list((box.queues / RESPONSE).iterdir()) == []
    assert f"there is no key in {box.root / 'response-keys'} for {RESPONSE}" in box.log()


def test_a_sealed_request_is_followed_by_its_reader(box: Box, private: RSAPrivateKey) -> None:
    """Sealed both ways: what was asked for, and what became of it."""
    place = laid_out(box.root / "keys")
    box.start(
        *_keys(box, private),
        *("--encrypt-dir", str(place / making.MESSAGE)),
        *("--request-signatures-dir", str(place / making.SIGNING)),
    )
    client = place / making.CLIENT
    sealing = making.sealing_key(client / making.SEALING_KEY)
    signing = making.signing_key(client / making.SIGNING_KEY)
    message = box.message("print('private')")
    box.publish_message(envelope(message, sealing, signing))
    status, told, _ = _watch(box, str(message["experiment"]["key"]), sealed=True)
    assert (status, _states(told)) == (0, ["Prestart", "Started", "Success"])
    assert "private" in _lines(told)


def test_a_request_that_cannot_run_is_told_to_its_sender(box: Box) -> None:
    """Response queues are where a sender learns that a field is wrong."""
    box.start("--clear-text-responses")
    message = box.message("print('never')")
    message["experiment"]["resources_needed"]["gpuMem"] = "plenty"
    box.publish(message)
    until(lambda: _has(box, b"Failed") or None, "the report", box.log)
    _, told, _ = _watch(box, "--peek")
    [failed] = [one["progress"] for one in told if "progress" in one]
    assert "gpuMem" in failed["error"]["msg"]


def test_no_reports_without_an_option_or_a_response_queue(box: Box) -> None:
    """Nothing is made for them, and a queue that is missing is said once."""
    daemon = box.start()
    box.outcome(box.submit("print('silent')"))
    box.drain(daemon)
    assert list((box.queues / RESPONSE).iterdir()) == []
    (box.queues / RESPONSE).rmdir()
    daemon = box.start("--clear-text-responses")
    for _ in range(2):
        box.outcome(box.submit("print('nobody listens')"))
    box.drain(daemon)
    assert not (box.queues / RESPONSE).exists()
    assert box.log().count("no reports are sent") == 1


def test_secrets_are_masked_and_others_reports_left(box: Box, private: RSAPrivateKey) -> None:
    """A secret of the request is known also where a line shows it; another key opens nothing."""
    box.start(*_keys(box, private))
    message = box.message("import os\nprint('it is', os.environ['MY_PASSWORD'])")
    message["config"]["env"] = {"MY_PASSWORD": "hunter2hunter2"}
    key = box.publish(message)
    box.outcome(key)
    until(lambda: _count(box) >= 7 or None, "all reports", box.log)
    before = _count(box)
    status, told, err = _watch(box, "--peek")
    assert (status, told) == (0, [])
    assert f"left there, {before}: it is sealed: name the key" in err
    assert not any(one.read_bytes().startswith(b"{") for one in (box.queues / RESPONSE).iterdir())
    _, told, _ = _watch(box, key, sealed=True)
    assert "it is ***" in _lines(told)
    assert "hunter2" not in json.dumps(told)


def _count(box: Box) -> int:
    return len(list((box.queues / RESPONSE).glob("[0-9]*")))


def test_the_response_queue_is_made_on_demand_only(box: Box) -> None:
    """``watch --make`` makes it; without it the command says what to do."""
    (box.queues / RESPONSE).rmdir()
    status, _, err = _watch(box, "--peek")
    assert status == 1
    assert "there is no response queue local_test_response" in err
    assert "--make" in err
    status, _, _ = _watch(box, "--peek", "--make")
    assert (status, (box.queues / RESPONSE).is_dir()) == (0, True)


def test_keys_of_readers_lie_where_messages_write_nothing(box: Box) -> None:
    """An experiment could make itself the one who reads everybody's reports."""
    within = box.root / "store" / "response"
    within.mkdir()
    daemon = box.start("--response-signatures-dir", str(within))
    assert daemon.wait(PATIENCE) != 0
    assert f"the credential {within} lies inside --local-store-root" in box.log()


@on_every_broker
def test_e5_every_broker_carries_reports(pair: Pair, broker: str, private: RSAPrivateKey) -> None:
    """Made by ``watch --make``, sealed, and left alone by the daemon that takes from the queue.

    Protocol 9.11, E5: ten reports at least arrive, ``Started`` comes before ``Success``, and
    ``Failed`` is not seen. There it is RabbitMQ alone, and a key of the response queue's full name.
    """
    box, account = pair.box, pair.account
    scheme = "" if broker == "local" else f"{broker}://"
    queue = f"{scheme}{account.queue}"
    certs = ["--certs-dir", str(pair.certs)]
    status, told, err = _watch(
        box, "--make", "--peek", *certs, queue=queue, variables=account.variables
    )
    assert (status, told) == (0, []), err
    pair.start("state", *_keys(box, private, f"{account.queue.removesuffix('_sub')}_response"))
    key = pair.send("for number in range(8):\n    print('line', number)")
    status, told, err = _watch(
        box, key, *certs, sealed=True, queue=queue, variables=account.variables
    )
    is_ordered = broker in {"local", "rabbitmq"}
    states, lines = _states(told), _lines(told)
    wanted = ["Prestart", "Started", "Success"]
    assert (status, states if is_ordered else sorted(states)) == (0, wanted), err
    assert set(lines) == {"start", *(f"line {number}" for number in range(8)), "stop"}
    assert len(told) >= 10
    assert "response queue" not in box.log()
