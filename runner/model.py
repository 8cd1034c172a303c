"""The nouns of the project: frozen, pure, imported by every room and importing none of them."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import MappingProxyType
from typing import ClassVar, NewType

from runner.redaction import MASK, Secret

Bytes = NewType("Bytes", int)
"""A size in bytes."""

NOTHING: Mapping[str, str] = MappingProxyType({})
NO_NUMBERS: Mapping[str, float] = MappingProxyType({})


# ----------------------------------------------------------------------------- messages


@dataclass(frozen=True, slots=True)
class Message:
    """What a broker gave us: untrusted bytes."""

    #: Unique within its queue while it exists; the broker's own identifier.
    id: str
    body: bytes
    #: Short queue name, as clients write it (``local_demo``).
    queue: str
    #: How often the broker has handed this message to anybody, this time included; 1 at first.
    receive_count: int = 1
    #: It was sent by the runner that works on its experiment, in the place of one that it could not
    #: hold any longer: that attempt's ``Record.run``. Empty for all others.
    mark: str = ""
    #: The trace that its sender says it belongs to, beside the body; unread: anybody may write it.
    traceparent: str = ""


# ----------------------------------------------------------------------------- requests


@dataclass(frozen=True, slots=True)
class Needs:
    """What an experiment asks for (protocol section 2.5); the same fields as ``Capacity``."""

    cores: int = 1
    memory: Bytes = Bytes(0)
    disk: Bytes = Bytes(0)
    #: Compute slots per card (protocol section 6.5).
    gpu_slots: int = 0
    #: Memory per card.
    gpu_memory: Bytes = Bytes(0)
    #: Cards; already 1 where a client wrote 0 together with slots or GPU memory.
    gpu_count: int = 0
    #: Experiments of one group may share a card; empty: whole cards, for itself alone.
    gpu_group: str = ""

    @property
    def shares_cards(self) -> bool:
        """It takes a part of each card, beside others of its group.

        What states no memory takes whole cards all the same: nothing bounds what it uses of one.
        """
        return bool(self.gpu_group and self.gpu_memory and self.gpu_count)


@dataclass(frozen=True, slots=True)
class Stock:
    """What is kept below a bound, to be used again."""

    #: Artifacts, or environments; ``None``: nobody has counted.
    count: int | None
    #: Of the disk.
    used: Bytes
    limit: Bytes


@dataclass(frozen=True, slots=True)
class Gpu:
    """One card (or MIG instance) of this machine."""

    uuid: str
    name: str
    #: In all; of what is free, that which nobody holds.
    memory: Bytes
    #: Likewise.
    slots: int = 1
    #: UUID of the card that a MIG instance is a part of; empty for a whole card.
    parent: str = ""
    #: How far other cards are, by UUID; what is not named is as far as can be (``FAR``).
    links: tuple[tuple[str, int], ...] = ()
    #: Whose experiments hold a part of it; empty when nobody holds any.
    group: str = ""
    #: The driver's number of the card's device node (``/dev/nvidia3``); ``None`` where NVML does
    #: not tell.
    minor: int | None = None
    #: Of a MIG instance the numbers of the nodes that open it (``/dev/nvidia-caps/nvidia-cap12``);
    #: ``None`` where nothing tells.
    capabilities: tuple[int, ...] | None = ()

    #: Distances: NVLink, one PCIe switch, several, the same host bridge, the same NUMA node, other.
    NVLINK: ClassVar[int] = 0
    FAR: ClassVar[int] = 5


@dataclass(frozen=True, slots=True)
class Capacity:
    """What is free, or what there is in all."""

    cores: int
    memory: Bytes
    disk: Bytes
    gpus: tuple[Gpu, ...] = ()
    #: Of what there is in all: why there is no card, for people; empty where there are any.
    why_no_gpus: str = ""


@dataclass(frozen=True, slots=True)
class Allocation:
    """A share of the machine, held by one attempt."""

    cores: int
    memory: Bytes
    disk: Bytes
    #: UUIDs, in the order in which the experiment sees the cards.
    gpus: tuple[str, ...] = ()
    #: Of each card, where it is shared: slots, memory, and the group that shares it. Without a
    #: group the cards are held whole.
    gpu_slots: int = 0
    gpu_memory: Bytes = Bytes(0)
    gpu_group: str = ""
    #: The numbers of the cards' device nodes; ``None``: not all of them are known.
    gpu_minors: tuple[int, ...] | None = None
    #: Likewise of the nodes that open MIG instances.
    gpu_capabilities: tuple[int, ...] | None = None

    @classmethod
    def of(cls, needs: Needs, gpus: Iterable[Gpu] = ()) -> Allocation:
        """Return the share that the needs ask for, on these cards.

        Of a shared card it is one slot at least: what states memory alone computes, too.
        """
        gpus, given = tuple(gpus), cls(needs.cores, needs.memory, needs.disk)
        if not gpus:
            return given
        opening = [(None,) if gpu.capabilities is None else gpu.capabilities for gpu in gpus]
        given = replace(
            given,
            gpus=tuple(gpu.uuid for gpu in gpus),
            gpu_minors=_known(gpu.minor for gpu in gpus),
            gpu_capabilities=_known(number for numbers in opening for number in numbers),
        )
        if not needs.shares_cards:
            return given
        slots = max(1, needs.gpu_slots)
        return replace(
            given, gpu_slots=slots, gpu_memory=needs.gpu_memory, gpu_group=needs.gpu_group
        )


def _known(numbers: Iterable[int | None]) -> tuple[int, ...] | None:
    """Return them, each once; ``None`` where one is missing."""
    found = tuple(dict.fromkeys(numbers))
    known = tuple(number for number in found if number is not None)
    return known if known == found else None


@dataclass(frozen=True, slots=True)
class Identity:
    """The user that an experiment, or the build of its environment, runs as."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Credentials:
    """Keys for an object store; all empty means anonymous access."""

    access_key: str = ""
    secret_key: Secret = field(default_factory=Secret)
    session_token: Secret = field(default_factory=Secret)
    region: str | None = None
    profile: str | None = None


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """``config.storage`` or ``config.database``: where a client keeps objects."""

    #: ``local``, ``s3``, ``firebase`` …, as written; empty when absent.
    type: str = ""
    endpoint: str = ""
    bucket: str = ""
    credentials: Credentials | None = None


@dataclass(frozen=True, slots=True)
class Location:
    """Where one object lies. Equal locations are the same object."""

    #: ``file``, ``s3``, ``gs``, ``http``, ``https``, ``shub`` …
    scheme: str
    #: ``host[:port]``; empty for ``file``.
    host: str
    #: Empty for ``file``, ``http`` and ``https``.
    bucket: str
    #: For ``file`` the absolute path of the object, for the web path and query, else its key.
    key: str

    def __str__(self) -> str:
        """Write the address as clients do, without a query: a signature in one is a secret."""
        if self.scheme == "file":
            return f"file://{self.key}"
        parts = (self.host, self.bucket, self.path)
        query = f"?{MASK}" if self.path != self.key else ""
        return f"{self.scheme}://" + "/".join(part for part in parts if part) + query

    def __repr__(self) -> str:
        return f"Location({str(self)!r})"

    @property
    def path(self) -> str:
        """The key without the query that an address of the web may have."""
        return self.key.partition("?")[0] if self.scheme in {"http", "https"} else self.key


@dataclass(frozen=True, slots=True)
class Span:
    """Some of the bytes of an object, one after the other."""

    start: int
    length: int

    @property
    def end(self) -> int:
        """Where the next byte lies."""
        return self.start + self.length


@dataclass(frozen=True, slots=True)
class Artifact:
    """A labelled archive or file in an object store (protocol section 2.2)."""

    label: str
    location: Location
    mutable: bool
    unpack: bool
    #: ``None``: the artifact has none of its own, look at ``config.storage`` next.
    credentials: Credentials | None = None


@dataclass(frozen=True, slots=True)
class Experiment:
    """The user's unit of work (protocol section 2.1)."""

    key: str
    #: Relative to the workspace; ``-m`` for the module form, with the module as first argument.
    filename: str
    args: tuple[str, ...] = ()
    project: str = ""
    #: ``"3.11"``, ``"3"``; ``None`` means the operator's default.
    python_version: str | None = None
    #: Installer requirement lines, in order: ``pythonenv`` then ``config.pip``.
    requirements: tuple[str, ...] = ()
    #: Seconds since the epoch; ``None`` when the client wrote none.
    time_added: float | None = None
    max_duration: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A decoded message: everything the runner does follows from this and the settings."""

    experiment: Experiment
    needs: Needs
    artifacts: Mapping[str, Artifact]
    #: ``config.env`` as written, ``%NAME%`` not yet expanded.
    env: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    #: ``experimentLifetime``.
    lifetime: timedelta | None = None
    #: ``saveWorkspaceFrequency``.
    checkpoint_interval: timedelta | None = None
    #: ``saveMetricsFrequency``.
    metrics_interval: timedelta | None = None
    storage: StoreConfig = field(default_factory=StoreConfig)
    database: StoreConfig = field(default_factory=StoreConfig)
    #: ``config.runner.retry_on``: names of causes that the sender wants retried.
    retry_on: frozenset[str] = frozenset()
    #: ``config.runner.max_attempts``; ``None`` means the operator's.
    max_attempts: int | None = None
    #: ``config.runner.slack_destination``: followed only where the operator allows it.
    slack_destination: str = ""
    #: ``config.runner.traceparent``: the trace that it belongs to, in W3C's form.
    traceparent: str = ""
    #: Sentences about sloppy fields that were tolerated; shown in the experiment's output.
    warnings: tuple[str, ...] = ()


# ----------------------------------------------------------------------------- endings


class Cause(enum.StrEnum):
    """Why an attempt ended. Values are stable: they are shown to users and kept in records."""

    #: The script exited with 0, and its results are stored.
    COMPLETED = "completed"
    #: The experiment exited with a non-zero code.
    EXIT = "exit"
    #: The experiment died of a signal that we did not send.
    SIGNAL = "signal"
    #: It took more memory than it asked for, or than the machine has.
    OUT_OF_MEMORY = "out-of-memory"
    #: It had as many processes and threads as it may, and wanted more.
    TOO_MANY_PROCESSES = "too-many-processes"
    #: It wrote more than it asked for, or the machine's disk is full.
    OUT_OF_DISK = "out-of-disk"
    #: ``max_duration`` or the operator's cap.
    TIME_LIMIT = "time-limit"
    #: ``experimentLifetime`` has passed.
    LIFETIME = "lifetime"
    #: One of its cards broke while it had it.
    GPU_FAULT = "gpu-fault"
    #: CUDA found no memory left on a card that was its own.
    GPU_OUT_OF_MEMORY = "gpu-out-of-memory"
    #: Its cards and its output were silent for too long.
    IDLE = "idle"
    #: Its message and its claim may be another runner's by now.
    LEASE_LOST = "lease-lost"
    #: The daemon was stopped, or the machine is about to end.
    DRAINED = "drained"
    #: Somebody stopped it, or deleted its queue.
    CANCELLED = "cancelled"
    #: An artifact or image is not where the message says, or is denied.
    ARTIFACT_MISSING = "artifact-missing"
    #: An archive that is none, is truncated, escapes or is larger than the disk need.
    ARTIFACT_BAD = "artifact-bad"
    #: What it requires cannot be installed, or takes too much.
    REQUIREMENTS = "requirements"
    #: The requested Python is not on this machine.
    PYTHON_MISSING = "python-missing"
    #: Its sandbox does not start on this machine.
    SANDBOX_UNAVAILABLE = "sandbox-unavailable"
    #: The object store did not answer.
    STORE_UNAVAILABLE = "store-unavailable"
    #: It ran, and the store refused what it made.
    RESULTS_DENIED = "results-denied"
    #: The machine failed the experiment: supervisor killed, reboot, work directory gone.
    HOST_FAULT = "host-fault"
    #: No daemon adopted the run within the orphan timeout.
    ORPHANED = "orphaned"
    #: The message is no request that can be run.
    BAD_REQUEST = "bad-request"
    #: The message is no StudioML request at all; it is never acked.
    NOT_A_REQUEST = "not-a-request"
    #: It would fit this machine, but not now.
    NO_ROOM = "no-room"
    #: The needs exceed what this machine could ever give.
    TOO_BIG = "too-big"
    #: Another runner owns the experiment, or it has already ended.
    NOT_OURS = "not-ours"
    #: The operator's hook does not let it run (docs/hooks.md).
    REFUSED_BY_HOOK = "refused-by-hook"
    #: The operator's hook wants it later.
    DEFERRED_BY_HOOK = "deferred-by-hook"
    #: The operator's hook, without whose word nothing begins, could not be run.
    HOOK_FAILED = "hook-failed"
    #: A defect of the runner itself.
    INTERNAL = "internal"


#: Causes that a request or an operator may want retried.
RETRYABLE = frozenset(Cause) - {
    Cause.COMPLETED,
    Cause.LIFETIME,
    Cause.LEASE_LOST,
    Cause.DRAINED,
    Cause.CANCELLED,
    Cause.BAD_REQUEST,
    Cause.TOO_BIG,
    Cause.NOT_OURS,
    Cause.NOT_A_REQUEST,
    Cause.NO_ROOM,
    Cause.RESULTS_DENIED,
    Cause.REFUSED_BY_HOOK,
    Cause.DEFERRED_BY_HOOK,
    Cause.HOOK_FAILED,
}


@dataclass(frozen=True, slots=True)
class Completed:
    """The script ran and exited with 0; its results are stored."""

    cause: Cause = Cause.COMPLETED
    exit_code: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt failed, for a reason that lies in the experiment, the host or the world."""

    cause: Cause
    exit_code: int | None = None
    detail: str = ""
    #: It used more than it asked for, and would do so anywhere.
    outgrew: bool = False
    #: Another attempt need not wait: the restart of the machine took its time.
    at_once: bool = False
    #: This machine failed before anything of it ran: it had no part in that.
    unbegun: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """The message will not be run here; nothing was started."""

    cause: Cause
    detail: str
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class Deferred:
    """Not now: the message goes back for a while and nothing is counted."""

    delay: timedelta
    detail: str
    cause: Cause = Cause.NOT_OURS
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class Stopped:
    """We ended the run before its time: drained, cancelled, lease lost."""

    cause: Cause
    exit_code: int | None = None
    detail: str = ""


Outcome = Completed | Failed | Refused | Deferred | Stopped


@dataclass(frozen=True, slots=True)
class Ack:
    """The broker may forget the message."""


@dataclass(frozen=True, slots=True)
class Release:
    """The broker shows the message again, to anybody, after ``delay``."""

    delay: timedelta


@dataclass(frozen=True, slots=True)
class Bury:
    """The message goes to the dead letters, with the reason beside it."""

    reason: str


Disposition = Ack | Release | Bury


# ----------------------------------------------------------------------------- news


class News(enum.StrEnum):
    """What a report is about. Values are stable: webhooks get them."""

    DAEMON_STARTED = "daemon-started"
    DAEMON_DRAINING = "daemon-draining"
    DAEMON_STOPPED = "daemon-stopped"
    QUEUES_CHANGED = "queues-changed"
    #: A queue turned out to be somebody else's, and is left alone.
    QUEUE_SET_ASIDE = "queue-set-aside"
    #: A credential was added or taken away.
    CREDENTIALS_CHANGED = "credentials-changed"
    #: Experiments of a queue have waited for room for long.
    NO_ROOM = "no-room"
    DISK_LOW = "disk-low"
    #: A card is not given out: broken, or in foreign use.
    GPU_WITHHELD = "gpu-withheld"
    #: The machine is about to be taken away.
    MACHINE_ENDING = "machine-ending"
    #: Nothing is claimed: experiments failed for what may be the machine's fault.
    FUSE_BLOWN = "fuse-blown"
    #: An experiment holds cards and does not use them.
    GPU_IDLE = "gpu-idle"
    #: What was said about ``Report.topic`` is over.
    RECOVERED = "recovered"
    ACCEPTED = "accepted"
    STARTED = "started"
    CHECKPOINTED = "checkpointed"
    ENDED = "ended"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Result:
    """How an attempt ended, as far as the news of it goes."""

    #: The kind of its outcome: ``completed``, ``failed``, ``refused``, ``deferred``, ``stopped``.
    outcome: str
    #: What the broker was told: ``acked``, ``released``, ``buried``.
    settled: str
    #: In one sentence; may be empty.
    detail: str = ""
    #: What to do about it, in one sentence.
    advice: str = ""
    exit_code: int | None = None
    #: Since the claim.
    seconds: float = 0.0
    #: The last lines of the output, redacted.
    output: tuple[str, ...] = ()

    @property
    def is_final(self) -> bool:
        """No further attempt follows."""
        return self.settled != "released"


@dataclass(frozen=True, slots=True)
class Report:
    """One piece of news for the reporters."""

    news: News
    #: One sentence for a person.
    text: str
    queue: str = ""
    key: str = ""
    project: str = ""
    attempt: int = 0
    cause: Cause | None = None
    #: Further facts, already safe to show.
    facts: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    #: What it is about, for news that stay true until the next one of the same topic:
    #: ``disk``, ``credential sqs aws``, ``queue local_demo``, ``gpu GPU-…``.
    topic: str = ""
    #: The channel that the experiment's sender asks for; untrusted.
    destination: str = ""
    #: Numbers out of the experiment's metadata, by path: ``loss``, ``validation/accuracy``.
    metrics: Mapping[str, float] = field(default_factory=lambda: NO_NUMBERS)
    #: Only of ``News.ENDED``.
    result: Result | None = None
