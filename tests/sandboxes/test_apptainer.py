"""The sandbox of Apptainer keeps the contract, in an image of a test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.sandboxes import SANDBOXES
from runner.sandboxes.apptainer import ApptainerSandbox
from runner.sandboxes.base import Command, Sandbox
from tests.contracts.sandboxes import SandboxContract
from tests.lifecycle.runs import Runs

pytestmark = [pytest.mark.anyio, pytest.mark.service("apptainer")]


class TestApptainer(SandboxContract):
    """The contract, on this machine as it is, in a directory that is an image."""

    backend = "apptainer"

    @pytest.fixture
    def sandbox(self) -> Sandbox:
        """The backend out of the registry."""
        made = SANDBOXES.load("apptainer")()
        assert isinstance(made, ApptainerSandbox)
        return made

    @pytest.fixture(autouse=True)
    def _image(self, image: Path) -> None:
        self.image = image

    def command(self, runs: Runs, *argv: str, **changes: object) -> Command:
        """Return a command in the image."""
        return super().command(runs, *argv, **{"image": self.image, **changes})
