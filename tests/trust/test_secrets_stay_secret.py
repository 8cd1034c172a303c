"""What is secret of credentials and messages is in nothing that a real daemon shows or keeps."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.box import Box, until
from tests.servers.web import Reply, WebServer

PASSWORD = "hop3fully/h1dden+word"
QUOTED = urllib.parse.quote(PASSWORD, safe="")
AWS_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYplanted00"
PRIVATE = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcplanted"
STORE_SECRET = "store/secret+of+the+message"
TOKEN = "variable-of-the-message-that-is-secret"
#: A port on which nobody listens.
NOBODY = "127.0.0.1:1"


def looks(secret: str) -> list[str]:
    """Return the forms in which a secret might slip out."""
    encoded = base64.b64encode(secret.encode()).decode().rstrip("=")
    quoted = urllib.parse.quote(secret, safe="")
    return [secret, quoted, encoded, json.dumps(secret)[1:-1]]


def check_silent(box: Box, secrets: tuple[str, ...], *, further: str = "") -> None:
    """Look for the secrets in the log, in all files of the state, and in what commands say."""
    shown = {"further": further, "log": box.log()}
    for words in (["status"], ["status", "--json"], ["config"], ["queue", "dead", "local_test"]):
        command = [sys.executable, "-m", "runner", *words]
        command += ["--state-dir", str(box.state)] if words[0] == "status" else []
        command += ["--queue-root", str(box.queues)] if words[0] == "queue" else []
        environ = {**box.environ(), "AMQP_URL": f"amqp://lab:{QUOTED}@{NOBODY}/"}
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environ)
        shown[" ".join(words)] = done.stdout + done.stderr
    for folder, _, names in os.walk(box.state):
        for name in names:
            path = Path(folder, name)
            if path.is_file() and "environments" not in path.parts:
                shown[str(path)] = path.read_bytes().decode("utf-8", "replace")
    found = {
        (place, look)
        for place, text in shown.items()
        for secret in secrets
        for look in looks(secret)
        if look in text
    }
    assert found == set()


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A machine of its own."""
    with Box(tmp_path) as box:
        yield box


def plant(box: Box) -> Path:
    """Write credentials of each kind, each of which has something wrong with it."""
    certs = box.root / "certs"
    keys = f"aws_access_key_id=x\naws_secret_access_key={AWS_SECRET}"
    files = {
        "aws/torn/credentials": f"[default]\naws_access_key_id\naws_secret_access_key {AWS_SECRET}",
        "aws/torn/config": "[default]\nregion=us-west-2\n",
        "aws/aimless/credentials": f"[default]\n{keys}",
        "google/torn.json": f'{{"private_key": "-----BEGIN PRIVATE KEY-----\\n{PRIVATE}\\n',
        "google/odd.json": json.dumps({"type": "user", "private_key": PRIVATE, "project_id": "p"}),
        "rabbitmq/far/broker.url": f"amqp://lab:{QUOTED}@{NOBODY}/%2F\n",
        "rabbitmq/torn/broker.url": f"amqp://lab:{PASSWORD}@{NOBODY}:port/%2F\n",
    }
    for name, text in files.items():
        path = certs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)
    for folder in (certs, *certs.rglob("*")):
        if folder.is_dir():
            folder.chmod(0o700)
    return certs


@pytest.mark.parametrize("form", ["json", "text"])
def test_bad_credentials_are_named_and_not_shown(box: Box, form: str) -> None:
    """Each is complained of, by its place; nothing of what it holds is in any channel."""
    certs = plant(box)
    variables = {"AMQP_URL": f"amqp://lab:{QUOTED}@{NOBODY}/"}
    box.start("--certs-dir", str(certs), "--log-format", form, variables=variables)
    words = ("aws/torn", "aws/aimless", "google/torn.json", "odd.json", "rabbitmq/torn", NOBODY)
    until(lambda: all(word in box.log() for word in words) or None, "complaints", box.log)
    key = box.submit("print('works')")
    assert box.outcome(key)["cause"] == "completed"
    check_silent(box, (PASSWORD, AWS_SECRET, PRIVATE))
    assert box.complaints() == []


def test_what_a_message_brings_is_not_shown(box: Box) -> None:
    """Keys of a store and secret variables are in no log, record, reason or result."""
    box.start()
    message = box.message("import os\nprint('has', bool(os.environ['SECRET_TOKEN']))")
    message["config"]["env"] = {"SECRET_TOKEN": TOKEN}
    web = WebServer(lambda _: Reply(403))
    with web.serving():
        message["experiment"]["artifacts"]["data"] = {
            "qualified": f"s3://127.0.0.1:{web.port}/bucket/data.tar",
            "bucket": "bucket",
            "key": "data.tar",
            "mutable": True,
            "unpack": True,
            "credentials": {"aws": {"access_key": "lab", "secret_key": STORE_SECRET}},
        }
        key = box.publish(message)
        assert box.outcome(key)["cause"] == "completed"
    assert web.asked
    broken = box.message("print('never')")
    broken["config"]["env"] = {"A=B": TOKEN}
    reason = box.reason(box.publish_message(broken))
    assert "config.env" in reason
    # Until its end the record is the message as it came: encoded, and closed to others.
    box.wait_until_clean()
    said = reason + str(box.claim(key)) + box.output(key)
    check_silent(box, (STORE_SECRET, TOKEN), further=said)


def test_an_uncaught_error_is_logged_without_its_secrets(tmp_path: Path) -> None:
    """Python would print the address as it is."""
    code = (
        "from runner import log; from runner.redaction import Redactor; import threading\n"
        "redactor = Redactor(); redactor.add('hop3fully-hidden')\n"
        "log.configure(level='info', form='json', redactor=redactor); log.catch_uncaught()\n"
        "def fail(): raise RuntimeError('amqp://u:hop3fully-hidden@host and hop3fully-hidden')\n"
        "thread = threading.Thread(target=fail); thread.start(); thread.join()\n"
        "class Odd:\n    def __del__(self): fail()\n"
        "odd = Odd(); del odd\n"
        "fail()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=tmp_path,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert done.returncode == 1
    assert [line["event"] for line in lines] == [
        "a defect of the runner ends a thread",
        "a defect of the runner was passed over",
        "a defect of the runner ends it",
    ]
    assert all("RuntimeError" in line["exception"] for line in lines)
    assert "hop3fully-hidden" not in done.stderr


def test_the_next_daemon_masks_what_a_killed_one_knew(box: Box) -> None:
    """The secrets of a run that it adopts are in the message, and the message is in the record."""
    killed, go = box.start(), box.root / "go"
    waits = "while not os.path.exists(sys.argv[1]): time.sleep(0.02)\n"
    script = f"import os, sys, time\nprint('begun', flush=True)\n{waits}"
    message = box.message(
        script + "print('it is', os.environ['MY_TOKEN'], flush=True)\nsys.exit(3)", args=[str(go)]
    )
    message["config"]["env"] = {"MY_TOKEN": TOKEN}
    key = box.publish(message)
    until(lambda: "begun" in box.live_output() or None, "the run", box.log)
    box.kill(killed)
    web = WebServer(lambda _: Reply(204))

    def heard() -> str:
        return "".join(asked.body.decode() for asked in web.asked)

    with web.serving():
        box.start("--webhook", f"{web.url}/hook")
        until(lambda: '"adopted"' in box.log() or None, "the next daemon", box.log)
        go.touch()
        assert box.outcome(key)["cause"] == "exit"
        until(lambda: "it is ***" in heard() or None, "the news", box.log)
    box.wait_until_clean()
    assert f"it is {TOKEN}" in box.output(key)
    check_silent(box, (TOKEN,), further=heard())
