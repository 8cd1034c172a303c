"""The sandbox of Apptainer or Singularity: an image's system, and of this machine what is bound.

Apptainer puts up the walls and holds them; the supervisor walks in, as with bubblewrap's, so that
arguments, environment, signals and exit codes pass through nobody's hands.
"""

from __future__ import annotations

import csv
import io
import os
import pwd
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from runner.errors import Misconfigured
from runner.sandboxes.base import Bind, Command, Identity, Launch, Sandbox
from runner.sandboxes.plain import needed, try_mounts

#: Where a run has directories of its own.
_PRIVATE = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - it is their names that count
_DEV = Path("/dev")
_SYSTEM = Path("/sys")
#: Of the kernel: root in there would write to them.
_SETTINGS = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs")
_PROGRAMS = ("apptainer", "singularity")
#: Looked for besides PATH, which is short in services; what Apptainer looks for itself lies there.
_PLACES = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/apptainer/bin"
_REMEDY = "install the package apptainer or singularity-ce (https://apptainer.org/docs/admin)"


class ApptainerSandbox(Sandbox):
    """Runs the command in an image's system, in namespaces of its own, with few devices.

    It sees of this machine what ``Command`` names, at its own name, and the network where it may.
    Who is root in there has none of the powers that would lead out. The image needs ``/bin/sh``.
    An ordinary user's daemon needs user namespaces: no setuid program is made use of.
    """

    name = "apptainer"
    protects = True
    hides = True
    binds = True
    images = True
    private = _PRIVATE

    def __init__(self) -> None:
        path = os.pathsep.join((os.environ.get("PATH", ""), _PLACES))
        found = (shutil.which(program, path=path) for program in _PROGRAMS)
        self._program = next((program for program in found if program), None)

    def try_overlays(self, *, lower: Path, upper: Path, identity: Identity | None = None) -> bool:
        """See ``Sandbox``: they are mounted before there are walls, as for a plain run."""
        self.overlays = try_mounts(lower=lower, upper=upper, identity=identity)
        return self.overlays

    def launch(self, command: Command) -> Launch:
        """Put the image around; raises Misconfigured without one, and without Apptainer."""
        if self._program is None:
            raise Misconfigured(f"--sandbox apptainer: it is not installed: {_REMEDY}")
        if command.image is None:
            raise Misconfigured(
                "--sandbox apptainer: there is no image to run in: name one with --container, or "
                "let the experiment bring one as its artifact _singularity"
            )
        if command.overlays and not self.overlays:
            raise ValueError("overlays are asked for that this sandbox does not have")
        brought, readonly = _brought(command)
        nodes = _other_nodes(command.devices)
        return Launch(
            argv=command.argv,
            cwd=command.cwd,
            env=command.env,
            identity=command.identity,
            overlays=command.overlays,
            hidden=(*_inside(command.hidden, brought), *nodes),
            visible=(*needed(command), *command.devices),
            readonly_binds=readonly,
            binds=(*command.binds, Bind(_SYSTEM, _SYSTEM)),
            walls=(self._program, *_options(command, brought), str(command.image)),
            walls_env={"PATH": _PLACES},
            in_image=True,
            user_namespace=os.geteuid() != 0,
            nameless=os.geteuid() != 0 and _is_nameless(os.geteuid()),
            leases=command.leases,
        )


def _is_nameless(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return True
    return False


def _options(command: Command, brought: dict[Path, bool]) -> Iterator[str]:
    yield from ("--silent", "--nocolor", "exec", "--containall", "--cleanenv", "--no-home")
    yield from _whose(command)
    if not command.network:
        yield from ("--net", "--network", "none")
    if command.devices:
        yield "--nv"
    scratch = Path(command.env.get("TMPDIR", "/"))
    if any(scratch.is_relative_to(own) for own in command.writable) and scratch.is_dir():
        # Else a file system in memory, of 64 MiB for an ordinary user.
        yield from ("--workdir", str(scratch))
    # Apptainer's own would be writable for root, or hold cgroups that are.
    yield from ("--no-mount", "sys")
    yield from _mount(str(_SYSTEM), writable=False)
    for setting in _SETTINGS:
        if _exists(setting):
            yield from _mount(setting, writable=False)
    for path, writable in brought.items():
        yield from _mount(str(path), writable=writable)
    yield from ("--pwd", "/")


def _whose(command: Command) -> Iterator[str]:
    """Yield what makes all in there, the image's own scripts too, the experiment's user's."""
    if os.geteuid() != 0:
        yield "--userns"
        return
    yield "--no-privs"
    identity = command.identity
    if identity is not None and identity.uid != 0:
        for kind, number in (("uid", identity.uid), ("gid", identity.gid)):
            yield from ("--security", f"{kind}:{number}")


def _mount(path: str, *, writable: bool) -> Iterator[str]:
    """Yield the option that binds a path at its own name, which may have any characters."""
    line = io.StringIO()
    words = ["type=bind", f"source={path}", f"destination={path}", *([] if writable else ["ro"])]
    csv.writer(line, quoting=csv.QUOTE_ALL, lineterminator="").writerow(words)
    yield from ("--mount", line.getvalue())


def _brought(command: Command) -> tuple[dict[Path, bool], tuple[Path, ...]]:
    """Return what is to be bound, outer directories first, and whether the run may write there.

    What lies in something that is bound comes along with it; if it must not be written to there,
    the supervisor sees to that before: it is among what is returned besides.
    """
    made = {bind.target: bind.writable for bind in command.binds}
    wanted = dict.fromkeys((*command.tools, *command.readonly), False) | made
    wanted |= dict.fromkeys((*command.writable, *command.visible), True)
    wanted |= dict.fromkeys((overlay.target for overlay in command.overlays), True)
    brought, inside, readonly = dict[Path, bool](), dict[Path, bool](), list[Path]()
    for path in sorted(wanted, key=lambda one: len(one.parts)):
        if path not in command.writable and not _exists(path):
            continue  # a store that nobody has made yet is no trouble
        around = next((inside[parent] for parent in path.parents if parent in inside), None)
        inside[path] = wanted[path]
        if around is None or (wanted[path] and not around):
            brought[path] = wanted[path]
        elif around and not wanted[path] and path not in made:
            readonly.append(path)
    return brought, tuple(readonly)


def _exists(path: str | Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110 - Path.exists raises where we may not look


def _inside(paths: Iterable[Path], brought: Iterable[Path]) -> Iterator[Path]:
    """Yield what of ``paths`` the run would see without a cover, and is not meant to."""
    around = tuple(brought)
    lower = (path for path in paths if path not in around)
    return (path for path in lower if any(path.is_relative_to(one) for one in around))


def _other_nodes(devices: tuple[Path, ...], dev: Path = _DEV) -> Iterator[Path]:
    """Yield the nodes of cards that are not the run's: ``--nv`` would show it all there are."""
    if devices:
        found = (*dev.glob("nvidia[0-9]*"), *dev.glob("nvidia-caps/*"))
        yield from (path for path in sorted(found) if not _is_in(path, devices))


def _is_in(path: Path, devices: tuple[Path, ...]) -> bool:
    return any(path.is_relative_to(device) for device in devices)
