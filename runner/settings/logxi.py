"""The original's ``LOGXI`` and ``LOGXI_FORMAT`` variables in our words (protocol section 8.6)."""

from __future__ import annotations

from collections.abc import Mapping

_LEVELS = {
    "TRC": "debug",
    "DBG": "debug",
    "INF": "info",
    "WRN": "warning",
    "ERR": "error",
    "FTL": "critical",
}


def level(text: str) -> str | None:
    """Return the level that ``LOGXI`` gives the runner: ``*=DBG``, ``*``, ``runner=TRC``.

    The last part that is about everything or about the runner counts; ``None`` where none is.
    """
    found = None
    for part in text.split(","):
        name, _, written = part.strip().partition("=")
        if name in {"*", "runner"}:
            found = _LEVELS.get(written.upper(), "debug") if written else "debug"
    return found


def form(text: str) -> str | None:
    """Return the format that ``LOGXI_FORMAT`` names: ``JSON``, ``text``, ``happy,maxcol=1024``."""
    words = {part.strip().lower() for part in text.split(",")}
    if "json" in words:
        return "json"
    return "text" if words & {"text", "happy"} else None


def translated(environ: Mapping[str, str]) -> Mapping[str, tuple[str, str]]:
    """Return option name to variable and value, for what these variables decide."""
    found = {
        "log-level": ("LOGXI", level(environ.get("LOGXI", ""))),
        "log-format": ("LOGXI_FORMAT", form(environ.get("LOGXI_FORMAT", ""))),
    }
    return {name: (variable, value) for name, (variable, value) in found.items() if value}
