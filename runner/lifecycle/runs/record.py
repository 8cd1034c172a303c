"""The run record: what the next daemon must know of an attempt when this one dies."""

from __future__ import annotations

import base64
import enum
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

from runner import blocking, log
from runner.errors import host_fault
from runner.model import Allocation, Bytes, Cause, Identity, Message

_log = log.get_logger(__name__)

_FILE = "record.json"
#: Raised by a change after which this version's reading of a record would be wrong.
_VERSION = 1
_LIMIT = blocking.Limit(2)
_NONE = Bytes(0)


class Phase(enum.StrEnum):
    """How far an attempt has come. Values are kept on disk."""

    #: In hand; claim, artifacts and environment are sought. Nothing of it survives the daemon.
    PREPARING = "preparing"
    #: The supervisor owns a process, which outlives the daemon.
    RUNNING = "running"
    #: The process has ended; results are on their way to the store.
    FINISHING = "finishing"


@dataclass(frozen=True, slots=True)
class Record:
    """One attempt, as it is written to ``<state-dir>/runs/<run>/record.json``.

    The message is kept as received, so the file is 0600 in 0700, no sandbox sees it, and it is
    removed at settling.
    """

    run: str
    message: Message
    broker: str
    project: str
    #: ``Delivery.token``.
    token: str
    key: str
    #: ``config.database.projectId`` or the experiment's own project; for reports.
    experiment_project: str
    attempt: int
    allocation: Allocation
    phase: Phase = Phase.PREPARING
    #: The attempt's directory; ``None`` before it was made.
    workspace: Path | None = None
    #: The user that it runs as; ``None``: the one user of all, or it has none yet.
    identity: Identity | None = None
    #: Content address of the environment in use.
    environment: str | None = None
    #: The container image that it runs in; empty: in none.
    image: str = ""
    #: Bytes of artifacts that are shown to it in place: they count as if they lay there.
    attached: Bytes = _NONE
    #: Seconds since the epoch.
    claimed_at: float = 0.0
    started_at: float | None = None
    #: Asked for while the daemon was there; a successor must not forget it.
    stop: Cause | None = None
    #: Attempts before it that counted, as the claim record tells.
    counted: int = 0
    #: Daemons that died while it was made ready, each by what may be its doing.
    deaths: int = 0
    #: The daemon left in order.
    is_left: bool = False
    #: Boot and pid namespace of the daemon that received it.
    system: str = ""
    #: Bytes in its output that earlier attempts had printed, and lines of its own that were told.
    printed_before: int = 0
    told: int = 0

    def but(self, **changes: Any) -> Record:
        """Return the record with some fields changed."""
        return replace(self, **changes)


class Records:
    """The directory of all run records."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def place(self, run: str) -> Path:
        """Return the directory of one run, made on first use; the supervisor's files lie there."""
        place = self.directory / run
        place.mkdir(mode=0o700, exist_ok=True)
        return place

    def write(self, record: Record) -> None:
        """Write whole or not at all. A killed daemon leaves the old record or the new one.

        Raises HostFault, OutOfDisk.
        """
        try:
            place = self.place(record.run)
            temporary = place / f".{_FILE}.new"
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(json.dumps(_to_json(record)))
            temporary.rename(place / _FILE)
        except OSError as error:
            raise host_fault(f"the run record {record.run} cannot be written", error) from error

    def rewrite(self, record: Record) -> None:
        """Write a record that is there; one that is not yet, or not any more, stays unwritten."""
        if (self.directory / record.run / _FILE).exists():
            self.write(record)

    async def remove(self, run: str) -> None:
        """Forget a run, at once, and everything its supervisor wrote, which may be large."""
        place = self.directory / run
        with suppress(OSError):
            (place / _FILE).unlink()
        await blocking.call(lambda _: shutil.rmtree(place, ignore_errors=True), limit=_LIMIT)

    def read_all(self) -> Iterator[Record]:
        """Return every readable record; a directory without one was never a run and is removed.

        But for one that a later version wrote, or that the disk does not give now: that may come
        back, and the run ends by itself else.
        """
        for place in sorted(self.directory.iterdir()):
            try:
                data = json.loads((place / _FILE).read_bytes())
                if _is_later(data):
                    _log.error("a later version wrote this record: left alone", run=place.name)
                    continue
                record = _from_json(data)
            except (FileNotFoundError, NotADirectoryError):
                shutil.rmtree(place, ignore_errors=True)
            except OSError as error:
                why = error.strerror
                _log.error("this record cannot be read: left alone", run=place.name, why=why)
            except (ValueError, KeyError, TypeError) as error:
                _log.error("this record is none, and removed", run=place.name, why=repr(error))
                shutil.rmtree(place, ignore_errors=True)
            else:
                yield record


def _is_later(data: Any) -> bool:
    version = data.get("version") if isinstance(data, dict) else None
    return isinstance(version, int) and version > _VERSION


def _to_json(record: Record) -> Mapping[str, object]:
    return {
        "version": _VERSION,
        "run": record.run,
        "message": {
            "id": record.message.id,
            "body": base64.b64encode(record.message.body).decode(),
            "queue": record.message.queue,
            "receive_count": record.message.receive_count,
            "traceparent": record.message.traceparent,
        },
        "broker": record.broker,
        "project": record.project,
        "token": record.token,
        "key": record.key,
        "experiment_project": record.experiment_project,
        "attempt": record.attempt,
        "allocation": {
            "cores": record.allocation.cores,
            "memory": record.allocation.memory,
            "disk": record.allocation.disk,
            "gpus": list(record.allocation.gpus),
            "gpu_slots": record.allocation.gpu_slots,
            "gpu_memory": record.allocation.gpu_memory,
            "gpu_group": record.allocation.gpu_group,
            "gpu_minors": record.allocation.gpu_minors,
            "gpu_capabilities": record.allocation.gpu_capabilities,
        },
        "phase": record.phase.value,
        "workspace": str(record.workspace) if record.workspace else None,
        "identity": astuple(record.identity) if record.identity else None,
        "environment": record.environment,
        "image": record.image,
        "attached": record.attached,
        "claimed_at": record.claimed_at,
        "started_at": record.started_at,
        "stop": record.stop.value if record.stop else None,
        "counted": record.counted,
        "deaths": record.deaths,
        "is_left": record.is_left,
        "system": record.system,
        "printed_before": record.printed_before,
        "told": record.told,
    }


def _from_json(data: Mapping[str, Any]) -> Record:
    message, allocation = data["message"], data["allocation"]
    return Record(
        run=data["run"],
        message=Message(
            id=message["id"],
            body=base64.b64decode(message["body"]),
            queue=message["queue"],
            receive_count=message["receive_count"],
            traceparent=message.get("traceparent", ""),
        ),
        broker=data["broker"],
        project=data["project"],
        token=data["token"],
        key=data["key"],
        experiment_project=data["experiment_project"],
        attempt=data["attempt"],
        allocation=Allocation(
            cores=allocation["cores"],
            memory=Bytes(allocation["memory"]),
            disk=Bytes(allocation["disk"]),
            gpus=tuple(allocation["gpus"]),
            # of an earlier version these are not there: it gave out whole cards alone
            gpu_slots=allocation.get("gpu_slots", 0),
            gpu_memory=Bytes(allocation.get("gpu_memory", 0)),
            gpu_group=allocation.get("gpu_group", ""),
            gpu_minors=_numbers(allocation.get("gpu_minors")),
            gpu_capabilities=_numbers(allocation.get("gpu_capabilities")),
        ),
        phase=Phase(data["phase"]),
        workspace=Path(data["workspace"]) if data["workspace"] else None,
        # neither is this there of an earlier version: its experiments were one user
        identity=Identity(*data["identity"]) if data.get("identity") else None,
        environment=data["environment"],
        image=data.get("image", ""),
        attached=Bytes(data.get("attached", 0)),
        claimed_at=data["claimed_at"],
        started_at=data["started_at"],
        stop=Cause(data["stop"]) if data["stop"] else None,
        counted=data.get("counted", 0),
        deaths=data.get("deaths", 0),
        is_left=data.get("is_left", False),
        system=data.get("system", ""),
        printed_before=int(data.get("printed_before", 0)),
        told=int(data.get("told", 0)),
    )


def _numbers(listed: list[int] | None) -> tuple[int, ...] | None:
    return None if listed is None else tuple(listed)
