"""What ``Client`` promises beyond what the commands do."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import anyio
import pytest

from runner.client import Client
from runner.client.access import Access
from runner.errors import Misconfigured, RunnerError
from runner.queues.addresses import parse
from runner.settings import Settings
from tests.own_places import stand_in


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
    """The error names one that has not ended."""
    with Client() as client, pytest.raises(TimeoutError, match="such as k1"):
        client.submit("train.py", key="k1").wait(timeout=0)


@pytest.mark.anyio
async def test_it_works_where_a_loop_runs() -> None:
    """A notebook has one in its main thread."""
    with Client() as client:
        assert client.submit("train.py").result().state == "waiting"


def test_what_makes_no_sense_is_refused(project: Path) -> None:
    """As on the command line, before anything is stored."""

    def inner(x: int) -> int:
        return x

    with Client(store=project.parent / "store") as client:
        client.submit("train.py", key="k1")
        with pytest.raises(Misconfigured, match="choose another"):
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
