"""The real StudioML client over every queue and store that it shares with the runner."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from runner.privacy import making
from tests.acceptance.box import Box, Json, until
from tests.acceptance.studio_client import StudioClient
from tests.privacy.sealing import laid_out
from tests.servers.moto_sqs import Sqs
from tests.servers.rabbitmq import RabbitServer
from tests.servers.s3 import S3Server
from tests.servers.web import Reply, WebServer

pytestmark = [
    pytest.mark.service("studioml"),
    pytest.mark.service("pypi"),
    pytest.mark.timeout(600),
]

#: Of the queues whose clients seal and sign.
_SEALED = "sqs_sealed"
#: The first experiment waits for all that is installed beside the client.
_BUILDING = 300.0
_TRAIN = """
import os, sys
import numpy
print(sys.argv[1:], numpy.__name__, os.environ["GREETING"])
for label in ("retval", "modeldir"):
    with open(f"../{label}/{label}", "w") as file:
        file.write("what " + label + " holds")
"""
_WAIT = """
import time
print("begun", flush=True)
time.sleep(600)
"""
_FAIL = """
import sys
print("epoch 1", flush=True)
sys.exit("the loss is no number")
"""


@dataclass(frozen=True)
class Lab:
    """A daemon, and the directory that it watches for credentials."""

    box: Box
    certs: Path
    #: The part of the keys that senders have.
    keys: Path

    def trust(self, name: str, files: Mapping[str, str]) -> None:
        """Put a credential down, whole at once."""
        draft = self.box.root / f"{name}.draft"
        draft.mkdir(mode=0o700)
        for file, text in files.items():
            (draft / file).touch(0o600)
            (draft / file).write_text(text)
        draft.rename(self.certs / name)

    def ended(self, key: str) -> Json:
        """Wait until an experiment is settled, and return how."""

        def ending() -> Json | None:
            return next((one for one in self.box.settled() if one["key"] == key), None)

        return until(ending, f"{key} settled", self.box.log, _BUILDING)

    def begun(self) -> None:
        """Wait until an experiment has said so."""
        seen = lambda: "begun" in self.box.live_output() or None  # noqa: E731 - one line
        until(seen, "a run", self.box.log, _BUILDING)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One daemon for all: what the client's environment holds is installed once."""
    root = tmp_path_factory.mktemp("lab")
    keys, certs = laid_out(root / "keys", _SEALED), root / "certs"
    certs.mkdir(mode=0o700)
    with Box(root) as box:
        box.start(
            *("--certs-dir", str(certs), "--queue-refresh", "1s", "--default-python", ""),
            *("--encrypt-dir", str(keys / making.MESSAGE), "--clear-text-messages"),
            *("--request-signatures-dir", str(keys / making.SIGNING)),
            *("--http-private-hosts", "127.0.0.1"),
            *("--queue-root", str(root / "local" / "home" / ".studioml" / "queue")),
        )
        yield Lab(box, certs, keys / making.CLIENT)


@pytest.fixture(scope="module")
def local_user(lab: Lab) -> StudioClient:
    """Return a user whose queue and store are directories."""
    store = {"type": "local", "endpoint": str(lab.box.root / "store")}
    return StudioClient(lab.box.root / "local", "local_mine", store=store)


@pytest.fixture(scope="module")
def rabbit_user(lab: Lab, rabbit_server: RabbitServer, seaweed_server: S3Server) -> StudioClient:
    """Return a user of a broker and of an S3 server."""
    lab.trust("rabbit", {"url": f"{rabbit_server.url}\n{rabbit_server.management_url}\n"})
    return StudioClient(
        lab.box.root / "rabbit",
        f"rmq_{uuid.uuid4().hex[:8]}",
        store=_s3(seaweed_server),
        queues={"rmq": f"{rabbit_server.url}?connection_attempts=3&socket_timeout=5"},
    )


@pytest.fixture(scope="module")
def sealed_user(lab: Lab, moto_server: S3Server) -> StudioClient:
    """Return a user who seals and signs, and whose queue is the one that the keys are for."""
    sqs = Sqs(moto_server.endpoint)
    keys = ("AKIATESTTESTTEST0044", f"a-secret-{uuid.uuid4().hex}", sqs.credential.region)
    profile = "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n".format(*keys)
    config = f"[default]\nregion = {keys[-1]}\nendpoint_url = {sqs.endpoint}\n"
    lab.trust("amazon", {"credentials": profile, "config": config})
    aws = dict(zip(("access_key", "secret_access_key", "region"), keys, strict=True))
    return StudioClient(
        lab.box.root / "amazon",
        _SEALED,
        store={"type": "s3", "endpoint": sqs.endpoint, "credentials": {"aws": aws}},
        queues={"sqs": {"credentials": {"aws": aws}}},
        variables={"AWS_ENDPOINT_URL": sqs.endpoint},
        more=f"public_key_path: {lab.keys / making.SEALING_KEY}\n"
        f"signing_key_path: {lab.keys / making.SIGNING_KEY}\n",
    )


class ClientStory:
    """What a user of the client does, whichever queue and store it is."""

    @pytest.fixture
    def client(self) -> StudioClient:
        """Return a user."""
        raise NotImplementedError

    def test_what_is_submitted_is_run_and_read_back(self, lab: Lab, client: StudioClient) -> None:
        """Arguments, frozen requirements and variables arrive, results in the client's forms."""
        client.write("train.py", _TRAIN)
        key = client.submit("train.py", "--alpha=1", "two words", key=_key())
        assert lab.ended(key)["cause"] == "completed"
        assert "['--alpha=1', 'two words'] numpy hello\n" in client.read(key, "output")
        assert client.read(key, "retval") == "what retval holds"
        model = f"open(os.path.join({_fetched('modeldir')}, 'modeldir')).read()"
        assert client.ask(key, model) == "what modeldir holds"
        assert client.read(key, "_metrics").startswith("time: ")
        seen = "[experiment.status, experiment.time_added, experiment.time_started"
        status, *times = client.ask(key, f"{seen}, experiment.time_finished]")
        assert status == "finished"
        assert times == sorted(times)

    def test_what_is_stopped_ends(self, lab: Lab, client: StudioClient) -> None:
        """``studio-runs stop``: looked for every 10 s, and nothing of the run goes on."""
        client.write("wait.py", _WAIT)
        key = client.submit("wait.py", key=_key())
        lab.begun()
        client.say("stop", key)
        ended = lab.ended(key)
        assert (ended["cause"], ended["detail"]) == ("cancelled", "its status was set to stopped")
        assert "begun\n" in client.read(key, "output")
        lab.box.wait_until_clean()

    def test_what_failed_says_so_where_the_client_looks(
        self, lab: Lab, client: StudioClient
    ) -> None:
        """The client knows no failure: its word is kept, and ours stands beside it."""
        client.write("fail.py", _FAIL)
        key = client.submit("fail.py", key=_key())
        assert lab.ended(key)["cause"] == "exit"
        assert client.status(key) == "finished"
        said = client.read(key, "output").splitlines()
        assert said[:2] == ["epoch 1", "the loss is no number"]
        assert said[2].startswith("studio-runner: exit: ")
        document = client.ask(key, f"database._get('experiments/{key}')")
        assert document["runner"]["cause"] == "exit"
        assert document["runner"]["exit_code"] == 1
        assert document["runner"]["last_lines"] == said[-len(document["runner"]["last_lines"]) :]
        client.say("stop", key)
        assert client.ask(key, f"database._get('experiments/{key}')")["runner"]["cause"] == "exit"


class TestLocal(ClientStory):
    """Over a directory of this machine."""

    @pytest.fixture
    def client(self, local_user: StudioClient) -> StudioClient:
        """Return the user."""
        return local_user


_LOOK = """
import json, os, sys
found = {}
for label in ("data", "notes", "page", "before", "kept"):
    place = os.path.join("..", label)
    found[label] = {name: open(os.path.join(place, name)).read() for name in os.listdir(place)}
print(json.dumps([sys.argv[1:], __name__, found]))
with open("../kept/counted", "a") as file:
    file.write("x")
"""
_GRID = """
rate = 0.0
depth = 1
print("made with", rate, depth)
"""


class TestWhatIsTaken:
    """Artifacts that the client takes, by each of its options, and the forms of a script."""

    def test_everything_captured_lies_beside_the_script(
        self, lab: Lab, local_user: StudioClient
    ) -> None:
        """Files, directories and URLs once, a directory again and again, and another's result."""
        user = local_user
        user.write("train.py", _TRAIN)
        first = user.submit("train.py", key=_key())
        lab.ended(first)
        user.write("data.csv", "1,2")
        user.write("texts/a.txt", "note a")
        user.write("pkg/__init__.py", "")
        user.write("pkg/look.py", _LOOK)
        with WebServer(lambda _: Reply(body=b"the page")).serving() as web:
            key = user.submit(
                f"--capture-once={user.project}/data.csv:data",
                f"--capture-once={user.project}/texts:notes",
                f"--capture-once={web.url}/page.txt:page",
                f"--reuse={first}/modeldir:before",
                f"--capture={user.project}/nowhere:kept",
                *("pkg::look", "one two"),
                key=_key(),
            )
            assert lab.ended(key)["cause"] == "completed", user.read(key, "output")
        (line,) = (line for line in user.read(key, "output").splitlines() if line[:1] == "[")
        assert json.loads(line) == [
            ["one two"],
            "__main__",
            {
                "data": {"data.csv": "1,2"},
                "notes": {"a.txt": "note a"},
                "page": {"page.txt": "the page"},
                "before": {"modeldir": "what modeldir holds"},
                "kept": {},
            },
        ]
        place = lab.box.root / "store/storagelocal-mine/metadata"
        frozen = [json.loads(file.read_text())["studioml"] for file in place.iterdir()]
        (ours,) = (one for one in frozen if one["experiment"]["key"] == key)
        assert any(line.startswith("numpy==") for line in ours["pip_freeze"])
        assert ours["artifacts"]["page"] == f"{web.url}/page.txt"
        counted = f"open(os.path.join({_fetched('kept')}, 'counted')).read()"
        assert user.ask(key, counted) == "x"

    def test_each_of_a_grid_has_its_own_values(self, lab: Lab, local_user: StudioClient) -> None:
        """The client writes them into copies of the script: workspaces that may change."""
        local_user.write("grid.py", _GRID)
        words = ("--hyperparam=rate=0.5,0.25", "--hyperparam=depth=2,3", "grid.py")
        base = local_user.submit(*words, key=_key())

        def all_four() -> list[str] | None:
            keys = [one["key"] for one in lab.box.settled() if one["key"].startswith(base)]
            return keys if len(keys) == 4 else None

        keys = until(all_four, "four experiments", lab.box.log, _BUILDING)
        each = "[database.get_artifact(database.get_experiment(one).artifacts['output'])"
        paths = local_user.ask(keys[0], f"{each} for one in {keys}]")
        made = [Path(path).read_text().rpartition("made with ")[2].strip() for path in paths]
        assert sorted(made) == ["0.25 2.0", "0.25 3.0", "0.5 2.0", "0.5 3.0"]


@pytest.mark.service("rabbitmq")
@pytest.mark.service("s3")
class TestRabbitMq(ClientStory):
    """Over RabbitMQ and S3."""

    @pytest.fixture
    def client(self, rabbit_user: StudioClient) -> StudioClient:
        """Return the user."""
        return rabbit_user


@pytest.mark.service("sqs")
class TestSealedOverSqs(ClientStory):
    """Over SQS and S3, sealed and signed by the client's own code."""

    @pytest.fixture
    def client(self, sealed_user: StudioClient) -> StudioClient:
        """Return the user."""
        return sealed_user

    @pytest.mark.service("studioml-44")
    def test_fifty_results_come_back(self, lab: Lab, client: StudioClient) -> None:
        """A round of the completion service: each result once, as its function returned it."""
        client.write("square.py", _SQUARE)
        client.write("round.py", _ROUND)
        done = client.python(
            "round.py", client.queue, str(_TASKS), old=True, patience=_ROUND_PATIENCE
        )
        assert done.returncode == 0, done.stderr + lab.box.log()[-4000:]
        assert sorted(map(int, done.stdout.split())) == [number**2 for number in range(_TASKS)]


_TASKS = 50
#: Far more than fifty imports of the client take, and the installing of its older release.
_ROUND_PATIENCE = 480.0
_SQUARE = """
def clientFunction(number, files):
    return number ** 2
"""
_ROUND = """
import os, sys
from studio.completion_service.completion_service import CompletionService
script = os.path.abspath("square.py")
told = {"queue": sys.argv[1], "cloud": None, "sleep_time": 3, "resources_needed": {"gpus": 0}}
stdout, sys.stdout = sys.stdout, sys.stderr
with CompletionService("round", cs_config=told) as service:
    for number in range(int(sys.argv[2])):
        service.submitTask(script, number)
    for _ in range(int(sys.argv[2])):
        print(service.getResultsWithTimeout(240)[1], file=stdout, flush=True)
    service.close(delete_queue=False)
    service.close = lambda *_: None  # the queue is still wanted
"""


def _s3(server: S3Server) -> Json:
    keys = server.admin
    aws = {
        "access_key": keys.access_key,
        "secret_access_key": keys.secret_key.reveal(),
        "region": "us-west-2",
    }
    return {"type": "s3", "endpoint": server.endpoint, "credentials": {"aws": aws}}


def _key() -> str:
    return f"real_{uuid.uuid4().hex[:12]}"


def _fetched(label: str) -> str:
    return f"database.get_artifact(experiment.artifacts[{label!r}])"
