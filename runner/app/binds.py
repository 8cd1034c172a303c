"""Which directories of the machine the operator shows to experiments, and which cannot be."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from runner.app.hidden import hidden
from runner.app.places import Places
from runner.errors import Misconfigured
from runner.sandboxes.base import Bind, Sandbox
from runner.settings import Settings
from runner.settings.kinds import Binding


def binds(settings: Settings, places: Places, sandbox: Sandbox) -> tuple[Bind, ...]:
    """Return what ``--bind`` shows to experiments. Raises Misconfigured."""
    if settings.bind and not sandbox.binds:
        raise Misconfigured(
            f"--bind {settings.bind[0].source}: the sandbox {sandbox.name!r} can mount nothing on "
            "this machine; allow user namespaces, or leave --bind out: a plain run sees the "
            "directory where it is"
        )
    secret = hidden(settings, places, os.environ)
    own = (places.state, settings.working_dir)
    return tuple(_bind(one, secret, own) for one in settings.bind)


def _bind(wanted: Binding, secret: Iterable[Path], own: Iterable[Path]) -> Bind:
    for path in (wanted.source, wanted.target):
        if not path.is_dir():
            raise Misconfigured(f"--bind {wanted.source}: {path} is no directory here; make it")
    source, target = (Path(os.path.realpath(path)) for path in (wanted.source, wanted.target))
    closed = next((path for path in secret if source.is_relative_to(path)), None)
    if closed is not None:
        raise Misconfigured(
            f"--bind {wanted.source}: it lies in {closed}, which experiments must not see"
        )
    if any(Path(os.path.realpath(path)).is_relative_to(target) for path in own):
        raise Misconfigured(
            f"--bind {wanted.source}: at {wanted.target} it would cover the runner's own "
            "directories; name another DEST"
        )
    return Bind(source, target, wanted.writable)
