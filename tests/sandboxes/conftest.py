"""What tests of sandboxes begin with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.lifecycle.runs import Runs, runs_below
from tests.passage import open_to_all


@pytest.fixture
async def runs(tmp_path: Path) -> AsyncIterator[Runs]:
    """A directory for runs that everybody can pass through, without any left afterwards."""
    open_to_all(tmp_path)
    async with runs_below(tmp_path) as found:
        yield found
