"""The directory of one attempt: made, handed to the experiment's user, and removed completely."""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import os
import stat
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from runner import blocking
from runner.errors import BadField, HostFault, Misconfigured, host_fault
from runner.handover import Locks
from runner.removal import remove_tree
from runner.sandboxes.base import Identity, Overlay

EXPERIMENTS = "experiments"
_PRIVATE, _SCRATCH, _HOME, _ENVIRONMENT = "_runner", "_tmp", "_home", "_env"
_OVERLAYS = "overlays"
_OURS = frozenset({_PRIVATE, _SCRATCH, _HOME, _ENVIRONMENT})

#: Removing is metadata work of the disk; more threads than this only make it slower.
_LIMIT = blocking.Limit(2)


@dataclass(frozen=True, slots=True)
class Workspace:
    """``<working-dir>/experiments/<hash>.<n>`` of protocol section 7.1.

    The directory itself stays the daemon's: an experiment under another identity owns what lies in
    it, label by label, but cannot put a link in the place of a label's directory.
    """

    root: Path
    #: The user the experiment runs as; ``None``: the daemon's own.
    identity: Identity | None = None

    @classmethod
    def create(cls, working_dir: Path, key: str, identity: Identity | None = None) -> Workspace:
        """Make the first free directory for this experiment key.

        Raises Misconfigured when ``identity`` could not reach it, HostFault or OutOfDisk when the
        disk refuses.
        """
        experiments = working_dir / EXPERIMENTS
        try:
            _make_parents(experiments, identity)
            workspace = cls(_first_free(experiments, key), identity)
            workspace._fill()
        except OSError as error:
            raise host_fault(f"no workspace can be made below {working_dir}", error) from error
        return workspace

    @classmethod
    def at(cls, root: Path, identity: Identity | None = None) -> Workspace:
        """Return the workspace of a run that a restarted daemon adopts. Raises HostFault."""
        if not root.is_dir():
            raise HostFault(f"the workspace {root} is gone")
        return cls(root, identity)

    @property
    def name(self) -> str:
        """``<hash>.<n>``, the value of ``STUDIOML_EXPERIMENT``."""
        return self.root.name

    @property
    def code(self) -> Path:
        """Where the script starts."""
        return self.root / "workspace"

    @property
    def log(self) -> Path:
        """What the experiment prints."""
        return self.root / "output" / "output"

    @property
    def private(self) -> Path:
        """Out of the experiment's reach, where it runs as another user; for our own notes."""
        return self.root / _PRIVATE

    @property
    def scratch(self) -> Path:
        """The experiment's ``TMPDIR``."""
        return self.root / _SCRATCH

    @property
    def home(self) -> Path:
        """The experiment's ``HOME`` and ``STUDIOML_HOME``.

        ``experiments/<name>`` below it leads back to this workspace: the client's library looks for
        ``$STUDIOML_HOME/experiments/$STUDIOML_EXPERIMENT/modeldir``.
        """
        return self.root / _HOME

    @property
    def environment(self) -> Path:
        """Where the environment is attached; not made here."""
        return self.root / _ENVIRONMENT

    def directory(self, label: str) -> Path:
        """Return where an artifact lies. Raises BadField for a label that cannot be a name here."""
        if label in _OURS or label in {"", ".", ".."} or "/" in label or "\0" in label:
            raise BadField("experiment.artifacts", label, "use another label")
        return self.root / label

    def written(self) -> dict[Path, str]:
        """Return the directories that the experiment writes to, each with the name it knows.

        Raises OSError.
        """
        found = {path: path.name for path in self.root.iterdir() if path.name != _PRIVATE}
        # The kernel prepares changes there.
        works = (self.private / _OVERLAYS).glob("*")
        return found | {path: path.name for path in works}

    def make(self, label: str) -> None:
        """Make an artifact's directory, if it is not there, for the experiment to write in."""
        path = self.directory(label)
        if not path.exists():
            path.mkdir(mode=0o700)
            self._give(path)

    def overlay(self, label: str, lower: Path) -> Overlay:
        """Make what an overlay of ``lower`` at an artifact's directory takes. Raises OSError.

        What the run changes comes to lie in that directory itself, below what is mounted on it: a
        person finds it there afterwards. What it removed is a device with the numbers 0, 0.
        """
        self.make(label)
        work = self.private / _OVERLAYS / label
        work.mkdir(mode=0o700, parents=True)
        return Overlay(self.directory(label), lower, self.directory(label), work)

    def put(self, label: str, staged: Path) -> None:
        """Put a finished tree at an artifact's directory, in place of what is there."""
        place = self.directory(label)
        remove_tree(place)
        staged.rename(place)

    def hand_over(self, path: Path) -> None:
        """Give ``path`` and all below it to the experiment's user; links are not followed.

        Only for a tree that nobody else can change meanwhile.
        """
        if self.identity is None:
            return
        waiting = [path]
        while waiting:
            folder = waiting.pop()
            self._give(folder)
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(folder / entry.name)
                    else:
                        self._give(folder / entry.name)

    async def remove(self) -> None:
        """Remove everything, however deep, read-only or large. Raises HostFault for what stays."""
        await blocking.call(lambda stop: remove_tree(self.root, stop.check), limit=_LIMIT)

    def _give(self, path: Path) -> None:
        if self.identity is not None:
            os.chown(path, self.identity.uid, self.identity.gid, follow_symlinks=False)

    def _fill(self) -> None:
        mode = 0o700 if self.identity is None else 0o711
        self.root.chmod(mode)
        self.private.mkdir(mode=0o700)
        for own in (self.code, self.log.parent, self.scratch, self.home):
            own.mkdir(mode=0o700)
        link = self.home / EXPERIMENTS / self.name
        link.parent.mkdir(mode=0o700)
        link.symlink_to(Path("..") / "..")
        for own in (self.code, self.log.parent, self.scratch, self.home):
            self.hand_over(own)


def leftovers(working_dir: Path, keep: Collection[Path]) -> list[Path]:
    """Return the workspaces that a dead daemon left, but those in ``keep``.

    Only for who has the working directory to itself, see ``hold``, and before it makes its first.
    Raises Misconfigured for what is no directory of ours.
    """
    kept = {path.name for path in keep}
    experiments = working_dir / EXPERIMENTS
    try:
        found = sorted(experiments.iterdir()) if os.path.lexists(experiments) else ()
    except OSError as error:
        raise Misconfigured(f"{experiments} cannot be used: {error.strerror}; remove it") from error
    return [path for path in found if path.name not in kept]


async def sweep(left: Iterable[Path]) -> list[Path]:
    """Remove ``leftovers`` and return the removed. Raises HostFault at the end for what stays."""
    removed, trouble = [], []
    for path in left:
        try:
            await Workspace(path).remove()
        except HostFault as error:
            trouble.append(str(error))
        else:
            removed.append(path)
    if trouble:
        raise HostFault("; ".join(trouble))
    return removed


@contextmanager
def hold(working_dir: Path, locks: Locks | None = None) -> Iterator[None]:
    """Have the working directory to ourselves while the block lasts. Raises Misconfigured."""
    locks = locks or Locks()
    try:
        working_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        real = working_dir.resolve()
        descriptor = locks.descriptor(real, lambda: os.open(real, os.O_RDONLY | os.O_DIRECTORY))
    except OSError as error:
        raise Misconfigured(
            f"--working-dir {working_dir} cannot be used: {error.strerror}"
        ) from error
    try:
        _lock(descriptor, working_dir)
        yield
    finally:
        locks.release(descriptor)


def unreachable(path: Path, identity: Identity) -> Path | None:
    """Return the highest directory on the way to ``path`` that keeps ``identity`` out, if any."""
    if identity.uid == 0:
        return None
    for folder in reversed((path, *path.parents)):
        found = folder.stat()
        if found.st_uid == identity.uid:
            needed = stat.S_IXUSR
        elif found.st_gid == identity.gid:
            needed = stat.S_IXGRP
        else:
            needed = stat.S_IXOTH
        if not found.st_mode & needed:
            return folder
    return None


def _lock(descriptor: int, working_dir: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise Misconfigured(
            f"another studio-runner uses --working-dir {working_dir}; give each its own"
        ) from error


def _hash(key: str) -> str:
    return hashlib.blake2b(key.encode(), digest_size=8).hexdigest()


def _make_parents(experiments: Path, identity: Identity | None) -> None:
    """Let the experiment's user through, but not look around."""
    mode = 0o700 if identity is None else 0o711
    for folder in (experiments.parent, experiments):
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
    if identity is None:
        return
    for folder in (experiments.parent, experiments):
        if stat.S_IMODE(folder.stat().st_mode) == 0o700:  # noqa: PLR2004 - made by us, private
            folder.chmod(mode)
    closed = unreachable(experiments.resolve(), identity)
    if closed is not None:
        raise Misconfigured(
            f"experiments run as user {identity.uid}, who may not pass through {closed}: "
            f"chmod o+x {closed}, or choose another --working-dir"
        )


def _first_free(experiments: Path, key: str) -> Path:
    for number in itertools.count():
        path = experiments / f"{_hash(key)}.{number}"
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            continue
        return path
    raise AssertionError  # count() has no end


def client_distributions(code: Path) -> list[Path]:
    """Return the StudioML client's own distributions in ``dist``, as its ``build`` leaves them."""
    return sorted(code.glob("dist/studioml-*.tar.gz"))
