"""What a name in a message may be: it becomes part of paths, log lines and addresses."""

from __future__ import annotations

import re

from runner.errors import BadField

#: What file systems allow for one component of a path.
COMPONENT_BYTES = 255
#: The limit of S3 for an object's key; also long enough for any path inside a workspace.
PATH_BYTES = 1024
#: The limit of Linux for a path, the closing NUL included.
FILE_PATH_BYTES = 4095

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
#: The directory of one attempt holds these beside the artifacts; they belong to the runner.
_RESERVED_LABELS = frozenset({"_runner", "_tmp", "_home", "_env"})


def component(path: str, name: str) -> str:
    """Return ``name`` if it can be one component of a path; ``path`` names it in the error."""
    if not name:
        raise BadField(path, name, "it is missing; write a name")
    _no_control(path, name)
    if "/" in name or name in {".", ".."}:
        raise BadField(path, name, "write a plain name, without / and not . or ..")
    _short(path, name, COMPONENT_BYTES)
    return name


def label(path: str, name: str) -> str:
    """Return an artifact's label: it names a directory beside the workspace."""
    component(path, name)
    if name in _RESERVED_LABELS:
        raise BadField(path, name, "this name is the runner's own; choose another label")
    return name


def relative(path: str, name: str, limit: int = PATH_BYTES) -> str:
    """Return a path of several components, none of which leads upwards."""
    if not name:
        raise BadField(path, name, "it is missing; write a path")
    _no_control(path, name)
    _short(path, name, limit)
    for part in name.split("/"):
        if part == "..":
            raise BadField(path, name, "a path must not contain ..")
        _short(path, part, COMPONENT_BYTES)
    return name


def inside(path: str, name: str) -> str:
    """Return a file's path inside the workspace, as it is written."""
    relative(path, name)
    if name.startswith("/"):
        raise BadField(path, name, "write a path relative to the workspace")
    if name.startswith("-"):
        raise BadField(path, name, f"this reads like an option; write ./{name[:40]}")
    if not any(part not in {"", "."} for part in name.split("/")):
        raise BadField(path, name, "name a file inside the workspace")
    return name


def visible(path: str, text: str) -> str:
    """Return a text that may stand in a log line: no control characters."""
    _no_control(path, text)
    return text


def blanked(text: str) -> str:
    """Return a text that is shown and means nothing, with blanks for control characters."""
    return _CONTROL.sub(" ", text)


def _no_control(path: str, name: str) -> None:
    if _CONTROL.search(name):
        raise BadField(path, name, "control characters, line ends and NUL are not allowed")


def _short(path: str, name: str, limit: int) -> None:
    if len(name.encode("utf-8", "surrogatepass")) > limit:
        raise BadField(path, name, f"it may have {limit} bytes at most")
