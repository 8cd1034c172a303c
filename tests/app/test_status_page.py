"""What the status page asks of the daemon, and may have done."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from runner.app.listening import Pages
from runner.app.status_page import StatusPage
from runner.lifecycle.board import Entry
from runner.lifecycle.desk import Desk
from runner.lifecycle.history import Ending
from runner.lifecycle.loop import Loop
from runner.lifecycle.reloading import Prospect
from runner.lifecycle.tally import Stage
from runner.model import Cause
from runner.redaction import Secret
from runner.web.guard import Policy
from runner.web.message import Answer, Request
from runner.web.peers import Peer
from tests.acceptance.box import Box
from tests.lifecycle.machine import Machine
from tests.lifecycle.records import a_record

pytestmark = pytest.mark.anyio

OURS, THEIRS = Peer(None, None, _is_trusted=True), Peer(None, None, _is_trusted=False)
HERE = {"host": "127.0.0.1", "x-studio-runner": "page"}


class _Unreloadable:
    refusal = ""

    async def look(self) -> Prospect:
        return Prospect("not here")

    reload = look


class Daemon:
    """A daemon that runs nothing, and one run on its board."""

    def __init__(self, root: Path, loop: Loop) -> None:
        self.loop = loop
        self.peer = OURS
        self.output = root / "output"
        desk = Desk(loop.parts, loop, detach=lambda: None, reloads=_Unreloadable())
        self.page = StatusPage(loop.parts, desk)
        self.site = Pages(loop, desk, further=self.page.pages).site
        self.entry = Entry(a_record("a1b2", key="key"), stage=Stage.RUN, output=self.output)
        loop.parts.board.enter(self.entry)

    async def get(self, path: str, query: str = "") -> Answer:
        """Look."""
        request = Request("GET", path, {"host": "127.0.0.1"}, query=query, peer=self.peer)
        return await self.site.answer(request, Policy(is_local=True))

    async def post(self, path: str, body: bytes = b"", **headers: str) -> Answer:
        """Have something done."""
        request = Request("POST", path, {**HERE, **headers}, body, peer=self.peer)
        return await self.site.answer(request, Policy(is_local=True))


@asynccontextmanager
async def daemon(root: Path) -> AsyncIterator[Daemon]:
    """Give one."""
    async with Machine.open(Box(root)) as machine, anyio.create_task_group() as group:
        found = Daemon(root, Loop(machine.parts, machine.supply))
        group.start_soon(found.page.tidy)
        yield found
        group.cancel_scope.cancel()


def told(answer: Answer) -> dict[str, Any]:
    """Return what an answer says."""
    assert answer.status == 200, answer.body
    found = json.loads(answer.body)
    assert isinstance(found, dict)
    return found


async def test_the_output_of_a_run_is_followed_without_its_secrets(tmp_path: Path) -> None:
    """From where the answer before ended."""
    async with daemon(tmp_path) as it:
        it.loop.parts.redactor.add(Secret("hunter-two-three"))
        it.output.write_text("my password is hunter-two-three\n")
        first = told(await it.get("/output.json", "run=a1b2"))
        assert first["text"] == "my password is ***\n"
        query = f"run=a1b2&stream={first['stream']}&from={first['end']}"
        assert told(await it.get("/output.json", query))["text"] == ""
        assert (await it.get("/output.json", "run=other")).status == 404
        for wrong in ("-1", "1.5", "x", "9" * 16, "²"):
            assert (await it.get("/output.json", f"run=a1b2&from={wrong}")).status == 400


async def test_one_run_is_cancelled_by_its_name(tmp_path: Path) -> None:
    """Not by its key, of which there may be a later attempt meanwhile."""
    async with daemon(tmp_path) as it:
        answer = told(await it.post("/cancel", b'{"run": "other"}'))
        assert (answer["cancelled"], it.entry.stopper.cause) == (False, None)
        assert told(await it.post("/cancel", b'{"run": "a1b2"}'))["cancelled"]
        assert it.entry.stopper.cause is Cause.CANCELLED
        assert not told(await it.post("/cancel", b'{"run": "\\ud800"}'))["cancelled"]
        for wrong in (b"", b"[]", b"{}", b'{"run": 1}', b'{"run": ""}', b"\xff", b"[" * 60_000):
            assert (await it.post("/cancel", wrong)).status == 400


async def test_claiming_is_suspended_and_resumed(tmp_path: Path) -> None:
    """As the verbs of the command line do it, and every queue says why."""
    async with daemon(tmp_path) as it:
        assert told(await it.post("/suspend"))["suspended_by"] == ["the operator"]
        status = told(await it.get("/status.json"))["daemon"]
        assert status["waits"] == "suspended by the operator"
        assert told(await it.post("/resume"))["suspended_by"] == []
        assert told(await it.get("/status.json"))["daemon"]["waits"] == ""


async def test_drain_is_asked_for_twice_without_stopping_what_runs(tmp_path: Path) -> None:
    """A second click must not cost anybody a run."""
    async with daemon(tmp_path) as it:
        for _ in range(2):
            assert told(await it.post("/drain"))["draining"]
        assert (it.loop.is_draining, it.loop.is_stopping) == (True, False)


@pytest.mark.parametrize("path", ["/cancel", "/suspend", "/resume", "/drain"])
async def test_nothing_is_done_for_somebody_elses_page(tmp_path: Path, path: str) -> None:
    """Neither a form, nor a picture, nor a name that was pointed at this machine."""
    async with daemon(tmp_path) as it:
        body = b'{"run": "a1b2"}'
        assert (await it.get(path)).status == 405
        for headers, status in (
            ({"x-studio-runner": ""}, 403),
            ({"origin": "http://evil.example"}, 403),
            ({"origin": "null"}, 403),
            ({"sec-fetch-site": "cross-site"}, 403),
            ({"host": "evil.example", "origin": "http://evil.example"}, 421),
        ):
            assert (await it.post(path, body, **headers)).status == status
        assert it.entry.stopper.cause is None
        assert not it.loop.is_draining
        assert not it.loop.parts.intake.suspension.by


async def test_without_a_token_other_users_neither_act_nor_read_outputs(tmp_path: Path) -> None:
    """An experiment reaches the listener as well as its operator does."""
    async with daemon(tmp_path) as it:
        it.peer = THEIRS
        assert (await it.get("/output.json", "run=a1b2")).status == 403
        assert (await it.post("/cancel", b'{"run": "a1b2"}')).status == 403
        assert (await it.post("/drain")).status == 403
        assert (await it.get("/status.json")).status == 200
        assert it.entry.stopper.cause is None


async def test_status_gives_as_many_results_as_are_asked_for(tmp_path: Path) -> None:
    """The page shows a hundred; what is no number is as if nothing was said."""
    async with daemon(tmp_path) as it:
        for number in range(5):
            it.loop.parts.history.add(
                Ending(str(number), "q", "p", 1, "completed", 0, "", "acked", 1.0, 1.0)
            )
        much = "&".join(["recent=1"] * 17)
        for query, keys in (
            ("recent=2", "34"),
            ("recent=0", ""),
            ("recent=x", "01234"),
            (much, "01234"),
        ):
            recent = told(await it.get("/status.json", query))["recent"]
            assert "".join(one["key"] for one in recent) == keys
