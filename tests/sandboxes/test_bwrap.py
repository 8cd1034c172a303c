"""The sandbox of bubblewrap keeps the contract, as root and as an ordinary user."""

from __future__ import annotations

import pytest

from runner.sandboxes import SANDBOXES
from runner.sandboxes.base import Sandbox
from runner.sandboxes.bwrap import BwrapSandbox
from tests.contracts.sandboxes import SandboxContract

pytestmark = [pytest.mark.anyio, pytest.mark.service("bwrap")]


class TestBwrap(SandboxContract):
    """The contract, on this machine as it is."""

    backend = "bwrap"

    @pytest.fixture
    def sandbox(self) -> Sandbox:
        """The backend out of the registry."""
        made = SANDBOXES.load("bwrap")()
        assert isinstance(made, BwrapSandbox)
        return made
