"""The run record: what the next daemon must know of an attempt when this one dies."""

from __future__ import annotations

import base64
import enum
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from runner import blocking, log, own_files
from runner.errors import HostFault, host_fault
from runner.lifecycle.runs import processes
from runner.lifecycle.runs.supervisor import Supervisor
from runner.model import Allocation, Bytes, Cause, Identity, Message
from runner.own_files import Moment
from runner.removal import remove_tree

_log = log.get_logger(__name__)

_FILE = "record.json"
#: Raised by a change after which this version's reading of a record would be wrong.
_VERSION = 1
_LIMIT = blocking.Limit(2)
_NONE = Bytes(0)
#: More than any machine has of anything.
_MOST = 1 << 63


class Phase(enum.StrEnum):
    """How far an attempt has come. Values are kept on disk."""

    #: In hand; claim, artifacts and environment are sought. Nothing of it survives the daemon.
    PREPARING = "preparing"
    #: The supervisor owns a process, which outlives the daemon.
    RUNNING = "running"
    #: The process has ended; results are on their way to the store. Written only where something
    #: else is: ``exit.json`` says as much.
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
    claimed_at: Moment = 0.0
    started_at: Moment | None = None
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
        #: Which directories have no record, and which have one that is not ours to judge, and why.
        self._none: dict[Path, str] = {}
        self._closed: dict[Path, str] = {}

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
        await _removed(place)

    def read_all(self) -> Iterator[Record]:
        """Return every readable record; what the others are, ``clear`` says."""
        self._closed.clear()
        self._none.clear()
        for place in sorted(self.directory.iterdir()):
            try:
                yield _read(place / _FILE)
            except (FileNotFoundError, NotADirectoryError):
                self._none[place] = ""  # it was never a run, or is one no more
            except _Later:
                self._closed[place] = "a later version wrote this record"
            except OSError as error:
                self._closed[place] = f"this record cannot be read: {error.strerror}"
            except ValueError as error:
                self._none[place] = str(error)

    async def clear(self) -> bool:
        """Remove what ``read_all`` has found to be no record, and end what may still run of it.

        Left alone is what a later version wrote, or what the disk does not give now: that may come
        back, and the run ends by itself else. Returns whether there is none of these.
        """
        for place, why in self._closed.items():
            _log.error(f"{why}; left alone", run=place.name, path=str(place / _FILE))
        for place, why in self._none.items():
            if why:
                _log.error("this record is none, and removed", run=place.name, why=why)
            supervisor = Supervisor.recorded(place)
            left = await processes.end(place.name, supervisor.session() if supervisor else 0)
            if left:
                _log.error("of it processes survive", run=place.name, left=processes.shown(left))
            await _removed(place)
        return not self._closed


async def _removed(place: Path) -> None:
    try:
        await blocking.call(lambda stop: remove_tree(place, stop.check), limit=_LIMIT)
    except HostFault as error:
        _log.warning("what was kept of a run is not removed", trouble=str(error))


def readable(file: Path) -> Record | None:
    """Return the record in a file; ``None`` where it is none that this version can read."""
    try:
        return _read(file)
    except (OSError, ValueError, _Later):
        return None


class _Later(Exception):
    """A later version wrote it."""


def _read(file: Path) -> Record:
    """Raises OSError, ValueError, _Later."""
    found = own_files.read_as(file, dict[str, Any])
    version = found.get("version")
    if isinstance(version, int) and version > _VERSION:
        raise _Later
    if not all(0 <= number < _MOST for number in _numbers(found)):
        raise ValueError("one of its numbers is negative, or none that can be counted to")
    if isinstance(found.get("identity"), list):
        found["identity"] = dict(zip(("uid", "gid"), found["identity"], strict=True))
    # What earlier versions did not write has defaults.
    record = msgspec.convert(found, Record, dec_hook=_path)
    if record.run != file.parent.name:
        raise ValueError("it is that of another run")
    return record


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


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, int | float):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _numbers(one)


def _path(_: type, text: object) -> Path:
    if not (isinstance(text, str) and text.startswith("/")):
        raise ValueError("no absolute path")
    return Path(text)
