"""How runs get into scopes of systemd, and what happens where they do not."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.app.scopes import runs_slice, wanted
from runner.lifecycle.runs import exits
from runner.lifecycle.runs.run import Run
from runner.supervisor import dbus, processes, scope
from tests.lifecycle.runs import Runs, ended, python, recorded, runs_below, until

SLICE = "studio-runner-test.slice"
PRIVATE = "/run/systemd/private"
WORDS = b"OK 0123456789abcdef\r\n"


@pytest.fixture
async def runs(tmp_path: Path) -> AsyncIterator[Runs]:
    """A directory for runs, without any left afterwards."""
    async with runs_below(tmp_path) as found:
        yield found


def message(kind: int, body: bytes = b"", fields: bytes = b"") -> bytes:
    """Return a message as systemd would send it."""
    head = bytes([ord("l"), kind, 1, 1]) + len(body).to_bytes(4, "little") + bytes(4)
    return head + len(fields).to_bytes(4, "little") + fields + bytes(-len(fields) % 8) + body


def text(words: str) -> bytes:
    """Return a string as a body carries it."""
    return len(words).to_bytes(4, "little") + words.encode() + b"\0"


@contextmanager
def systemd_saying(folder: Path, answer: bytes) -> Iterator[bytes]:
    """Listen like systemd, and answer the first call with these bytes; yields the address."""
    path = folder / "private"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield os.fsencode(path)
        finally:
            thread.join()


def names_below(supervisor: int) -> list[str]:
    """Return the names of the commands that run below a supervisor."""
    found = (Path(f"/proc/{process.pid}/comm") for process in processes.descendants(supervisor))
    return [path.read_text().strip() for path in found if path.exists()]


# --------------------------------------------------------------------------- the decision


@pytest.mark.parametrize("is_root", [True, False])
@pytest.mark.parametrize("is_booted", [True, False])
@pytest.mark.parametrize("environ", [{}, {"INVOCATION_ID": ""}, {"INVOCATION_ID": "1f"}])
def test_only_root_in_a_unit_of_systemd_tries(
    environ: dict[str, str], *, is_root: bool, is_booted: bool
) -> None:
    """An ordinary user may not ask, and a daemon in a terminal has no unit to be stopped."""
    decided = wanted(environ, is_root=is_root, is_booted=is_booted)
    assert decided is (is_root and is_booted and environ == {"INVOCATION_ID": "1f"})


@pytest.mark.anyio
async def test_outside_of_a_unit_nothing_is_tried() -> None:
    """A daemon that nobody made a unit of starts runs as ever."""
    assert await runs_slice({}) == ""


# ------------------------------------------------------------------------------ the words


def test_the_question_is_well_formed() -> None:
    """Lengths, alignment and order are those of the protocol: read back by its own rules."""
    call = dbus.start_scope(b"a.scope", b"b.slice", 4711, 30.0)
    body_length = int.from_bytes(call[4:8], "little")
    fields = int.from_bytes(call[12:16], "little")
    start = 16 + fields + -fields % 8
    assert call[:4] == b"l\1\0\1"
    assert len(call) == start + body_length
    body = call[start:]
    assert body.startswith(text("a.scope") + text("fail"))
    assert (4711).to_bytes(4, "little") in body
    assert (30_000_000).to_bytes(8, "little") in body


@given(st.lists(st.binary(max_size=40), max_size=4), st.binary(max_size=60), st.data())
def test_an_answer_is_whole_or_awaited(
    signals: list[bytes], body: bytes, data: st.DataObject
) -> None:
    """Whatever signals come before it, and wherever the stream is cut."""
    before = WORDS + b"".join(message(4, one) for one in signals)
    whole = before + message(2, body)
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert not dbus.answered(whole[:cut])
    assert dbus.answered(whole)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"REJECTED EXTERNAL\r\n", "refuses the scope .*: REJECTED EXTERNAL"),
        (WORDS + message(3, text("Access denied")), "refuses the scope .*: Access denied"),
        (b"", "hung up"),
        (WORDS + message(2)[:10], "hung up"),
    ],
)
def test_a_refusal_is_told(tmp_path: Path, answer: bytes, reason: str) -> None:
    """Systemd's own words are the reason."""
    with systemd_saying(tmp_path, answer) as address, pytest.raises(OSError, match=reason):
        scope.enter("a.scope", SLICE, 60.0, address)


def test_without_systemd_the_reason_is_told(tmp_path: Path) -> None:
    """Where nobody listens, that is what is said."""
    with pytest.raises(OSError, match="No such file"):
        scope.enter("a.scope", SLICE, 60.0, os.fsencode(tmp_path / "private"))


# ------------------------------------------------------------------------------- the runs


@pytest.mark.anyio
async def test_a_run_that_gets_no_scope_runs_all_the_same(runs: Runs) -> None:
    """A run is worth more than its scope; its supervisor says once why there is none."""
    if os.path.exists(PRIVATE) and os.geteuid() == 0:  # noqa: ASYNC240, PTH110 - once
        pytest.skip("systemd is here and would make the scope")
    spec = replace(runs.spec(python("print('ran')")), runs_slice=SLICE)
    run = await Run.start(spec)
    exit_ = await ended(run)
    said = (spec.directory / "supervisor.log").read_text()
    assert (exit_.reason, exit_.code) == (exits.EXITED, 0)
    assert runs.said() == b"ran\n"
    assert said.startswith("the run has no scope of its own: ")
    assert said.count("\n") == 1
    await run.forget()


@pytest.mark.anyio
async def test_who_ends_the_whole_scope_is_told_from_an_experiment_that_ends_itself(
    runs: Runs,
) -> None:
    """Systemd signals all processes of a scope at once: the experiment may die of it first."""
    run = await Run.start(runs.spec(("sleep", "600")))
    supervisor = await recorded(run)
    await until(lambda: "sleep" in names_below(supervisor))  # before its exec it would hear nothing
    (child,) = (p.pid for p in processes.descendants(supervisor))
    os.kill(supervisor, signal.SIGSTOP)
    os.kill(child, signal.SIGTERM)
    os.kill(supervisor, signal.SIGTERM)
    await until(lambda: processes.look(child) is None)
    os.kill(supervisor, signal.SIGCONT)
    with anyio.fail_after(60):
        exit_ = await ended(run)
    assert exit_.reason == exits.TERMINATED
    await run.forget()


@pytest.mark.anyio
async def test_an_experiment_that_dies_of_a_term_of_its_own_has_ended_itself(runs: Runs) -> None:
    """Only where the supervisor was told as well did somebody else end it."""
    exit_ = await runs.finish(runs.spec(("/bin/sh", "-c", "kill -TERM $$")))
    assert (exit_.reason, exit_.signal) == (exits.EXITED, signal.SIGTERM)
