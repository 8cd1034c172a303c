"""What a hook is told, what its answer means, and that it cannot hold anybody up."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.lifecycle.hooks import facts
from runner.lifecycle.hooks.hooks import judged
from runner.lifecycle.hooks.program import Program, Said, run
from runner.model import Cause, Deferred, Refused
from runner.redaction import Redactor
from runner.supervisor import processes

pytestmark = pytest.mark.anyio


def program(script: str, limit: float = 60.0) -> Program:
    """Return a hook of a few lines of Python."""
    argv = (sys.executable, "-I", "-S", "-c", script)
    return Program("--hook-before", argv, timedelta(seconds=limit))


async def said_by(hook: Program, document: bytes = b"{}\n") -> tuple[Said, list[str]]:
    """Run it; return its end and the lines that were told."""
    redactor, lines = Redactor(), list[str]()
    redactor.add("hush-hush-hush")
    said = await run(hook, document, {}, redact=redactor.redact, tell=lines.append)
    return said, lines


@pytest.mark.parametrize(
    ("said", "kind", "cause", "detail"),
    [
        (Said(0, "fine"), None, None, ""),
        (Said(100, "disk"), Deferred, Cause.DEFERRED_BY_HOOK, "the hook wants it later: disk"),
        (Said(1, "no"), Refused, Cause.REFUSED_BY_HOOK, "no"),
        (Said(99), Refused, Cause.REFUSED_BY_HOOK, "it ended with status 99"),
        (Said(None, "no", "it is missing"), Deferred, Cause.HOOK_FAILED, "it is missing"),
        (Said(127, "no", "it is missing"), Deferred, Cause.HOOK_FAILED, "it is missing"),
    ],
    ids=["goes-on", "later", "refused", "refused-silently", "missing", "missing-to-a-shell"],
)
def test_the_status_says_what_becomes_of_the_experiment(
    said: Said, kind: type | None, cause: Cause | None, detail: str
) -> None:
    """0 lets it begin, 100 puts it off, a hook that did not work puts it off, all else refuses."""
    outcome = judged(said)
    assert type(outcome) is (kind or type(None))
    if outcome is not None:
        assert (outcome.cause, outcome.detail) == (cause, detail)


@given(st.dictionaries(st.sampled_from(["key", "project", "args"]), st.text()))
def test_whatever_a_message_says_is_a_variable(told: dict[str, str]) -> None:
    """The kernel takes no NUL, no lone surrogate and nothing huge; the rest comes through."""
    for name, value in facts.variables(told, {}).items():
        assert name.startswith("STUDIO_RUNNER_")
        assert "\0" not in value
        assert len(value.encode()) < 128 << 10


def test_lists_and_needs_are_flat() -> None:
    """A shell can read them; artifacts are in the document alone."""
    told = {"args": ["a", "b"], "needs": {"cores": 2}, "artifacts": {"x": "y"}, "exit_code": None}
    assert facts.variables(
        told, {"PATH": "/bin", "AWS_SECRET_ACCESS_KEY": "no", "LC_ALL": "C"}
    ) == {
        "PATH": "/bin",
        "LC_ALL": "C",
        "STUDIO_RUNNER_ARGS": "a,b",
        "STUDIO_RUNNER_NEEDS_CORES": "2",
        "STUDIO_RUNNER_EXIT_CODE": "",
    }


def test_no_hook_looks_like_a_process_of_the_run() -> None:
    """Those are found by a variable, and ended."""
    told = facts.variables({"run": "a-run"}, {})
    assert told == {"STUDIO_RUNNER_RUN_NAME": "a-run"}
    assert processes.MARK.decode() not in told


async def test_a_flood_of_output_is_cut_and_its_last_line_kept() -> None:
    """A hook may print without end of lines, or lines without end."""
    flood = "print('x' * 10**6); [print(n) for n in range(10**4)]; print('hush-hush-hush no')"
    said, lines = await said_by(program(flood + "; raise SystemExit(3)"))
    assert (said.status, said.last_line) == (3, "*** no")
    assert len(lines) == 200
    assert max(map(len, lines)) <= 500


async def test_the_last_line_of_a_flood_is_its_last_one() -> None:
    """Also where the flood comes in one piece, and ends in empty lines."""
    said, lines = await said_by(
        program("print('\\n'.join(map(str, range(1000)))); print('\\n\\n')")
    )
    assert (said, len(lines)) == (Said(0, "999"), 200)


async def test_no_half_of_a_secret_is_shown() -> None:
    """A line is cut after it was searched."""
    said, (line,) = await said_by(program("print('x' * 495 + 'hush-hush-hush')"))
    assert line == said.last_line == "x" * 495 + "***"


async def test_a_hook_need_not_read_what_it_is_told() -> None:
    """Closing its input, or ending before all is written, is no failure."""
    said, lines = await said_by(program("print('done')"), b"x" * (1 << 22))
    assert (said, lines) == (Said(0, "done"), ["done"])


async def test_what_it_leaves_in_its_group_is_ended_and_not_waited_for() -> None:
    """A child that holds the output open keeps nobody waiting."""
    leaves = "import os, time\nif os.fork() == 0: time.sleep(1000)\nprint('left', flush=True)"
    said, _ = await said_by(program(leaves))
    assert said == Said(0, "left")


#: Leaves its session, its group, its parent and its variables, and says who it is.
STRAYS = """
import os, sys, time
reading, writing = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.write(writing, str(os.getpid()).encode())
        os.execve("/bin/sleep", ["sleep", "1000"], {})
    os._exit(0)
print(os.read(reading, 99).decode(), flush=True)
"""


def is_alive(pid: int) -> bool:
    """Tell whether a process is there, and no zombie."""
    return processes.look(pid) is not None


@pytest.mark.parametrize("then", ["", "time.sleep(1000)", "os.kill(os.getpid(), 9)"])
async def test_what_takes_a_session_of_its_own_is_ended_with_it(then: str) -> None:
    """When the hook ends, when its time is over, when it dies: it must not pile up."""
    said, (pid,) = await said_by(program(STRAYS + then, 2.0 if "sleep" in then else 60.0))
    assert (said.status, bool(said.trouble)) == ((0, False) if not then else (None, True))
    assert not is_alive(int(pid))


#: A daemon that asks a hook.
ASKS = """
import sys
from datetime import timedelta
from pathlib import Path
import anyio
from runner.lifecycle.hooks.program import Program, run

async def ask():
    hook = Program("--hook-before", tuple(sys.argv[1:]), timedelta(hours=1))
    await run(hook, b"", {}, redact=str, tell=lambda line: print(line, flush=True))

anyio.run(ask)
"""


async def test_a_hook_does_not_outlive_a_daemon_that_is_killed() -> None:
    """Nobody would hear what it says, and nobody would end it."""
    script = STRAYS + "print(os.getpid(), flush=True)\ntime.sleep(1000)"
    command = (sys.executable, "-c", ASKS, *program(script).argv)
    async with await anyio.open_process(command, stderr=None) as daemon:
        assert daemon.stdout is not None
        text = b""
        while text.count(b"\n") < 2:
            text += await daemon.stdout.receive()
        daemon.kill()
    pids = [int(word) for word in text.split()]
    with anyio.fail_after(30):
        while any(map(is_alive, pids)):  # noqa: ASYNC110 - nobody of ours, they tell us nothing
            await anyio.sleep(0.01)


async def test_why_a_program_cannot_be_executed_is_told(tmp_path: Path) -> None:
    """In the words of the system; what was printed has nothing to do with it."""
    (tmp_path / "text").write_text("no program")
    for name, why in (("gone", "No such file or directory"), ("text", "Permission denied")):
        hook = Program("--hook-before", (str(tmp_path / name),), timedelta(seconds=60))
        said, lines = await said_by(hook)
        assert said == Said(None, trouble=f"--hook-before {hook.argv[0]} cannot be run: {why}")
        assert lines == []


async def test_a_hook_that_hangs_is_ended_and_says_so() -> None:
    """What it printed until then is known."""
    hangs = "import signal, time\nsignal.signal(15, signal.SIG_IGN)\n"
    hangs += "print('hush-hush-hush', flush=True)\ntime.sleep(1000)"
    said, lines = await said_by(program(hangs, 0.5))
    assert (said.status, lines) == (None, ["***"])
    assert "did not end within 0.5s, so it was ended" in said.trouble


async def test_cancelling_ends_it() -> None:
    """Nothing is left when the scope is; the leak check looks."""
    lines: list[str] = []
    hook = program("import time\nprint('begun', flush=True)\ntime.sleep(1000)")

    with anyio.CancelScope() as scope:

        def told(line: str) -> None:
            lines.append(line)
            scope.cancel()

        await run(hook, b"", {}, redact=str, tell=told)
    assert scope.cancelled_caught
    assert lines == ["begun"]
