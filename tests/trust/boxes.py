"""Machines with something to hide, run in each of the ways in which a daemon can be run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.box import Box, Json, until

#: Begins everything that is planted; no file of ours and no argument has it in one piece.
MARK = "planted" + "-"
#: A user of this process alone: other tests have processes of ``nobody``, which would be seen.
STRANGER = 61_000 + os.getpid() % 4_000
#: An ordinary user who may read what is closed to it: the interpreter of these tests.
ORDINARY = (
    "setpriv",
    f"--reuid={STRANGER}",
    f"--regid={STRANGER}",
    "--clear-groups",
    "--inh-caps=+dac_read_search",
    "--ambient-caps=+dac_read_search",
)
#: As most containers are: root, or a user, without the right to mount or to make namespaces.
NO_MOUNTS = ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")
_SYSTEM_PYTHON = "/usr/bin/python3"


#: Has a secret in its variables and in its directory, and stays until the file that it is told
#: is there.
NEIGHBOUR = """
import os, sys, time
with open("../modeldir/mine", "w") as file:
    file.write(os.environ["TOKEN"])
print("begun", flush=True)
while not os.path.exists(sys.argv[1]):
    time.sleep(0.02)
"""


class TrustBox(Box):
    """A box whose daemon runs as root for another user, as root for root, or as a user."""

    def __init__(self, root: Path, mode: str) -> None:
        super().__init__(root)
        self.mode = mode

    def begin(
        self, *options: str, wrapper: Sequence[str] = (), **more: str
    ) -> subprocess.Popen[bytes]:
        """Start the daemon in its mode."""
        if self.mode == "root":
            return self.start(*options, variables=more, wrapper=wrapper)
        need_two_users()
        self.root.chmod(0o755)
        words = ["--default-python", _SYSTEM_PYTHON, *options]
        if self.mode == "another user":
            return self.start(
                *words, "--run-as", f"{STRANGER}:{STRANGER}", variables=more, wrapper=wrapper
            )
        check = subprocess.run(
            [*ORDINARY, sys.executable, "-c", ""], check=False, capture_output=True
        )
        if check.returncode != 0:
            pytest.skip(f"capabilities cannot be handed on here: {check.stderr.decode()}")
        for path in (self.root, *self.root.rglob("*")):
            os.chown(path, STRANGER, STRANGER, follow_symlinks=False)
        return self.start(*words, variables=more, wrapper=(*ORDINARY, *wrapper))

    def submit_neighbour(self, go: Path) -> str:
        """Have somebody else's experiment run until ``go`` is there; return its key."""
        message = self.message(NEIGHBOUR, args=[str(go)])
        message["config"]["env"] = {"TOKEN": f"{MARK}token"}
        key = self.publish(message)
        until(lambda: "begun" in self.live_output() or None, "the neighbour", self.log)
        return key

    def options(self, state: str = "state") -> list[str]:
        """Only root for root says that it is wanted."""
        words = super().options(state)
        return words if self.mode == "root" else [w for w in words if "allow-root" not in w]

    def seen(self, key: str) -> Json:
        """Return what an experiment wrote into its model directory as ``seen``."""
        self.outcome(key)
        return dict(json.loads(self.stored(key, "modeldir", "seen")))


@contextmanager
def trust_box(mode: str) -> Iterator[TrustBox]:
    """Make a box where other users can get to it, unlike pytest's own directories."""
    folder = Path(tempfile.mkdtemp(prefix="studio-runner-", dir="/var/tmp"))
    try:
        with TrustBox(folder, mode) as box:
            yield box
    finally:
        shutil.rmtree(folder)


def need_two_users() -> None:
    """Skip where this machine cannot be two users."""
    if os.geteuid() != 0:
        pytest.skip("takes root, to be several kinds of user")
    if shutil.which("setpriv") is None or not Path(_SYSTEM_PYTHON).exists():
        pytest.skip("setpriv or the system's Python is not installed")
