"""A daemon that says what a test has it say: the real control socket, and nothing behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anyio.from_thread import start_blocking_portal

from runner.control.server import ControlServer

Item = dict[str, Any]


@contextmanager
def told(state: Path, found: Item) -> Iterator[list[Item]]:
    """Answer ``status`` with ``found``, whatever it is by then; give what else was asked for."""
    asked: list[Item] = []

    async def status(_: Item) -> AsyncIterator[Item]:
        yield found

    async def note(arguments: Item) -> AsyncIterator[Item]:
        asked.append(arguments)
        yield {"suspended_by": []}

    state.mkdir(parents=True, exist_ok=True)
    server = ControlServer(
        state / "control.sock", {"status": status, "suspend": note, "resume": note}
    )
    with start_blocking_portal() as portal:
        future, _ = portal.start_task(server.serve)
        try:
            yield asked
        finally:
            future.cancel()
