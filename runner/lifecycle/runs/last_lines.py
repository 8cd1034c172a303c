"""The last lines of an output, read from its end, and without what is secret."""

from __future__ import annotations

import os
from pathlib import Path

from runner import blocking
from runner.lifecycle.artifacts.regular import open_regular
from runner.redaction import Redactor

_LINES, _LONGEST_LINE = 20, 400
#: Read and redacted for them: a key that begins far above the last lines is known by its first.
_WINDOW = 32 << 10
LIMIT = blocking.Limit(2)  # whoever waits too long for it goes without


async def last_lines(
    path: Path | None, redactor: Redactor, *, most: int = _LINES
) -> tuple[str, ...]:
    """Return them; none where there is no output, or the experiment put something else there.

    Of a line that was written over, as progress bars are, what a terminal would show at the end.
    """
    if path is None:
        return ()
    return await blocking.call(lambda _: _read(path, redactor, most), limit=LIMIT)


def _read(path: Path, redactor: Redactor, most: int) -> tuple[str, ...]:
    data, is_whole = _end(path)
    if not is_whole:  # half of a secret is not recognised
        data = data.partition(b"\n" if b"\n" in data else b"\r")[2]
    if not data.strip():
        return ()
    text = redactor.redact_bytes(data).decode("utf-8", "replace")
    lines = [line.rstrip().rpartition("\r")[2] for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return tuple(_cut(line) for line in lines[-most:])


def _end(path: Path) -> tuple[bytes, bool]:
    """Return the end of the file, and whether that is all of it."""
    try:
        with os.fdopen(open_regular(path, os.O_RDONLY), "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _WINDOW))
            return file.read(_WINDOW), size <= _WINDOW
    except OSError:
        return b"", True


def _cut(line: str) -> str:
    return line if len(line) <= _LONGEST_LINE else line[: _LONGEST_LINE - 1] + "…"
