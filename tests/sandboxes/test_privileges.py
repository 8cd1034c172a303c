"""What holds in every sandbox that is registered, whatever it is made of."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from runner.errors import Misconfigured
from runner.sandboxes import SANDBOXES
from runner.sandboxes.base import Command, Identity, Sandbox


@pytest.mark.parametrize("name", sorted(SANDBOXES))
@pytest.mark.parametrize("identity", [None, Identity(61001, 61000)])
def test_nothing_that_runs_gains_privileges(
    name: str, identity: Identity | None, tmp_path: Path
) -> None:
    """A program with the set-user bit is one like any other: ``no_new_privs``, always."""
    sandbox = cast("Sandbox", SANDBOXES.load(name)())
    command = Command(
        argv=("/bin/true",),
        cwd=tmp_path,
        env={},
        writable=(tmp_path,),
        image=tmp_path if sandbox.images else None,
        identity=identity,
    )
    try:
        launch = sandbox.launch(command)
    except Misconfigured as error:
        pytest.skip(f"{name} cannot be had here: {error}")
    assert launch.no_new_privileges
    assert launch.identity == identity
