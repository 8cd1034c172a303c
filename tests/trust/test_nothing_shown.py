"""Secrets of every kind, and every channel by which text leaves a real daemon."""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.box import Box, Json, until
from tests.servers.web import Asked, Reply, WebServer

#: Each has something in it that quoting or escaping changes.
SECRETS = {
    "message variable": "hf+Var/of~the&message1",
    "message password": "Sch\u00f6nes Passwort'9",
    "message address": "p4ss-in/the=address",
    "artifact access key": "ACCESSKEYOFTHEARTIFACT7",
    "artifact secret key": "secret/key+of=the artifact",
    "artifact session token": "session//token++of==artifact",
    "artifact signature": "5ignature0f7he4ddress",
    "storage secret key": "secret/key+of=the storage",
    "message private key": "MIIEkeyOfTheMessage+line/one",
    "requirement password": "requirement-p4ssword",
    "daemon variable": "daemon+Variable/9",
    "webhook path": "webhook-path-n0b0dy-knows",
    "webhook secret": "signs/what+the=webhook gets",
    "slack hook": "T00000000/B00000000/hookhookhookhook",
    "index password": "index/p4ssword",
    "amqp password": "amqp:p4ssword/x",
    "aws secret key": "aws/secret+key=of-the-daemon",
    "google private key": "MIIEvgIBADANBgkqhkiG9w0BAQEFAASC",
    "store private key": "MIIBoldOneOfTheOptionsKeyFile0123",
    "web token": "token-of-the-page-0123",
}
#: Of a later message: what comes before it cannot be masked for it.
ELSEWHERE = {"requirement password"}
#: Written by the experiment on its own, in each look; the half of each is a string of its own.
SCRIPT = r"""
import base64, json, os, sys, time, urllib.parse
for number, halves in enumerate(json.loads(base64.b64decode(sys.argv[1]))):
    text = "".join(halves)
    print(f"{number} plain {text} quoted {urllib.parse.quote(text, safe='')}", flush=True)
    print(f"{number} repr {text!r} form {urllib.parse.quote_plus(text)}")
    print(f"{number} base64 {base64.b64encode(('user:' + text).encode()).decode()}")
    print(json.dumps({"group": {f"m{number}": text, "inner": json.dumps({"x": text})}}))
    sys.stdout.write("progress " + text[:3]); sys.stdout.flush()
    sys.stdout.write(text[3:] + "\r"); sys.stdout.flush()
print(os.environ["HF_TOKEN"], file=sys.stderr)
print("\nwaits", flush=True)
while not os.path.exists(sys.argv[2]):
    time.sleep(0.02)
raise RuntimeError(os.environ["HF_TOKEN"])
"""


def pem(line: str) -> str:
    """Return a private key of which one line is known."""
    return f"-----BEGIN PRIVATE KEY-----\n{line}\nabcd\n-----END PRIVATE KEY-----\n"


def looks(secret: str) -> set[str]:
    """Return the forms in which a secret might slip out."""
    inner = base64.b64encode(("user:" + secret).encode()).decode().rstrip("=")
    return {
        secret,
        urllib.parse.quote(secret, safe=""),
        urllib.parse.quote_plus(secret),
        json.dumps(secret)[1:-1],
        repr(secret)[1:-1],
        base64.b64encode(secret.encode()).decode().rstrip("="),
        inner[8:-2],
    }


def _signed(place: str) -> Json:
    """Return an artifact whose address opens it."""
    qualified = f"{place}?X-Amz-Signature={SECRETS['artifact signature']}"
    return {"mutable": False, "unpack": False, "key": "data", "qualified": qualified}


class Scene:
    """A daemon with a secret of each kind, three experiments, and who hears of them."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.web = WebServer(self._answer)
        self.shown: dict[str, str] = {}
        self._go = box.root / "go"

    def _answer(self, asked: Asked) -> Reply:
        if "/hook" in asked.target or "/services" in asked.target:
            return Reply(200, body=b"ok")
        return Reply(404 if "/simple" in asked.target else 403)

    def play(self) -> None:
        """Start the daemon, run the experiments, and gather all that is shown."""
        box = self.box
        box.start(*self._options(), variables=self._variables())
        key = box.publish(self._message())
        until(lambda: "waits" in box.live_output() or None, "the experiment", box.log, 30)
        self._listen_in(key)
        self._look_at_processes()
        self._go.touch()
        assert box.outcome(key)["cause"] == "exit"
        lacking = box.message("print('never')")
        password = urllib.parse.quote(SECRETS["requirement password"], safe="")
        place = f"http://u:{password}@127.0.0.1:{self.web.port}/simple/gone-1.0.tar.gz"
        lacking["experiment"]["pythonenv"] = [f"gone @ {place}", "absent==1.0"]
        without = box.publish(lacking)
        assert box.outcome(without)["cause"] in {"requirements", "host-fault"}
        missing = box.message("print('never')")
        place = f"http://127.0.0.1:{self.web.port}/gone"
        missing["experiment"]["artifacts"]["web"] = _signed(place)
        missed = box.publish(missing)
        assert box.outcome(missed)["cause"] == "artifact-missing"
        broken = self._message()
        broken["experiment"]["max_duration"] = {"password": SECRETS["message password"]}
        broken["experiment"]["key"] = "broken"
        self.shown["the reason of a dead letter"] = box.reason(box.publish_message(broken))
        self.shown["a store's record of who runs it"] = json.dumps(box.claim(key))
        self.shown["the metadata"] = self._metadata()
        self.shown["our lines of outputs"] = box.output(without) + box.output(missed)
        self.stored = box.output(key)
        self._ask_afterwards(key)

    def _options(self) -> list[str]:
        box, port, secret = self.box, self.web.port, SECRETS["aws secret key"]
        certs, store_key = box.root / "certs", box.root / "keys" / "store.json"
        key = {"type": "service_account", "project_id": "p", "client_email": "x@y.z"}
        key |= {"token_uri": f"http://127.0.0.1:{port}/token"}
        aws = f"[default]\naws_access_key_id=x\naws_secret_access_key={secret}\n"
        quoted = urllib.parse.quote(SECRETS["amqp password"], safe="")
        files = {
            certs / "aws/far/credentials": aws,
            certs / "aws/far/config": "[default]\nregion=us-west-2\n",
            certs / "google/far.json": json.dumps(
                {**key, "private_key": pem(SECRETS["google private key"])}
            ),
            certs / "rabbitmq/far/broker.url": f"amqp://lab:{quoted}@127.0.0.1:1/%2F\n",
            store_key: json.dumps({**key, "private_key": pem(SECRETS["store private key"])}),
            box.root / "keys/hook": f"http://127.0.0.1:{port}/hook/" + SECRETS["webhook path"],
            box.root / "keys/webhook": SECRETS["webhook secret"],
            box.root / "keys/slack": f"http://127.0.0.1:{port}/services/" + SECRETS["slack hook"],
            box.root / "keys/token": SECRETS["web token"],
        }
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o600)
        return [
            *("--certs-dir", str(certs), "--google-store-credentials", str(store_key)),
            *("--webhook-file", str(box.root / "keys/hook")),
            *("--webhook-secret-file", str(box.root / "keys/webhook")),
            *("--slack-hook-file", str(box.root / "keys/slack")),
            *("--web-token-file", str(box.root / "keys/token")),
            *("--s3-http-hosts", "127.0.0.1", "--log-level", "debug"),
        ]

    def _variables(self) -> dict[str, str]:
        quoted = urllib.parse.quote(SECRETS["amqp password"], safe="")
        index = urllib.parse.quote(SECRETS["index password"], safe="")
        return {
            # On a command line everybody on the machine reads it.
            "STUDIO_RUNNER_INDEX_URL": f"http://u:{index}@127.0.0.1:{self.web.port}/simple",
            "AMQP_URL": f"amqp://lab:{quoted}@127.0.0.1:1/",
            "DAEMON_API_TOKEN": SECRETS["daemon variable"],
        }

    def _message(self) -> Json:
        texts = [[text[:5], text[5:]] for kind, text in SECRETS.items() if kind not in ELSEWHERE]
        packed = base64.b64encode(json.dumps(texts).encode()).decode()
        message = self.box.message(SCRIPT, args=[packed, str(self._go)])
        password = urllib.parse.quote(SECRETS["message address"], safe="")
        message["config"]["env"] = {
            "HF_TOKEN": SECRETS["message variable"],
            "DB_PASSWORD": SECRETS["message password"],
            "DATABASE_URL": f"postgres://u:{password}@db/x",
            "SSH_PRIVATE_KEY": pem(SECRETS["message private key"]),
            "DATA": f"https://far/data?X-Amz-Signature={SECRETS['artifact signature']}",
            "TOKEN_COUNT": "1",
            "USE_TOKEN": "true",
        }
        message["config"]["storage"]["credentials"] = {
            "aws": {"access_key": "x", "secret_access_key": SECRETS["storage secret key"]}
        }
        place = f"127.0.0.1:{self.web.port}/bucket/data.tar"
        keys = {
            "access_key": SECRETS["artifact access key"],
            "secret_access_key": SECRETS["artifact secret key"],
            "session_token": SECRETS["artifact session token"],
        }
        common = {"mutable": True, "unpack": True, "bucket": "bucket", "key": "data.tar"}
        message["experiment"]["artifacts"] |= {
            "far": {**common, "qualified": f"s3://{place}", "credentials": {"aws": keys}},
        }
        return message

    def _listen_in(self, key: str) -> None:
        """While the experiment runs."""
        shown, state = self.shown, ["--state-dir", str(self.box.state)]
        shown["the live output"] = self._said("logs", key, *state)
        assert "0 plain ***" in shown["the live output"]
        shown["status"] = self._said("status", *state)
        shown["status as JSON"] = self._said("status", "--json", *state)
        for name in ("/status.json", "/metrics", "/healthz"):
            shown[f"the page {name}"] = self._page(name)
        for path in (self.box.state / "runs").glob("*/supervisor.log"):
            shown["the supervisor's log"] = path.read_text()

    def _look_at_processes(self) -> None:
        """What other users of the machine see of every process of ours, and what ours inherit."""
        commands = variables = ""
        for pid in self.box.processes():
            with contextlib.suppress(OSError):
                command = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace")
                commands += command
                if "supervisor/main.py" in command:
                    variables += Path(f"/proc/{pid}/environ").read_text()
        assert "STUDIO_RUNNER" in variables
        self.shown["command lines"] = commands.replace("\0", " ")
        self.shown["a supervisor's variables"] = variables

    def _ask_afterwards(self, key: str) -> None:
        box, shown = self.box, self.shown
        state, store = ["--state-dir", str(box.state)], ["--store", str(box.root / "store")]
        shown["config"] = self._said("config", *self._options())
        shown["config as JSON"] = self._said("config", "--json", *self._options())
        shown["doctor"] = self._said("doctor", *self._options(), *state)
        shown["status of one"] = self._said("status", key, *state, *store)
        queues = ("local_test", "--queue-root", str(box.queues))
        shown["queue dead"] = self._said("queue", "dead", *queues)
        shown["what ended lately"] = (box.state / "recent.jsonl").read_text()
        told = [asked for asked in self.web.asked if "/hook" in asked.target]
        assert told
        shown["the webhook"] = "".join(asked.body.decode() + str(asked.headers) for asked in told)
        told = [asked for asked in self.web.asked if "/services" in asked.target]
        assert told
        shown["Slack"] = "".join(asked.body.decode() for asked in told)
        shown["the log"] = box.log()

    def _metadata(self) -> str:
        files = list(self.box.root.joinpath("store").rglob("scrape-host-*"))
        assert files
        return "".join(file.read_text() for file in files)

    def _page(self, name: str) -> str:
        lines = map(json.loads, self.box.log().splitlines())
        url = next(line["url"] for line in lines if "listening" in line["event"])
        headers = {"Authorization": f"Bearer {SECRETS['web token']}"}
        asked = urllib.request.Request(url + name, headers=headers)  # noqa: S310 - our own page
        with urllib.request.urlopen(asked) as answer:  # noqa: S310 - likewise
            return str(answer.read().decode())

    def _said(self, *words: str) -> str:
        command = [sys.executable, "-m", "runner", *words]
        environ = {**self.box.environ(), **self._variables()}
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environ)
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One machine, played once."""
    with Box(tmp_path_factory.mktemp("box")) as box:
        scene = Scene(box)
        with scene.web.serving():
            scene.play()
            yield scene


#: What a scene shows; a name that it does not have is no channel any more.
CHANNELS = (
    *("the live output", "status", "status as JSON", "the page /status.json", "the page /metrics"),
    *("the page /healthz", "the supervisor's log", "command lines", "a supervisor's variables"),
    *("the reason of a dead letter", "a store's record of who runs it", "the metadata"),
    *("our lines of outputs", "config", "config as JSON", "doctor", "status of one"),
    *("queue dead", "what ended lately", "the webhook", "Slack", "the log"),
)


@pytest.mark.parametrize("channel", CHANNELS)
def test_no_channel_shows_a_secret(scene: Scene, channel: str) -> None:
    """None of any kind, in none of its looks, though the experiment prints them all."""
    text = scene.shown[channel]
    found = {(kind, look) for kind, one in SECRETS.items() for look in looks(one) if look in text}
    assert found == set()


def test_every_channel_is_looked_at(scene: Scene) -> None:
    """And those that tell anything told of the experiment."""
    assert set(scene.shown) == set(CHANNELS)
    assert all("***" in scene.shown[name] for name in ("the metadata", "the webhook", "Slack"))
    assert scene.box.complaints() == []


def test_an_output_is_its_owners(scene: Scene) -> None:
    """It is stored byte for byte, at the place that the message names with its own keys."""
    for kind in ("message variable", "artifact secret key"):
        assert f"plain {SECRETS[kind]} quoted" in scene.stored


def test_ordinary_values_stay(scene: Scene) -> None:
    """``TOKEN_COUNT=1`` and ``USE_TOKEN=true`` blacken nothing."""
    assert "waits" in scene.shown["the live output"]
    assert '"exit_code": 1' in scene.shown["what ended lately"]
