"""The plain sandbox keeps the contract and says what it cannot do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runner.sandboxes import SANDBOXES
from runner.sandboxes.base import Command, Identity, Launch, Overlay, Sandbox
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
        own_processes=sandbox.encloses,
    )


def test_without_the_right_to_mount_nothing_is_bound() -> None:
    """What cannot be had is not asked for: the run starts, and ``protects`` tells the truth."""
    sandbox = PlainSandbox()
    sandbox.protects = sandbox.hides = False
    command = Command(("a",), Path("/"), {}, readonly=(Path("/shared"),), hidden=(Path("/c"),))
    launch = sandbox.launch(command)
    assert (launch.readonly_binds, launch.hidden, launch.user_namespace) == ((), (), False)


def test_what_is_hidden_leaves_what_is_needed() -> None:
    """The supervisor is told of everything that the run has a use for."""
    own, shared, needed, state = (Path(f"/s/{name}") for name in ("own", "shared", "needed", ""))
    sandbox = PlainSandbox()
    sandbox.hides = True
    launch = sandbox.launch(
        Command(
            *(("a",), own, {}),
            writable=(own,),
            readonly=(shared,),
            visible=(needed,),
            hidden=(state,),
        )
    )
    assert (launch.hidden, launch.visible) == ((state,), (own, shared, needed))


def test_an_overlay_that_cannot_be_had_is_never_left_out_silently() -> None:
    """A run without its workspace would fail in a way that nobody understands."""
    here = Path("/")
    command = Command(("a",), here, {}, overlays=(Overlay(here, here, here, here),))
    with pytest.raises(ValueError, match="overlays"):
        PlainSandbox().launch(command)


def test_trying_overlays_leaves_nothing(tmp_path: Path) -> None:
    """Whatever the answer is, both directories are as before."""
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    lower.mkdir()
    upper.mkdir()
    (lower / "file").touch()
    sandbox = PlainSandbox()
    assert sandbox.try_overlays(lower=lower, upper=upper) == sandbox.overlays
    assert {path.name for path in tmp_path.rglob("*")} == {"lower", "upper", "file"}


def test_overlays_of_what_is_not_there_cannot_be_had(tmp_path: Path) -> None:
    """The answer is no, and no error."""
    assert not PlainSandbox().try_overlays(lower=tmp_path / "gone", upper=tmp_path)


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
