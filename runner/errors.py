"""The whole error tree. Inner nodes are named after who must act; the docstring is the message.

RunnerError
├── RequestError            the sender must change something: refuse, tell them, never retry
│   ├── Undecodable             not a StudioML request at all: no ``experiment``, no ``message``
│   ├── BadField                a field is missing, has a wrong type or an impossible value
│   └── Unsupported             understood, but nothing here can do it
├── Unavailable             the world must change: give the message back, try later
│   ├── QueueUnavailable
│   │   ├── QueueDenied             the broker refuses the credential, or a right is missing
│   │   ├── QueueGone               the broker says, definitely, that there is no such queue
│   │   └── NotQueued               what was sent is, definitely, on no queue
│   ├── StoreUnavailable
│   └── LeaseLost               the broker or the clock says that the message is no longer ours
│       └── MessageGone             nobody has it any more: retention, a purge, a deleted queue
├── ExperimentFailed        the experiment must change: log and results go home, it is settled
│   ├── ArtifactMissing         an immutable artifact is not where the request says
│   ├── ArtifactBad             no archive, truncated, corrupt, escapes its directory
│   │   └── TooLarge                it holds more than the experiment's disk need allows
│   ├── PythonMissing           the requested interpreter is not on this machine
│   └── RequirementsFailed      the installer could not install the requirements
├── HostFault               this machine failed: another attempt, perhaps elsewhere, may succeed
│   └── OutOfDisk
└── Misconfigured           the operator must change something: one clear sentence
"""

from __future__ import annotations

import errno
import inspect


class RunnerError(Exception):
    """The runner failed."""

    def __init__(self, detail: str = "") -> None:
        """Say ``detail``, or the class's own docstring where there is nothing to add."""
        super().__init__(detail or (inspect.getdoc(type(self)) or "").splitlines()[0])


class RequestError(RunnerError):
    """The request cannot be run as it was written."""


class Undecodable(RequestError):
    """The message is not a StudioML request."""


class BadField(RequestError):
    """A field of the request is missing or has an impossible value."""

    def __init__(self, path: str, value: object, remedy: str) -> None:
        """Name the field (``experiment.max_duration``), the value found and what is accepted."""
        shown = repr(value)
        if len(shown) > 120:  # noqa: PLR2004 - a log line must stay readable
            length = len(value) if isinstance(value, str) else len(shown)
            shown = f"{shown[:100]}… ({length} characters)"
        # A path may hold a name that the sender made up: it must not draw lines of its own.
        self.path = path if path.isprintable() else repr(path)[1:-1]
        super().__init__(f"{self.path} is {shown}: {remedy}")


class Unsupported(RequestError):
    """The request asks for something that this runner cannot do."""


class Unavailable(RunnerError):
    """Something outside this machine does not answer; it is tried again later."""


class QueueUnavailable(Unavailable):
    """The broker does not answer."""


class QueueDenied(QueueUnavailable):
    """The broker refuses the credential, or the credential has not the right."""


class QueueGone(QueueUnavailable):
    """The broker has no queue of this name."""


class NotQueued(QueueUnavailable):
    """The message was not queued."""


class StoreUnavailable(Unavailable):
    """The object store does not answer."""


class LeaseLost(Unavailable):
    """The message is no longer ours."""


class MessageGone(LeaseLost):
    """The message does not exist any more, so that nobody else can have it either."""


class ExperimentFailed(RunnerError):
    """The experiment failed."""


class ArtifactMissing(ExperimentFailed):
    """An artifact that the experiment needs does not exist."""


class ArtifactBad(ExperimentFailed):
    """An artifact could not be unpacked."""


class TooLarge(ArtifactBad):
    """An artifact holds more than the experiment's disk need allows."""


class PythonMissing(ExperimentFailed):
    """The requested Python is not installed on this machine."""


class RequirementsFailed(ExperimentFailed):
    """The requirements could not be installed."""


class HostFault(RunnerError):
    """This machine failed the experiment."""


class OutOfDisk(HostFault):
    """No space is left on this machine."""


def host_fault(what: str, error: OSError) -> HostFault:
    """Return what an error of this machine's file system means: OutOfDisk where that is full."""
    kind = OutOfDisk if error.errno in {errno.ENOSPC, errno.EDQUOT} else HostFault
    return kind(f"{what}: {error}")


class Misconfigured(RunnerError):
    """The configuration cannot work."""
