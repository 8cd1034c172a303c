"""A fixture around every test: the process logs as before, whatever the test configured."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def logging_put_back() -> Iterator[None]:
    """Give the next test the logging that this one found."""
    handlers = list(logging.getLogger().handlers)
    _log_plainly()
    yield
    structlog.reset_defaults()
    logging.getLogger().handlers[:] = handlers


def _log_plainly() -> None:
    """Do without what structlog does for people: coloured tracebacks take seconds each."""
    renderer = structlog.dev.ConsoleRenderer(
        colors=False, exception_formatter=structlog.dev.plain_traceback
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.dev.set_exc_info,
            renderer,
        ]
    )
