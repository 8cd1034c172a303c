"""The seam to sandboxes: where and as whom a command runs. Pure: the supervisor does the starting.

Promises held by ``tests/contracts/sandboxes.py`` for every backend:

* Nothing passes a shell: ``argv`` and ``env`` arrive in the process byte for byte.
* ``Command.readonly`` directories cannot be changed by the run where the backend says that it
  ``protects``; a backend that cannot says so before the run starts.
* ``Command.overlays`` are the run's to change while their ``lower`` stays as it is, where the
  backend says that it ``overlays``.
* Nothing in ``Command.hidden`` can be seen or changed, where the backend says that it ``hides``;
  what is ``writable``, ``readonly`` or ``visible`` and lies there can, each as it is meant.
* ``Command.binds`` are seen at their targets, read-only unless they are ``writable``, where the
  backend says that it ``binds``.
* Without ``Command.network`` there is 127.0.0.1 alone, and nobody at it but the run.
* ``Command.leases`` are held until the last process of the run has ended.
* The exit code of the command is the exit code of the launch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runner.model import Bytes, Identity

__all__ = ["Bind", "Bounds", "Command", "Identity", "Launch", "Sandbox"]

_NONE = Bytes(0)


@dataclass(frozen=True, slots=True)
class Overlay:
    """A shared directory that one run sees as its own: what it changes goes elsewhere."""

    #: Where the run sees it; an empty directory of the run's workspace.
    target: Path
    #: What it begins with, never changed.
    lower: Path
    #: Two empty directories on one file system: for the changes, and for the kernel.
    upper: Path
    work: Path


@dataclass(frozen=True, slots=True)
class Bind:
    """A directory of the machine that the operator shows to all runs."""

    source: Path
    #: Where runs see it: a directory that is there.
    target: Path
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Bounds:
    """What all processes of a run may use together; 0 is no bound."""

    #: Resident, page cache that cannot be given back included.
    memory: Bytes = _NONE
    #: The experiment asked for that memory; else it is what the machine gives to all of them, and
    #: this one gives way first when the machine runs short.
    memory_asked: bool = True
    #: As much processor time as so many cores give.
    cores: int = 0
    #: Processes and threads.
    pids: int = 0
    #: No more cores than that, even where others are idle; else its share when they are not.
    hard_cores: bool = True
    #: The run's user is its own: the kernel counts the processes of that one, too.
    own_user: bool = False
    #: How: ``cgroup`` or ``measure``; empty: not at all.
    enforce: str = ""
    #: Nothing is started where that cannot be had; else a run without control groups is measured.
    enforce_strictly: bool = False


UNBOUNDED = Bounds()


@dataclass(frozen=True, slots=True)
class Command:
    """What is to be run, before a sandbox is put around it."""

    argv: tuple[str, ...]
    cwd: Path
    #: The complete environment of the process; nothing is inherited.
    env: Mapping[str, str]
    #: Directories the run owns and may write to.
    writable: tuple[Path, ...] = ()
    #: Directories it may read but never change.
    readonly: tuple[Path, ...] = ()
    #: Only for a sandbox that ``overlays``.
    overlays: tuple[Overlay, ...] = ()
    #: Directories it must not see into and files it must not open, hidden after the overlays were
    #: made from them. Absolute and without links, as are the next ones.
    hidden: tuple[Path, ...] = ()
    #: Directories that it needs, wherever they lie.
    visible: tuple[Path, ...] = ()
    #: Likewise, and that it has no business to change: where its interpreter lies.
    tools: tuple[Path, ...] = ()
    #: Only for a sandbox that ``binds``.
    binds: tuple[Bind, ...] = ()
    #: What each directory of its own that lies in memory holds at most; 0: what the kernel grants.
    memory: Bytes = _NONE
    #: Device nodes of its cards; a sandbox that hides devices shows these.
    devices: tuple[Path, ...] = ()
    #: Of a sandbox with ``images``: the directory or the file whose system the command runs in.
    image: Path | None = None
    #: ``False``: it reaches no network, and of this machine none but itself.
    network: bool = True
    #: Files on which the supervisor holds a shared lock as long as the run lives.
    leases: tuple[Path, ...] = ()
    #: ``None``: the daemon's own user.
    identity: Identity | None = None


@dataclass(frozen=True, slots=True)
class Launch:
    """What the supervisor executes; plain data, written to the run's directory as JSON."""

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    identity: Identity | None = None
    #: The supervisor puts these read-only binds into a mount namespace of the run's own.
    readonly_binds: tuple[Path, ...] = ()
    #: Made there before the binds; then ``hidden`` is covered.
    overlays: tuple[Overlay, ...] = ()
    hidden: tuple[Path, ...] = ()
    #: Stays where it is below what is hidden.
    visible: tuple[Path, ...] = ()
    #: Made after that; the sources were opened before.
    binds: tuple[Bind, ...] = ()
    #: Bubblewrap or Apptainer with its options, to be put up around all this; empty: no walls.
    walls: tuple[str, ...] = ()
    #: The environment of that program, which is not that of the command.
    walls_env: Mapping[str, str] = field(default_factory=dict)
    #: Behind the walls lies an image's system: ``argv`` and ``cwd`` are found there, its own
    #: environment lies below ``env``, and the directories of its ``PATH`` come last.
    in_image: bool = False
    #: Mounting takes a user namespace of the run's own, too.
    user_namespace: bool = False
    #: Our user has no entry in the machine's list of users, and who puts up the walls wants one.
    nameless: bool = False
    #: The supervisor gives the run a network of its own, with nobody else in it.
    own_network: bool = False
    #: The supervisor gives the run a namespace of processes, whatever has walls has one anyway.
    own_processes: bool = False
    #: Files on which the supervisor holds a shared lock.
    leases: tuple[Path, ...] = ()
    #: ``False`` only for a command that must itself be setuid, as some container starters are.
    no_new_privileges: bool = True


class Sandbox(ABC):
    """Puts a wall around a command."""

    #: Registry name.
    name: str
    #: ``Command.readonly`` cannot be changed by the run, not even as root.
    protects: bool = False
    #: ``Command.overlays`` can be had. Tried by ``try_overlays``.
    overlays: bool = False
    #: ``Command.hidden`` is.
    hides: bool = False
    #: Directories of which a run has one of its own, empty at first, but for what it needs there.
    private: tuple[Path, ...] = ()
    #: ``Command.binds`` can be had.
    binds: bool = False
    #: ``Command.image`` can be had.
    images: bool = False

    def try_overlays(self, *, lower: Path, upper: Path, identity: Identity | None = None) -> bool:
        """Find out whether runs can have overlays of what lies in ``lower``, changed in ``upper``.

        With an ``identity`` of another user's files, as that user's own.
        The answer is kept in ``overlays``. Both directories exist; nothing stays in either. Blocks
        for the time of starting a process.
        """
        del lower, upper, identity
        return self.overlays

    @abstractmethod
    def launch(self, command: Command) -> Launch:
        """Wrap ``command``. Raises Misconfigured when this machine cannot do it."""
