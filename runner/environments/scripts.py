"""Console scripts that name an environment's interpreter, written for another one. Pure."""

from __future__ import annotations

#: The kernel cuts longer first lines.
_LONGEST = 120
_SHELL = b"#!/bin/sh"
_EXEC = b"'''exec' "
_END = b"' '''"


def names_interpreter(text: bytes, folder: str) -> bool:
    """Tell whether the script starts a Python of the directory ``folder``."""
    first, _, rest = text.partition(b"\n")
    wanted = folder.encode()
    if first.startswith(_SHELL):
        return rest.startswith(_EXEC) and wanted in rest.partition(b"\n")[0]
    return first.startswith(b"#!" + wanted)


def with_interpreter(text: bytes, python: str) -> bytes:
    """Return a script that ``names_interpreter`` with ``python`` in its place."""
    first, _, body = text.partition(b"\n")
    if first.startswith(_SHELL):
        _, _, body = body.partition(b"\n")
        body = body.removeprefix(_END + b"\n")
    return header(python) + body


def header(python: str) -> bytes:
    """Return the first lines of a script that is run by ``python``, however long its path is."""
    if len(python) <= _LONGEST and " " not in python:
        return f"#!{python}\n".encode()
    quoted = "'" + python.replace("'", "'\"'\"'") + "'"
    return _SHELL + b"\n" + _EXEC + f'{quoted} "$0" "$@"\n'.encode() + _END + b"\n"
