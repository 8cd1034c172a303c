"""The build of a package runs behind the same walls, and reaches less than an experiment."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.environments import packages
from tests.sandboxes.hostile import lingering, planted
from tests.trust.boxes import MARK, STRANGER, TrustBox, trust_box

pytestmark = [
    pytest.mark.service("bwrap"),
    pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to be several kinds of user"),
]

#: A ``setup.py`` that tries what it must not be able to do, and fails with what it succeeded in.
HOSTILE = """
import json
mark, done = "".join([{first!r}, {second!r}]).encode(), []
for folder, _, names in os.walk({top!r}):
    for name in names:
        try:
            with open(os.path.join(folder, name), "rb") as file:
                if mark in file.read(1 << 20):
                    done.append("read " + name)
        except OSError:
            pass
for place in {places!r}:
    try:
        os.chmod(place, 0o755)
    except OSError:
        pass
    try:
        with open(os.path.join(place, "spoilt"), "w") as file:
            file.write("x")
        done.append("write " + place)
    except OSError:
        pass
pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
commands = [open("/proc/%d/cmdline" % pid, "rb").read() for pid in pids]
if any(b"-m" + bytes(1) + b"runner" in command for command in commands):
    done.append("see the daemon")
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 100)
        os.execv(sys.executable, [{lingers!r}, "-c", "import time; time.sleep(1000)"])
    os._exit(0)
raise SystemExit("SUCCEEDED IN " + json.dumps(done) + " AS " + str(os.getuid()))
"""


@pytest.fixture
def box(request: pytest.FixtureRequest) -> Iterator[TrustBox]:
    """A machine of its own."""
    with trust_box(request.param) as box:
        yield box


@pytest.mark.parametrize("box", ["another user", "ordinary user"], indirect=True)
def test_a_hostile_build_reaches_nothing(box: TrustBox) -> None:
    """No credential, no other environment, no shared cache, no process, no life after its end."""
    planted(box.root / "certs" / ".spare" / "credentials")
    shelf = box.root / "shelf"
    environments = box.state / "environments"
    lingers = f"lingers-{box.root.name}"
    left = Path("/tmp")  # noqa: S108 - it is tried
    box_places = [environments, environments / "uv", environments / "uv" / "wheels", left]
    code = HOSTILE.format(
        first=MARK[:4],
        second=MARK[4:],
        top=str(box.root),
        places=[*map(str, box_places), str(box.root / "store")],
        lingers=lingers,
    )
    packages.source(shelf, "hostile", code=f"import sys\n{code}")
    packages.source(shelf, "handmade")
    box.begin(
        *("--certs-dir", str(box.root / "certs"), "--sandbox", "bwrap"),
        *("--no-index", "--find-links", str(shelf)),
    )
    key = box.submit("import handmade; print(handmade.VERSION)", pythonenv=["handmade==1.0"])
    assert box.outcome(key)["cause"] == "completed", box.output(key)
    key = box.submit("print('never')", pythonenv=["hostile==1.0"])
    assert box.outcome(key)["cause"] == "requirements"
    said = next(line for line in box.output(key).splitlines() if "SUCCEEDED IN" in line)
    done, _, uid = said.partition("SUCCEEDED IN ")[2].partition(" AS ")
    # Its own /tmp is nobody else's.
    assert json.loads(done) == ["write /tmp"]
    assert not (left / "spoilt").exists()
    assert uid.split()[0] == str(STRANGER)
    assert lingering(lingers) == []
