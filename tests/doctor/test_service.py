"""The daemon, its port and its unit; and where its news goes."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from typing import Any

import anyio
import pytest

from runner import __version__
from runner.control.server import ControlServer
from runner.doctor import news, service
from runner.doctor.check import Verdict
from tests.doctor.conftest import Clinic, Found
from tests.servers.canned import answering

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def daemon(clinic: Clinic, **told: Any) -> AsyncIterator[None]:
    """Answer on the control socket as a daemon does."""

    async def status(_: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        yield {"daemon": {"pid": 12345, "version": __version__, **told}}

    state = clinic.root / "state"
    state.mkdir(exist_ok=True)
    async with anyio.create_task_group() as group:
        await group.start(ControlServer(state / "control.sock", {"status": status}).serve)
        yield
        group.cancel_scope.cancel()


@contextmanager
def listener() -> Iterator[int]:
    """Take a port."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        yield taken.getsockname()[1]


async def looked(clinic: Clinic, *argv: str) -> Found:
    """Look at the service."""
    return await clinic.look(service.look, await clinic.patient(*argv))


async def test_no_daemon_is_no_failure(clinic: Clinic) -> None:
    """The doctor is what one runs before the daemon."""
    found = await looked(clinic)
    assert found.about("daemon").verdict is Verdict.SKIPPED
    assert found.about("port").verdict is Verdict.OK


async def test_a_daemon_that_runs_is_told(clinic: Clinic) -> None:
    """With its version, and what it says of its sources."""
    async with daemon(clinic):
        assert (await looked(clinic)).about("daemon").verdict is Verdict.OK
    trouble = [{"origin": "lab", "trouble": "refused"}, {"origin": "other", "trouble": ""}]
    async with daemon(clinic, sources=trouble):
        told = (await looked(clinic)).about("daemon")
    assert told.verdict is Verdict.WARNING
    assert "lab: refused" in told.sentence


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"version": "0.0.1"}, "0.0.1"),
        ({"draining": True}, "drains"),
        ({"suspended_by": ["operator"]}, "suspended by operator"),
    ],
)
async def test_what_a_daemon_is_about_is_a_warning(
    clinic: Clinic, told: dict[str, Any], words: str
) -> None:
    """Another version, a drain, a suspension: why nothing is taken."""
    async with daemon(clinic, **told):
        found = (await looked(clinic)).about("daemon")
    assert found.verdict is Verdict.WARNING
    assert words in found.sentence


async def test_a_daemon_that_does_not_answer_fails(clinic: Clinic) -> None:
    """It holds its directory and has no socket: it hangs, or is about to begin."""
    (clinic.root / "state").mkdir()
    with (clinic.root / "state" / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        told = (await looked(clinic)).about("daemon")
    assert told.verdict is Verdict.FAILED
    assert "systemctl restart" in told.remedy


async def test_a_port_that_somebody_has_fails(clinic: Clinic) -> None:
    """With the process that has it; it is well when our own daemon is that process."""
    with listener() as port:
        told = (await looked(clinic, "--listen", f"127.0.0.1:{port}")).about("port")
        assert told.verdict is Verdict.FAILED
        assert str(os.getpid()) in told.sentence
        async with daemon(clinic, pid=os.getpid()):
            told = (await looked(clinic, "--listen", f"127.0.0.1:{port}")).about("port")
        assert told.verdict is Verdict.OK
    told = (await looked(clinic, "--listen", "192.0.2.1:9464")).about("port")
    assert told.verdict is Verdict.FAILED


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ({"LoadState": "not-found"}, Verdict.SKIPPED),
        ({"ActiveState": "active", "SubState": "running"}, Verdict.OK),
        ({"ActiveState": "reloading", "SubState": "reload"}, Verdict.OK),
        ({"ActiveState": "activating", "SubState": "start"}, Verdict.WARNING),
        ({"ActiveState": "inactive", "SubState": "dead"}, Verdict.WARNING),
        ({"ActiveState": "active", "UnitFileState": "disabled"}, Verdict.WARNING),
        ({"ActiveState": "failed", "SubState": "failed"}, Verdict.FAILED),
        ({"ActiveState": "activating", "SubState": "auto-restart"}, Verdict.FAILED),
    ],
)
async def test_a_unit_is_judged_by_what_systemd_says(
    said: dict[str, str], verdict: Verdict
) -> None:
    """One that is not there is none of the doctor's business."""
    usual = {"LoadState": "loaded", "UnitFileState": "enabled"}
    assert service.of_unit({**usual, **said}).verdict is verdict


# ----------------------------------------------------------------------------- news


async def test_news_that_go_nowhere_are_no_failure(clinic: Clinic) -> None:
    """There is always the log."""
    assert (await clinic.look(news.look, await clinic.patient())).verdicts == [Verdict.SKIPPED]


@pytest.mark.parametrize(
    ("answer", "verdict", "words"),
    [
        ({"ok": True, "user": "runner", "team": "Lab"}, Verdict.OK, "runner in Lab"),
        ({"ok": False, "error": "invalid_auth"}, Verdict.FAILED, "not accepted"),
    ],
)
async def test_a_token_is_asked_for_and_nothing_posted(
    clinic: Clinic, answer: dict[str, Any], verdict: Verdict, words: str
) -> None:
    """Slack says whose it is."""
    paths: list[str] = []

    def slack(_: str, path: str, __: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        paths.append(path)
        return 200, {"Content-Type": "application/json"}, json.dumps(answer).encode()

    with answering(slack) as (server, _):
        argv = ("--slack-api", f"{server.endpoint}/api/", "--slack-room", "#lab")
        patient = await clinic.patient(*argv, "--slack-token", "xoxb-1-2-3")
        told = (await clinic.look(news.look, patient)).about("slack")
    assert told.verdict is verdict, told
    assert words in told.sentence
    assert paths == ["/api/auth.test"]


async def test_secrets_among_the_options_are_masked(clinic: Clinic) -> None:
    """Whoever repeats them: the address of a webhook is a secret, and so is the page's token."""
    argv = ("--webhook", "https://news.example/hook-of-the-lab", "--web-token", "sesame-opens")
    patient = await clinic.patient(*argv)
    said = "POST https://news.example/hook-of-the-lab failed; sesame-opens"
    assert patient.redactor.redact(said) == "POST *** failed; ***"


async def test_a_webhook_is_posted_to_on_consent_alone(clinic: Clinic) -> None:
    """Nothing else tells whether it works."""
    statuses = [204, 404]

    def hook(*_: object) -> tuple[int, dict[str, str], bytes]:
        return statuses.pop(0), {}, b""

    with answering(hook) as (server, asked):
        argv = ("--webhook", f"{server.endpoint}/hook")
        told = (await clinic.look(news.look, await clinic.patient(*argv))).about("webhook")
        assert told.verdict is Verdict.SKIPPED
        assert asked == []
        patient = await clinic.patient(*argv, may_write=True)
        assert (await clinic.look(news.look, patient)).about("webhook").verdict is Verdict.OK
        assert (await clinic.look(news.look, patient)).about("webhook").verdict is Verdict.FAILED
