"""What the operator's options say about claiming."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from runner.app.claiming import rules
from runner.settings import Settings

#: Noon of a day, in UTC.
NOON = 12 * 3600.0


@pytest.fixture
def _zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Start where it is noon at noon."""
    with monkeypatch.context() as here:
        here.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("_zone")
def test_active_hours_are_those_of_the_zone_that_the_machine_has_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever gives the machine another one need not start the daemon anew."""
    found = rules(Settings.load(("--active-hours", "11:00-13:00"), {}))
    assert found.is_open_at is not None
    assert found.is_open_at(NOON)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert not found.is_open_at(NOON)
    assert found.is_open_at(NOON - 9 * 3600)
