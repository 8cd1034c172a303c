"""The sandbox with walls of bubblewrap: the machine read-only, and no processes but the run's own.

Mounts that bubblewrap cannot make (overlays, covers with holes) are made by the supervisor first.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from runner.errors import Misconfigured
from runner.sandboxes.base import Command, Identity, Launch, Sandbox
from runner.sandboxes.plain import needed, try_mounts

#: Where everybody may write: a run has its own, empty at first and gone at its end.
_PRIVATE = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - it is their names that count
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - likewise
_DEVICES = Path("/dev")
#: Sockets behind which somebody mightier does what he is asked.
_DOORS = (
    "/run/user",
    "/run/dbus",
    "/run/systemd/private",
    "/run/docker.sock",
    "/run/containerd",
    "/run/crio",
    "/run/podman",
)
#: Of the kernel: root in there would write to them.
_SETTINGS = ("/proc/sys", "/proc/sysrq-trigger")
_HOMES = (Path("/home"), Path("/root"))
#: Looked for besides PATH, which is short in services.
_PLACES = "/usr/local/bin:/usr/bin:/bin"
_REMEDY = "apt-get install bubblewrap (or dnf, apk), or choose --sandbox plain"


class BwrapSandbox(Sandbox):
    """Runs the command in namespaces of its own: mounts, processes, System V memory, host name.

    It reads the machine's files but for homes and ``Command.hidden``, and writes to what is its
    own. Root in there has none of the powers that would lead out.
    """

    name = "bwrap"
    protects = True
    hides = True
    binds = True
    private = _PRIVATE

    def __init__(self) -> None:
        self._program = shutil.which("bwrap", path=os.pathsep.join((_path(), _PLACES)))
        self._hidden = (*_doors(), *homes())
        self._sizes: bool | None = None

    def try_overlays(self, *, lower: Path, upper: Path, identity: Identity | None = None) -> bool:
        """See ``Sandbox``: they are mounted before there are walls, as for a plain run."""
        self.overlays = try_mounts(lower=lower, upper=upper, identity=identity)
        return self.overlays

    def launch(self, command: Command) -> Launch:
        """Put the walls around; raises Misconfigured where bubblewrap is not installed."""
        if self._program is None:
            raise Misconfigured(f"--sandbox bwrap: bubblewrap is not installed: {_REMEDY}")
        if command.overlays and not self.overlays:
            raise ValueError("overlays are asked for that this sandbox does not have")
        hidden = (*command.hidden, *self._hidden)
        return Launch(
            argv=command.argv,
            cwd=command.cwd,
            env=command.env,
            identity=command.identity,
            overlays=command.overlays,
            hidden=hidden,
            visible=needed(command),
            binds=command.binds,
            walls=(self._program, *_options(command, hidden, self._size(command))),
            user_namespace=os.geteuid() != 0,
            leases=command.leases,
        )

    def _size(self, command: Command) -> tuple[str, ...]:
        """Return what bounds a directory in memory, where bubblewrap can: since 0.7."""
        if self._program is None or not command.memory:
            return ()
        if self._sizes is None:
            self._sizes = _knows_sizes(self._program)
        return ("--size", str(command.memory)) if self._sizes else ()


def _knows_sizes(program: str) -> bool:
    try:
        done = subprocess.run([program, "--help"], check=False, capture_output=True)
    except OSError:
        return False
    return b"--size" in done.stdout + done.stderr


def homes() -> tuple[Path, ...]:
    """Return the directories of users, the daemon's own among them, without their links.

    One directly below the root is none: ``/`` and ``/data`` are homes of services, and not theirs.
    """
    named = [os.environ.get("HOME", "")]
    with suppress(KeyError):  # a container's user without a name
        named.append(pwd.getpwuid(os.geteuid()).pw_dir)
    own = (Path(os.path.realpath(name)) for name in named if name)
    deep = (path for path in own if len(path.parts) > 2)  # noqa: PLR2004 - the root counts as one
    found = (*(path for path in _HOMES if path.is_dir()), *deep)
    return tuple(dict.fromkeys(Path(os.path.realpath(path)) for path in found))


def _doors() -> tuple[Path, ...]:
    return tuple(Path(os.path.realpath(door)) for door in _DOORS)


def _path() -> str:
    return os.environ.get("PATH", "")


def _options(command: Command, hidden: tuple[Path, ...], size: tuple[str, ...]) -> Iterator[str]:
    yield from ("--unshare-pid", "--unshare-ipc", "--unshare-uts")
    if not command.network:
        yield "--unshare-net"  # with 127.0.0.1 in it
    # What holds the walls needs no powers; who is root behind them has few, see the supervisor.
    yield from ("--die-with-parent", "--new-session", "--cap-drop", "ALL")
    yield from ("--ro-bind", "/", "/")
    yield from ("--dev", str(_DEVICES), "--proc", "/proc")
    for setting in _SETTINGS:
        yield from ("--ro-bind-try", setting, setting)
    for place in (*_PRIVATE, _SHARED_MEMORY):
        if place == _SHARED_MEMORY or place.is_dir():
            yield from ("--perms", "1777", *size, "--tmpfs", str(place))
    for device in command.devices:
        yield from ("--dev-bind-try", str(device), str(device))
    yield from _shown(command, hidden)


def _shown(command: Command, hidden: tuple[Path, ...]) -> Iterator[str]:
    """Yield what puts back what the covers took, outer directories first.

    A name that leads over links stays one, unless a cover took the links away.
    """
    binds = command.binds
    mine = (*command.writable, *command.visible, *(one.target for one in binds if one.writable))
    readonly = (*command.tools, *command.readonly, *(o.target for o in binds if not o.writable))
    # A store that nobody has made yet is no trouble; a workspace that is gone is.
    wanted = dict.fromkeys(mine, "--bind-try") | dict.fromkeys(command.writable, "--bind")
    wanted |= dict.fromkeys(readonly, "--ro-bind-try")
    covers = (*_PRIVATE, _DEVICES, *hidden)
    kept = {path: how for path, how in wanted.items() if _is_real(path) or _is_in(path, covers)}
    anew = [path for path in hidden if _is_in(path, _PRIVATE) and not _is_in(path, kept)]
    # Of those only what leads to something: the others are not there any more.
    anew = [path for path in anew if any(_is_in(one, (path,)) for one in kept)]
    made, bound = set(_PRIVATE), set[Path]()
    for path, how in sorted((kept | dict.fromkeys(anew, "")).items(), key=_depth):
        if not _is_in(path, bound):
            yield from _parents(path, made)
        (bound if how else made).add(path)
        yield from (how, str(path), str(path)) if how else ("--tmpfs", str(path))
    for path in anew:
        yield from ("--remount-ro", str(path))


def _parents(path: Path, made: set[Path]) -> Iterator[str]:
    """Yield what makes the directories that lead to ``path``: bubblewrap's would be closed."""
    for parent in reversed(path.parents):
        if parent not in made and _is_in(parent, _PRIVATE):
            made.add(parent)
            yield from ("--perms", "0755", "--dir", str(parent))


def _depth(item: tuple[Path, str]) -> int:
    return len(item[0].parts)


def _is_real(path: Path) -> bool:
    return os.path.realpath(path) == str(path)


def _is_in(path: Path, covers: Iterable[Path]) -> bool:
    return any(path.is_relative_to(cover) for cover in covers)
