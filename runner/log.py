"""Structured logging, set up once: text for people or JSON for machines, every line redacted."""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import socket
import sys
import threading
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, TextIO

from runner.redaction import Redactor


@contextmanager
def _without_rich() -> Iterator[None]:
    """Keep structlog from importing rich for its pretty tracebacks, which we do not use.

    Tried: 0.3 s of the daemon's start and 15 MB of its memory.
    """
    absent = "rich" not in sys.modules
    if absent:
        sys.modules["rich"] = None  # type: ignore[assignment]  # makes an import of it fail
    try:
        yield
    finally:
        if absent:
            del sys.modules["rich"]


with _without_rich():
    import structlog

Event = MutableMapping[str, Any]
#: Shown first, in this order; all others follow in the order in which they were bound.
_FIRST = ("queue", "key", "attempt", "run")
_COLOURS = {"debug": "2", "warning": "33", "error": "31", "critical": "1;31"}


def configure(
    *,
    level: str,
    form: str,
    redactor: Redactor,
    stream: TextIO | None = None,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Set up all logging of this process, the libraries' too (those from warnings on).

    ``level`` and ``form`` are ``Settings.log_level`` and ``log_format``; ``stream`` is stderr.
    """
    out = stream or sys.stderr
    on_terminal = out.isatty()
    text = form == "text" or (form == "auto" and on_terminal)
    colour = text and on_terminal and not environ.get("NO_COLOR")
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            _Text(redactor, colour=colour) if text else _Json(redactor),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: _Lines(out),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    for handler in [h for h in root.handlers if isinstance(h, _Libraries)]:
        root.removeHandler(handler)
    root.addHandler(_Libraries(max(number, logging.WARNING)))


def get_logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """Return a logger; bind ``queue``, ``key``, ``attempt`` and ``run`` where they are known."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(
        component=name.removeprefix("runner.")
    )
    return logger


def catch_uncaught() -> None:
    """Have errors that nobody caught, in any thread, logged as all else: redacted, on one line.

    Python itself would print them as they are, whatever an address in them holds.
    """
    logger = get_logger("uncaught")

    def main(kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            return
        logger.critical("a defect of the runner ends it", exc_info=error)

    def thread(found: threading.ExceptHookArgs) -> None:
        if not issubclass(found.exc_type, SystemExit):
            logger.error("a defect of the runner ends a thread", exc_info=found.exc_value)

    sys.excepthook, threading.excepthook = main, thread
    sys.unraisablehook = lambda found: logger.error(
        "a defect of the runner was passed over", exc_info=found.exc_value
    )


class _Lines:
    """Writes lines. A reader that went away (``| head``) must not stop the daemon."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        """Write one line at once, so that lines of several threads do not mix."""
        with suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()

    debug = info = warning = warn = error = critical = exception = fatal = log = msg


class _Libraries(logging.Handler):
    """Passes on what libraries log."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record as one of ours."""
        logger = get_logger(record.name)
        logger.log(record.levelno, record.getMessage(), exc_info=record.exc_info or None)


def _ordered(event: Event) -> dict[str, Any]:
    first = {name: event.pop(name) for name in _FIRST if name in event}
    return {**first, **event}


class _Json:
    """One JSON object per line."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._host = socket.gethostname()

    def __call__(self, _logger: Any, _method: str, event: Event) -> str:
        line = {
            "time": dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"),
            "level": event.pop("level"),
            "event": str(event.pop("event", "")),
            "component": event.pop("component", ""),
            "host": self._host,
            **_ordered(event),
        }
        return self._redactor.redact(json.dumps(line, default=str, ensure_ascii=False))


class _Text:
    """A line for people: time, level, component, sentence, then what is bound."""

    def __init__(self, redactor: Redactor, *, colour: bool) -> None:
        self._redactor = redactor
        self._colour = colour

    def __call__(self, _logger: Any, _method: str, event: Event) -> str:
        level = event.pop("level")
        sentence = _printable(str(event.pop("event", "")))
        component = event.pop("component", "")
        trace = event.pop("exception", "")
        now = dt.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")
        bound = "".join(f"  {name}={_shown(value)}" for name, value in _ordered(event).items())
        mark = self._paint(_COLOURS.get(level, "32"), f"{level:<8}")
        line = f"{self._paint('2', now)} {mark} {component}: {sentence}{self._paint('2', bound)}"
        # A traceback keeps its lines; everything that came from outside has lost its own.
        return self._redactor.redact(line + (f"\n{trace}" if trace else ""))

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour and text else text


def _printable(text: str) -> str:
    """Escape line ends and control characters: a message must not forge a line of the log."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _shown(value: Any) -> str:
    text = _printable(str(value))
    return json.dumps(text, ensure_ascii=False) if not text or " " in text else text
