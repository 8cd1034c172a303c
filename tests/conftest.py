"""What every test gets: one event loop backend, and a check that nothing is left behind."""

from __future__ import annotations

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """The product runs on asyncio, and so do its tests."""
    return "asyncio"
