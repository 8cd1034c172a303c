"""How Apptainer is told to get an image, and what its last words mean. Pure."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from runner.environments.failures import last_lines
from runner.environments.sources import NETWORK
from runner.errors import (
    ArtifactBad,
    ArtifactMissing,
    HostFault,
    OutOfDisk,
    RunnerError,
    Unavailable,
)
from runner.images.base import Ended, words
from runner.images.reference import Reference

#: Where its helpers lie (mksquashfs, fakeroot), whatever the daemon's own PATH says.
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
#: What opens a registry, in the daemon's own environment: the operator's, for pulls alone, in which
#: no code of an image runs.
REGISTRY = ("APPTAINER_DOCKER_USERNAME", "APPTAINER_DOCKER_PASSWORD", "APPTAINER_NOHTTPS")

_DISK_FULL = ("No space left on device", "no space left on device", "Disk quota exceeded")
_MISSING = (
    "manifest unknown",
    "MANIFEST_UNKNOWN",
    "name unknown",
    "NAME_UNKNOWN",
    "repository name not known",
    ": not found",
    "404 Not Found",
    "does not exist in the library",
    "requested access to the resource is denied",
    "unauthorized",
    "UNAUTHORIZED",
    "authentication required",
    "403 Forbidden",
)
_NO_ANSWER = (
    "no such host",
    "connection refused",
    "connection reset",
    "i/o timeout",
    "TLS handshake timeout",
    "Client.Timeout",
    "deadline exceeded",
    "network is unreachable",
    "no route to host",
    "server misbehaving",
    "unexpected EOF",
    "toomanyrequests",
    "429 Too Many Requests",
    "500 Internal",
    "502 Bad Gateway",
    "503 Service",
    "504 Gateway",
    "no library client",
)
#: The machine lets its users build nothing.
_POWERLESS = (
    "user namespace",
    "newuidmap",
    "fakeroot",
    "must be root",
    "Operation not permitted",
    "operation not permitted",
)


def program() -> Path | None:
    """Return Apptainer, or Singularity, which takes the same words."""
    path = os.pathsep.join((os.environ.get("PATH", ""), PATH))
    found = shutil.which("apptainer", path=path) or shutil.which("singularity", path=path)
    return Path(found) if found else None


def getting(
    tool: Path, reference: Reference, recipe: Path | None, target: Path, *, is_root: bool
) -> tuple[str, ...]:
    """Return the command that makes ``target``, a SIF file.

    What a definition file says takes the powers of root over its own files: another user plays it.
    """
    if recipe is not None:
        fake = () if is_root else ("--fakeroot",)
        return words((tool, "build", "--disable-cache", *fake, target, recipe))
    # A signature says who made an image; whom the operator trusts is said by patterns.
    unsigned = ("--allow-unsigned",) if reference.text.startswith("library://") else ()
    return words((tool, "pull", "--disable-cache", *unsigned, target, reference.text))


def variables(scratch: Path, own: Mapping[str, str], *, has_code: bool) -> dict[str, str]:
    """Return the whole environment: of the daemon's ``own``, how the network is reached.

    And what opens a registry, unless code of an image runs (``has_code``).
    """
    names = NETWORK if has_code else (*NETWORK, *REGISTRY)
    place = str(scratch)
    return {
        "PATH": PATH,
        "LANG": "C.UTF-8",
        **{name: own[name] for name in names if own.get(name)},
        "HOME": place,
        "TMPDIR": place,
        "APPTAINER_TMPDIR": place,
        "APPTAINER_CACHEDIR": f"{place}/cache",
        "APPTAINER_CONFIGDIR": f"{place}/config",
        "SINGULARITY_TMPDIR": place,
        "SINGULARITY_CACHEDIR": f"{place}/cache",
    }


def explain(
    reference: Reference, ended: Ended, patience: timedelta, *, has_code: bool
) -> RunnerError:
    """Return the error that the end of a command stands for: whose fault it is, and what it said.

    ``has_code``: it was a build, of what a definition file says.
    """
    name = f"the container image {reference.text}"
    text = last_lines(ended.text)
    if ended.code is None:
        text = f"it was not there after {patience}\n{text}"
    blame, said = _blame(ended, has_code=has_code)
    return blame(f"{name} {said}: {text}")


def _blame(ended: Ended, *, has_code: bool) -> tuple[type[RunnerError], str]:
    """Return who must act, and what is to be said; the first that fits decides."""

    def tells(signs: Sequence[str]) -> bool:
        return any(sign in ended.text for sign in signs)

    theirs = (ArtifactBad, "cannot be built as its definition file says")
    world = (Unavailable, "cannot be had now, for its registry does not answer")
    cases: Sequence[tuple[bool, tuple[type[RunnerError], str]]] = (
        (tells(_DISK_FULL), (OutOfDisk, "has no space left for it")),
        (not ended.started, (HostFault, "cannot be got on this machine")),
        (ended.code is None, theirs if has_code else world),
        (tells(_NO_ANSWER), world),
        (not has_code and tells(_MISSING), (ArtifactMissing, "does not exist, or is not public")),
        (not has_code or tells(_POWERLESS), (HostFault, "cannot be made on this machine")),
    )
    return next((blame for fits, blame in cases if fits), theirs)
