"""Log lines for people and for machines."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys

import pytest

from runner.log import configure, get_logger
from runner.redaction import Redactor


def _log(form: str, level: str = "info") -> io.StringIO:
    redactor = Redactor()
    redactor.add("hunter22")
    stream = io.StringIO()
    configure(level=level, form=form, redactor=redactor, stream=stream)
    return stream


def test_json_has_one_object_per_line() -> None:
    """Time, level, event, component and host, then queue, key, attempt and run, then the rest."""
    stream = _log("json")
    logger = get_logger("runner.queues.local").bind(run="r", size=3, queue="local_q", key="k")
    logger.info("claimed a message", attempt=2)
    names = list(json.loads(stream.getvalue()))
    assert names[:5] == ["time", "level", "event", "component", "host"]
    assert names[5:] == ["queue", "key", "attempt", "run", "size"]
    assert stream.getvalue().count("\n") == 1


def test_auto_is_json_away_from_a_terminal() -> None:
    """A pipe, a file and a journal get JSON."""
    stream = _log("auto")
    get_logger("x").info("hello")
    assert json.loads(stream.getvalue())["event"] == "hello"


@pytest.mark.parametrize("form", ["text", "json"])
def test_every_line_is_redacted(form: str) -> None:
    """Sentences, bound values, tracebacks and libraries' lines all pass the redactor."""
    stream = _log(form)
    logger = get_logger("runner.x").bind(url="amqp://u:hunter22@h")
    logger.warning("the word is hunter22")
    try:
        int("hunter22")
    except ValueError:
        logger.exception("it broke")
    logging.getLogger("watchdog").warning("hunter22 %s", "again")
    assert "hunter22" not in stream.getvalue()
    assert "literal for int() with base 10: '***'" in stream.getvalue()


def test_text_cannot_be_forged() -> None:
    """A line end or a control character in a value does not make a line of its own."""
    stream = _log("text")
    get_logger("runner.x").info("a\nb \x1b[31m", key="k\n2026-01-01 forged")
    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()


def test_levels_hold_for_ours_and_libraries() -> None:
    """Below the level nothing is written; libraries are heard from warnings on."""
    stream = _log("text", level="info")
    get_logger("runner.x").debug("quiet")
    logging.getLogger("watchdog").info("quiet")
    assert stream.getvalue() == ""
    logging.getLogger("watchdog").error("loud")
    assert "loud" in stream.getvalue()


def test_a_reader_that_went_away_is_no_trouble() -> None:
    """Logging to a closed stream raises nothing."""
    stream = _log("text")
    stream.close()
    get_logger("runner.x").info("into the void")


def test_logging_does_not_import_rich() -> None:
    """The daemon's start does not pay for tables that it never draws."""
    code = "import sys, runner.log, runner.settings; sys.exit('rich.console' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
