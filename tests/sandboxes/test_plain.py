"""The plain sandbox keeps the contract and says what it cannot do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runner.sandboxes import SANDBOXES
from runner.sandboxes.base import Command, Identity, Launch, Sandbox
from runner.sandboxes.plain import PlainSandbox
from tests.contracts.sandboxes import SandboxContract

pytestmark = pytest.mark.anyio


class TestPlain(SandboxContract):
    """The contract, on this machine as it is."""

    backend = "plain"

    @pytest.fixture
    def sandbox(self) -> Sandbox:
        """The backend out of the registry."""
        made = SANDBOXES.load("plain")()
        assert isinstance(made, PlainSandbox)
        return made


def test_the_command_is_passed_through() -> None:
    """A plain launch is the command itself, with its identity and its read-only directories."""
    command = Command(
        argv=("a", "b"),
        cwd=Path("/work"),
        env={"A": "1"},
        readonly=(Path("/shared"),),
        identity=Identity(1, 2),
    )
    sandbox = PlainSandbox()
    sandbox.protects = True
    assert sandbox.launch(command) == Launch(
        argv=("a", "b"),
        cwd=Path("/work"),
        env={"A": "1"},
        identity=Identity(1, 2),
        readonly_binds=(Path("/shared"),),
    )


def test_without_the_right_to_mount_nothing_is_bound() -> None:
    """What cannot be had is not asked for: the run starts, and ``protects`` tells the truth."""
    sandbox = PlainSandbox()
    sandbox.protects = False
    launch = sandbox.launch(Command(("a",), Path("/"), {}, readonly=(Path("/shared"),)))
    assert launch.readonly_binds == ()


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root")
def test_an_ordinary_user_knows_that_it_cannot_protect() -> None:
    """The backend tries it, as the user that it runs as, and does not guess."""
    code = (
        "import os; os.setresuid(65534, 65534, 65534);"
        "from runner.sandboxes.plain import PlainSandbox; print(PlainSandbox().protects)"
    )
    root = str(Path(__file__).parents[2])
    # Imported before the change of user, who may not be able to read the interpreter's files.
    code = f"import runner.sandboxes.plain; {code}"
    said = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": root}, capture_output=True, check=True
    )
    assert said.stdout == b"False\n"
