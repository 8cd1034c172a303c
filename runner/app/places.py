"""The daemon's directories, its user's and its experiments' identity: made, checked, locked."""

from __future__ import annotations

import fcntl
import os
import pwd
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from runner import log, own_files
from runner.app.tenure import Tenure
from runner.app.users import named
from runner.errors import Misconfigured
from runner.handover import Locks
from runner.lifecycle.runs.workspace import hold
from runner.model import Identity
from runner.queues.drawer import DEAD_LETTERS
from runner.settings import Settings
from runner.supervisor import syscalls

_log = log.get_logger(__name__)

_LOCK = "lock"
_LONGEST_OWNER = 64


@dataclass(frozen=True, slots=True)
class Places:
    """What lies where below the state directory, and who runs."""

    state: Path
    #: Names this state directory for ever; written into claims.
    owner: str
    #: ``None``: experiments run as the daemon's own user. Of several it is the first: what one of
    #: them may, all may.
    identity: Identity | None
    #: Login name of the user that experiments run as.
    user: str
    #: Several users, each for one experiment at a time; empty: all are ``identity``.
    pool: tuple[Identity, ...] = ()
    #: ``None``: nobody has locked it.
    tenure: Tenure | None = None

    def trouble(self) -> str:
        """Say why no daemon can go on with the state directory; empty where it can."""
        return self.tenure.trouble() if self.tenure else ""

    @property
    def identities(self) -> tuple[Identity, ...]:
        """All that experiments may run as; none: they are the daemon's own user."""
        return self.pool or ((self.identity,) if self.identity is not None else ())

    @property
    def records(self) -> Path:
        """Run records and what supervisors write."""
        return self.state / "runs"

    @property
    def remains(self) -> Path:
        """Shares of the machine that are kept back for what is left of a run."""
        return self.state / "remains"

    @property
    def recent(self) -> Path:
        """What ended lately."""
        return self.state / "recent.jsonl"

    @property
    def aside(self) -> Path:
        """The queues that were set aside."""
        return self.state / "aside.json"

    @property
    def suspended(self) -> Path:
        """Is there while the operator wants nothing to be claimed."""
        return self.state / "suspended"

    @property
    def slack_threads(self) -> Path:
        """Which message of Slack belongs to which experiment."""
        return self.state / "slack-threads.json"

    @property
    def control(self) -> Path:
        """The control socket."""
        return self.state / "control.sock"

    @property
    def drawer(self) -> Path:
        """Dead letters of brokers that have no place for them."""
        return self.state / DEAD_LETTERS

    @property
    def images(self) -> Path:
        """Container images of registries and definition files."""
        return self.state / "images"

    @property
    def errands(self) -> Path:
        """What is run for container images, while it runs."""
        return self.state / "errands"

    @property
    def environments(self) -> Path:
        """Built environments; outside the state directory's privacy, experiments read them."""
        return self.state / "environments"


@contextmanager
def opened(settings: Settings, locks: Locks) -> Iterator[Places]:
    """Have the state and working directories, and our process, to ourselves.

    Raises Misconfigured.
    """
    identity, user, pool = _identity(settings)
    state = settings.state_dir
    syscalls.keep_to_ourselves()
    # Whatever we were started with: what is not private is still nobody else's to change. And where
    # experiments are somebody else, they pass through what is made for them; the rest says 0700.
    umask = os.umask(0o022)
    if identity is None:
        os.umask(umask | 0o022)
    try:
        descriptor = _locked(state, identity, locks)
        try:
            with hold(settings.working_dir, locks):
                with usable(state):
                    owner = _owner(state)
                tenure = Tenure(state / _LOCK, descriptor)
                yield Places(state, owner, identity, user, pool, tenure)
        finally:
            locks.release(descriptor)
    finally:
        os.umask(umask)


@contextmanager
def usable(state: Path) -> Iterator[None]:
    """Name what cannot be used of that which lies below the state directory.

    Raises Misconfigured in place of OSError.
    """
    try:
        yield
    except OSError as error:
        place = Path(os.fsdecode(error.filename or ""))
        if state != place and state not in place.parents:
            raise
        raise Misconfigured(
            f"--state-dir {state} cannot be used: {place}: {error.strerror}; see what it is, and "
            "mend or remove it"
        ) from error


def planned(settings: Settings) -> Places:
    """Say what ``opened`` would give, and touch nothing. Raises Misconfigured.

    The owner is nobody's: it is made with the directory.
    """
    identity, user, pool = _identity(settings)
    return Places(settings.state_dir, "", identity, user, pool)


def _locked(state: Path, identity: Identity | None, locks: Locks) -> int:
    with usable(state):
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Another user's experiments pass through to their environments, and see nothing else.
        state.chmod(0o700 if identity is None else 0o711)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        lock = state / _LOCK
        descriptor = locks.descriptor(lock, lambda: os.open(lock, flags, 0o600))
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        locks.release(descriptor)
        raise Misconfigured(
            f"another studio-runner uses --state-dir {state}; give each its own"
        ) from error
    return descriptor


def _owner(state: Path) -> str:
    """Return the name; what a full disk or a power cut has left of one is made anew."""
    file = state / "owner"
    try:
        owner = own_files.read(file).decode("ascii", "replace").strip()
        if owner.isascii() and owner.isalnum() and len(owner) <= _LONGEST_OWNER:
            return owner
        _log.warning("the runner's name in claims was lost, and is made anew", path=str(file))
    except FileNotFoundError:
        pass
    owner, new = secrets.token_hex(4), file.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_text(owner, encoding="ascii")
    new.replace(file)
    return owner


def _identity(settings: Settings) -> tuple[Identity | None, str, tuple[Identity, ...]]:
    if settings.run_as:
        first, *others = found = named(settings)
        return first, found[first], (first, *others) if others else ()
    if os.geteuid() == 0 and not settings.allow_root_experiments:
        raise Misconfigured(
            "the daemon is root: name the user that experiments run as with --run-as, or accept "
            "that they can do everything here with --allow-root-experiments"
        )
    return None, _name(os.geteuid()), ()


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # as in containers: a number is enough for the kernel
        return str(uid)
