"""Of the process that the daemon is, experiments and builds inherit nothing."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.box import until
from tests.environments import packages
from tests.trust.boxes import MARK, TrustBox, trust_box

#: What an experiment has without anybody's doing, and what the runner gives it.
_GIVEN = re.compile(
    "PATH|USER|LOGNAME|SHELL|LANG|LC_ALL|HOME|TMPDIR|PYTHONUNBUFFERED|AWS_SDK_LOAD_CONFIG|"
    "VIRTUAL_ENV|STUDIOML_EXPERIMENT|STUDIOML_HOME|STUDIO_RUNNER_RUN|LC_CTYPE|"
    "PIP_DISABLE_PIP_VERSION_CHECK|"
    "(?:CUDA|NVIDIA)_VISIBLE_DEVICES|CUDA_DEVICE_ORDER|(?:OMP|MKL|OPENBLAS|GOTO)_NUM_THREADS"
)
#: Becomes the daemon in odd surroundings: a descriptor, a key, signals, a umask.
ODD = f"""
import ctypes, os, signal, sys
libc = ctypes.CDLL(None)
if {platform.machine() == "x86_64"}:
    libc.syscall(250, 1, None)
    libc.syscall(248, b"user", b"{MARK}key", b"payload", 7, -3)
os.dup2(os.open("/etc/hostname", os.O_RDONLY), 77)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
signal.signal(signal.SIGUSR2, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
os.umask(0o002)
os.execv(sys.argv[1], sys.argv[1:])
"""
SPY = r"""
import ctypes, json, os, re
status = open("/proc/self/status").read()
descriptors = {}
for name in os.listdir("/proc/self/fd"):
    try:
        descriptors[name] = os.readlink("/proc/self/fd/" + name)
    except OSError:
        pass  # the one that lists them
try:
    os.close(os.open("/dev/tty", os.O_RDWR))
    terminal = True
except OSError:
    terminal = False
name = b"MARKkey".replace(b"MARK", b"plan" + b"ted-")
found = ctypes.CDLL(None).syscall(250, 10, -3, b"user", name, 0)
umask = os.umask(0)
seen = {
    "env": dict(os.environ), "descriptors": descriptors, "terminal": terminal, "key": found,
    "umask": umask, "session": os.getsid(0) in (0, os.getpid()),
    "ignored": int(re.search(r"SigIgn:\s*(\w+)", status)[1], 16),
    "blocked": int(re.search(r"SigBlk:\s*(\w+)", status)[1], 16),
    "cwd": os.getcwd(), "supervisor": "",
}
with open("../modeldir/seen", "w") as file:
    json.dump(seen, file)
"""


@pytest.fixture
def box(request: pytest.FixtureRequest) -> Iterator[TrustBox]:
    """A machine of its own."""
    with trust_box(request.param) as box:
        yield box


def begin(box: TrustBox, *options: str) -> None:
    """Start a daemon with two hundred variables, in odd surroundings."""
    odd = {f"ODD_{number}": f"{MARK}{number}" for number in range(200)}
    odd |= {"AWS_SECRET_ACCESS_KEY": f"{MARK}aws", "SEEN_BY_ALL": "exposed"}
    odd |= {"PIP_INDEX_URL": f"http://{MARK}pip@h/", "UV_INDEX": f"http://{MARK}uv@h/"}
    box.begin(
        *("--expose-env", "SEEN_BY_ALL", *options), wrapper=(sys.executable, "-c", ODD), **odd
    )


@pytest.mark.parametrize("box", ["another user", "ordinary user", "root"], indirect=True)
def test_an_experiment_inherits_nothing(box: TrustBox) -> None:
    """No variable, descriptor, signal, terminal, directory, umask or key of the daemon's."""
    begin(box)
    message = box.message(SPY)
    message["config"]["env"] = {
        "MINE": "from the message",
        "BASE": "<%SEEN_BY_ALL%>",
        "DAEMONS": "<%ODD_1%> %AWS_SECRET_ACCESS_KEY%",
    }
    seen = box.seen(box.publish(message))
    env = seen["env"]
    assert {name for name in env if not _GIVEN.fullmatch(name)} == {
        *("SEEN_BY_ALL", "MINE", "BASE", "DAEMONS"),
    }
    assert env["BASE"] == "<exposed>"
    assert env["DAEMONS"] == "<%ODD_1%> %AWS_SECRET_ACCESS_KEY%"
    assert MARK not in str(env)
    assert set(seen["descriptors"]) == {"0", "1", "2"}
    assert seen["descriptors"]["0"] == "/dev/null"
    assert (seen["terminal"], seen["session"], seen["umask"]) == (False, True, 0o022)
    # Python itself ignores SIGPIPE and SIGXFSZ, the C library two that are its own.
    assert seen["ignored"] & ~(1 << 12 | 1 << 24 | 3 << 31) == 0
    assert seen["blocked"] == 0
    if platform.machine() == "x86_64":
        assert seen["key"] == -1
    assert seen["cwd"].endswith("/workspace")


@pytest.mark.parametrize("box", ["another user", "root"], indirect=True)
def test_a_build_inherits_nothing(box: TrustBox) -> None:
    """Code of a package runs with what an installer needs, and with no descriptor of ours."""
    code = (
        f"mark = {MARK[:4]!r} + {MARK[4:]!r}\n"
        "names = sorted(name for name, value in os.environ.items() if mark in value)\n"
        "odd = sorted(name for name in os.environ if name.startswith(('ODD', 'SEEN', 'AWS')))\n"
        "open77 = os.path.exists('/proc/self/fd/77')\n"
        "raise SystemExit('FOUND ' + str([*names, *odd, open77]))\n"
    )
    shelf = box.root / "shelf"
    packages.source(shelf, "curious", code=code)
    begin(box, "--no-index", "--find-links", str(shelf))
    key = box.submit("print('never')", pythonenv=["curious==1.0"])
    assert box.outcome(key)["cause"] == "requirements"
    assert "FOUND [False]" in box.output(key), box.output(key)


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to look into all processes")
@pytest.mark.parametrize("box", ["another user"], indirect=True)
def test_nobody_beside_an_experiment_holds_variables_of_the_daemon(box: TrustBox) -> None:
    """Neither its supervisor nor anything around it, as whoever looks into ``/proc`` finds."""
    begin(box)
    looks = """
import json, os, time
pid, found = os.getppid(), []
with open("../modeldir/ready", "w"): pass
print("ready", flush=True)
while not os.path.exists("../modeldir/go"): time.sleep(0.02)
with open("../modeldir/seen", "w") as file: json.dump({}, file)
"""
    key = box.submit(looks)
    until(lambda: "ready" in box.live_output() or None, "the experiment", box.log)
    daemon = box._daemons[-1].pid
    held = [pid for pid in box.processes() if pid != daemon and MARK.encode() in _environ(pid)]
    assert held == []
    for place in (box.state / "work" / "experiments").glob("*/modeldir"):
        (place / "go").touch()
    assert box.seen(key) == {}


def _environ(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""
