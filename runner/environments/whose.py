"""Whom other people's code runs as while things are made ready for one experiment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from runner.model import Identity

#: Of the task that makes things ready, and of those that it starts.
_USER: ContextVar[Identity | None] = ContextVar("whose", default=None)


@contextmanager
def working_for(identity: Identity | None) -> Iterator[None]:
    """Have what is built in the block be built as this user; ``None``: as always."""
    before = _USER.set(identity)
    try:
        yield
    finally:
        _USER.reset(before)


def builder(usual: Identity | None) -> Identity | None:
    """Return who builds now, where that is usually this one; ``None``: always the daemon's own."""
    return usual and (_USER.get() or usual)
