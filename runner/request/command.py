"""What is started: the script or module, its arguments, its Python."""

from __future__ import annotations

import re
import shlex

from runner.errors import BadField, Unsupported
from runner.request.fields import Fields
from runner.request.names import inside

MODULE = "-m"
#: Linux refuses to start a process with a longer argument or variable.
MAX_ARGUMENT = 128 * 1024 - 1
#: Half of what Linux gives arguments and variables together.
MAX_ARGUMENTS = 2**20

_SHORTEST_QUOTED = 2
_VERSION = re.compile(r"(?:python)?\s*([0-9]{1,2}(?:\.[0-9]{1,3}){0,2})", re.IGNORECASE)


def decode_filename(experiment: Fields, *, has_image: bool = False) -> str:
    """Return the script's path inside the workspace, or ``-m``.

    Empty where the request ``has_image``: a container image has a program of its own to run.
    """
    name = experiment.text("filename")
    if has_image and not name:
        return ""
    return name if name == MODULE else inside(experiment.at("filename"), name)


def decode_args(experiment: Fields, filename: str) -> tuple[str, ...]:
    """Return the arguments as the script shall see them.

    Clients quote each argument for a shell. What arrives as one quoted word is unquoted; nothing
    is ever split, expanded or given to a shell.
    """
    path = experiment.at("args")
    args = tuple(unquoted(arg) for arg in experiment.texts("args"))
    for index, arg in enumerate(args):
        if "\0" in arg:
            raise BadField(f"{path}[{index}]", arg, "NUL cannot be passed to a process")
        if len(arg.encode()) > MAX_ARGUMENT:
            raise BadField(f"{path}[{index}]", arg, f"it may have {MAX_ARGUMENT} bytes at most")
    if sum(len(arg) for arg in args) > MAX_ARGUMENTS:
        remedy = f"all together may have {MAX_ARGUMENTS} characters at most; put them in a file"
        raise BadField(path, f"{len(args)} arguments", remedy)
    if filename == MODULE and (not args or not args[0] or args[0].startswith("-")):
        raise BadField(path, list(args[:3]), "filename is -m: the first one must name a module")
    return args


def unquoted(arg: str) -> str:
    """Return the word that was quoted, or ``arg`` itself where it is no single quoted word."""
    if len(arg) < _SHORTEST_QUOTED or arg[0] not in "'\"" or arg[0] != arg[-1]:
        return arg
    try:
        words = shlex.split(arg)
    except ValueError:
        return arg
    return words[0] if len(words) == 1 else arg


def decode_python(experiment: Fields, *, has_image: bool = False) -> str | None:
    """Return the wanted version, ``"3.11"``.

    Raises Unsupported for Python 2, but where the request ``has_image`` that may bring one.
    """
    written = experiment.text("pythonver").strip()
    if not written:
        return None
    match = _VERSION.fullmatch(written)
    if match is None:
        raise experiment.bad("pythonver", 'write a version such as "3.11"')
    version = match[1]
    if version.split(".")[0] == "2" and not has_image:
        raise Unsupported(
            f"{experiment.at('pythonver')} is {written!r}: Python 2 is not supported; "
            'port the script and write a version such as "3.11"'
        )
    if isinstance(experiment.raw("pythonver"), float) and version == "3.1":
        experiment.warn("pythonver", "is the number 3.1, taken for 3.10; write it as a string")
        version = "3.10"
    return version
