"""What ``Client`` promises beyond what the commands do."""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from runner.cli import main
from runner.client import Client, Options, calling
from runner.client.access import Access
from runner.client.bucket import Bucket
from runner.client.listings import Listed
from runner.client.results import HISTORY, Reader
from runner.errors import Misconfigured, RunnerError, StoreUnavailable
from runner.lifecycle.history import Ending, History
from runner.queues.addresses import parse
from runner.settings import Settings
from tests.own_places import stand_in
from tests.servers.s3 import S3Server


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a script, in which somebody stands, with nothing of anybody else's."""
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    stand_in(tmp_path, monkeypatch)
    (project / "train.py").write_text("print('hello')\n")
    (project / "requirements.txt").write_text("")
    return project


async def bury(settings: Settings, why: str) -> None:
    """Do what a daemon does with a message that it refuses."""
    async with Access(settings, {}).queue(parse("local_default", option="queue")) as queue:
        delivery = await queue.receive()
        assert delivery is not None
        await delivery.bury(why)


def test_a_message_among_the_dead_letters_has_ended() -> None:
    """Nobody waits for ever for what no runner will run, whichever daemon refused it."""
    with Client() as client:
        one = client.submit("train.py", key="k1")
        assert one.result().state == "waiting"
        anyio.run(partial(bury, client.settings, "it asks for a moon"))
        result = one.wait(timeout=60)
    assert (result.cause, result.detail, result.good) == ("buried", "it asks for a moon", False)


def test_waiting_has_a_limit() -> None:
    """The error names one that has not ended, and why it waits where that is known."""
    with Client() as client:
        one = client.submit("train.py", key="k1")
        with pytest.raises(TimeoutError, match=r"^k1 has not ended$"):
            one.wait(timeout=0)
        client.settings.state_dir.mkdir(exist_ok=True)
        end = Ending("k1", "q", "", 1, "too-big", None, "too many", "released", time.time(), 0.1)
        History(client.settings.state_dir / HISTORY).add(end)
        with pytest.raises(
            TimeoutError, match=r"k1 has not ended: .* gave it back, too-big: too m"
        ):
            one.wait(timeout=0)
        with pytest.raises(TimeoutError, match=r"^2 experiments have not ended, such as s-1$"):
            client.map("train.py", {"x": [1, 2]}, sweep="s").wait(timeout=0)


@pytest.mark.anyio
async def test_it_works_where_a_loop_runs() -> None:
    """A notebook has one in its main thread."""
    with Client() as client:
        assert client.submit("train.py").result().state == "waiting"


def test_a_store_that_is_away_is_waited_for() -> None:
    """An outage of a minute does not end a wait of hours; one without end does."""

    class Away(Reader):
        left = 2

        def ended(self, listed: Sequence[Listed]) -> Sequence[Listed]:
            self.left -= 1
            if self.left >= 0:
                raise StoreUnavailable("the store is away")
            return super().ended(listed)

    with Client() as client:
        one = client.submit("train.py", key="k1")
        anyio.run(partial(bury, client.settings, "no"))
        client._reader = Away(client.shop)
        assert one.wait(timeout=60).cause == "buried"
        client._reader.left = 10**9
        with pytest.raises(TimeoutError):
            one.wait(timeout=0)


@pytest.mark.service("s3")
def test_what_was_just_submitted_is_known(
    seaweed_server: S3Server, seaweed_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a bucket without records there is nothing of it but the message, before it is claimed."""
    keys = seaweed_server.admin
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys.secret_key.reveal())
    with Client(store=str(Bucket(seaweed_server.endpoint, seaweed_bucket))) as client:
        one = client.submit("train.py", key="k1")
        assert one.result().state == "waiting"
        with pytest.raises(TimeoutError):
            one.wait(timeout=0)
        joined = client.submit("train.py", sweep="s")
        assert client.result(joined.key).state == "waiting"
        assert main(["results", joined.key, "--store", str(client.shop)]) == 0


def test_a_sweep_is_named_and_goes_on() -> None:
    """The second of the same name overwrites nothing of the first, whatever is queued between."""
    with Client() as client:
        first = client.map("train.py", {"x": range(8)}, sweep="s")
        assert list(first.keys) == [f"s-{number}" for number in range(1, 9)]
        assert client.submit("train.py", sweep="s").key == "s-9"
        second = client.map("train.py", {"x": [1, 2]}, sweep="s")
        assert list(second.keys) == ["s-10", "s-11"]
        assert [one.key for one in second] == ["s-10", "s-11"]
        assert len(client.sweep("s")) == 11
        assert client.result("s-9").state == "waiting"


def test_an_interrupted_sweep_goes_on_behind_nobodys_back(project: Path) -> None:
    """What was queued until then is the sweep, in a notebook whose client stays open, too."""
    queue = project.parent / "queues/local_default"

    def interrupt() -> None:
        while len(list(queue.glob("*-*"))) < 5:
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGINT)

    with Client() as client:
        beside = threading.Thread(target=interrupt)
        beside.start()
        with pytest.raises(KeyboardInterrupt) as interrupted:
            client.map("train.py", {"x": range(3000)}, sweep="s", most=3000)
        beside.join()
        assert "of 3000 were queued, up to s-" in interrupted.value.__notes__[0]
        client.submit("train.py", key="after")
        known = {one.key for one in client.sweep("s")}
    keys = {json.loads(file.read_bytes())["experiment"]["key"] for file in queue.glob("*-*")}
    assert 5 <= len(known) < 3000
    assert keys == known | {"after"}


def test_an_experiment_called_as_a_sweep_is_found() -> None:
    """Both names are free to choose."""
    with Client() as client:
        client.map("train.py", {"x": [1]}, sweep="same")
        client.submit("train.py", key="same")
        assert client.result("same").key == "same"


def test_a_closed_client_says_so() -> None:
    """Before it is opened, and after; results that are there stay readable."""
    client = Client()
    with pytest.raises(RunnerError, match="with Client"):
        client.submit("train.py")
    with client:
        result = client.submit("train.py", key="k1").result()
    assert result.output == ""
    with pytest.raises(RunnerError, match="with Client"):
        client.result("k1")


def test_functions_are_those_that_a_runner_finds(project: Path) -> None:
    """In a file that is packed, decorated or not."""
    body = "import functools\n\ndef made(f):\n    return functools.wraps(f)(lambda **k: f(**k))\n"
    (project / "somewhere.py").write_text(f"{body}\n@made\ndef decorated(x):\n    return x\n")
    (project / "ignored.py").write_text("def plain(x):\n    return x\n")
    (project / ".studioignore").write_text("ignored.py\n")
    found = {name: runpy.run_path(name) for name in ("somewhere.py", "ignored.py")}
    typed: dict[str, Any] = {}
    exec("def typed(x): return x", typed)  # noqa: S102 - as a notebook does
    with Client() as client:
        client.map(found["somewhere.py"]["decorated"], {"x": [1]})
        with pytest.raises(Misconfigured, match="would be left out"):
            client.map(found["ignored.py"]["plain"], {"x": [1]})
        with pytest.raises(Misconfigured, match="write the function into a file"):
            client.map(typed["typed"], {"x": [1]})
        with pytest.raises(Misconfigured, match="its parameters alone"):
            client.map(found["somewhere.py"]["decorated"], {"x": [1]}, args=["--y"])


def test_a_file_that_submits_its_own_function_is_run(project: Path) -> None:
    """Where it runs there is no studio-runner to import."""
    (project / "study.py").write_text(
        "from runner.client import Client, Options\n"
        "from runner.errors import RunnerError\n"
        "NEEDS = Options(cores=2)\n"
        "def double(x):\n"
        "    try:\n"
        "        return {'double': 2 * x}\n"
        "    except RunnerError:\n"
        "        return None\n"
    )
    (project / calling.SCRIPT).write_bytes(calling.added()[calling.SCRIPT])
    # Without the packages of this environment.
    command = [sys.executable, "-S", calling.SCRIPT, "study.py", "double", '{"x": 4}']
    environ = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    assert json.loads(done.stdout) == {"double": 8}, done.stderr


def test_a_text_is_no_list_of_arguments() -> None:
    """Its letters would each be one; where one text makes sense it is taken as one."""
    with Client() as client:
        with pytest.raises(Misconfigured, match="args is the text '--lr 1': give a list"):
            client.submit("train.py", "--lr 1")
        with pytest.raises(Misconfigured, match="the grid has '123' for lr: give a list"):
            client.map("train.py", {"lr": "123"})
        with pytest.raises(Misconfigured, match=r"the grid has 0\.1 for lr: give a list"):
            client.map("train.py", {"lr": 0.1})  # type: ignore[dict-item]  # so people write it
        client.submit("train.py", ["--lr", 0.1])
        options = Options(requirements="requirements.txt", retry_on="exit,signal")
        assert client.submit("train.py", options=options).result().state == "waiting"


def test_every_point_is_looked_at_before_anything_is_queued(project: Path) -> None:
    """One that no runner could run costs the whole sweep nothing but a sentence."""
    with Client() as client:
        with pytest.raises(Misconfigured, match="cannot be submitted"):
            client.map("train.py", {"x": ["a\0b", "c"]})
        assert not (project.parent / "queues").exists()


def test_the_trace_of_the_caller_goes_along(project: Path) -> None:
    """From the environment that the client was given; what is none is ignored."""
    traceparent = f"00-{'a' * 32}-{'b' * 16}-01"
    for number, written in enumerate((traceparent, "nonsense")):
        with Client(f"local_{number}", environ={**os.environ, "TRACEPARENT": written}) as client:
            client.submit("train.py")
    files = [next((project.parent / f"queues/local_{n}").glob("*-*")) for n in range(2)]
    configs = [json.loads(file.read_bytes())["config"] for file in files]
    assert configs[0]["runner"] == {"traceparent": traceparent}
    assert "runner" not in configs[1]


def test_what_makes_no_sense_is_refused(project: Path) -> None:
    """As on the command line, before anything is stored."""

    def inner(x: int) -> int:
        return x

    with Client(store=project.parent / "store") as client:
        client.submit("train.py", key="k1")
        with pytest.raises(Misconfigured, match="give another --key, or none"):
            client.submit("train.py", key="k1")
        with pytest.raises(Misconfigured, match=r"'absent\.py' is not in"):
            client.submit("absent.py")
        with pytest.raises(Misconfigured, match="is not in a file of"):
            client.map(inner, {"x": [1]})
        with pytest.raises(Misconfigured, match="in a file of"):
            client.map(len, {"x": [1]})
        with pytest.raises(Misconfigured, match="more than 1"):
            client.map("train.py", {"x": [1, 2]}, most=1)
        with pytest.raises(RunnerError, match="no sweep 'absent'"):
            client.sweep("absent")
        with pytest.raises(RunnerError, match="'absent' is not known"):
            client.result("absent")
    with (
        pytest.raises(Misconfigured, match="name a bucket"),
        Client("pubsub://p-1/n_sub") as client,
    ):
        client.submit("train.py")


def test_the_file_of_a_configuration_counts(project: Path) -> None:
    """The same file serves daemon, commands and notebooks."""
    config = project.parent / "config.yaml"
    config.write_text(f"store: {project.parent / 'filed'}\nmax_cores: 3\n")
    with Client(config=str(config)) as client:
        client.submit("train.py", key="k1")
    record = project.parent / "filed/studioml-meta/experiments/k1"
    assert json.loads(record.read_text())["key"] == "k1"
