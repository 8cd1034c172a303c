"""What a run is to be, and how the daemon writes it down for the run's supervisor."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

from runner.model import Bytes, Cause
from runner.sandboxes.base import UNBOUNDED, Bounds, Launch, Overlay
from runner.supervisor import launch, records

#: What of the launch is no secret, for the daemon that comes after this one.
FACTS = b"run.json"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the daemon that comes after this one finds there."""

    run_id: str
    output: str
    output_limit: Bytes


@dataclass(frozen=True, slots=True)
class RunSpec:
    """Everything that a supervisor is told."""

    #: Unique for all times: every process of the run carries it in its environment.
    run_id: str
    #: Of this run alone; made when it is missing, 0700.
    directory: Path
    launch: Launch
    #: The output file, appended to; its directory exists.
    output: Path
    output_limit: Bytes
    #: From the start of the experiment; the earliest one ends it.
    limits: Mapping[Cause, timedelta]
    #: Between TERM and KILL.
    grace: timedelta
    #: How long the run goes on without a daemon.
    orphan_timeout: timedelta
    #: Systemd's slice in which the run gets a scope of its own; empty: it gets none.
    runs_slice: str = ""
    #: What its processes may use together.
    bounds: Bounds = UNBOUNDED


def prepare(spec: RunSpec) -> None:
    """Write what the supervisor and the next daemon need to know. Raises OSError."""
    place = os.fsencode(spec.directory)
    for name in (records.SUPERVISOR, records.STOP, records.EXIT):
        (spec.directory / os.fsdecode(name)).unlink(missing_ok=True)  # of a run before this one
    records.write(place, FACTS, _facts(spec))
    _launch(spec).save(place)


def _launch(spec: RunSpec) -> launch.Launch:
    wanted = spec.launch
    identity = wanted.identity
    return launch.Launch(
        run_id=spec.run_id,
        argv=[_bytes(argument) for argument in wanted.argv],
        cwd=os.fsencode(wanted.cwd),
        env={_bytes(name): _bytes(value) for name, value in wanted.env.items()},
        output=os.fsencode(spec.output),
        output_limit=spec.output_limit,
        limits={str(cause): limit.total_seconds() for cause, limit in spec.limits.items()},
        grace=spec.grace.total_seconds(),
        orphan_timeout=spec.orphan_timeout.total_seconds(),
        identity=None if identity is None else (identity.uid, identity.gid),
        readonly_binds=_paths(wanted.readonly_binds),
        overlays=[_overlay(overlay) for overlay in wanted.overlays],
        hidden=_paths(wanted.hidden),
        visible=_paths(wanted.visible),
        leases=_paths(wanted.leases),
        binds=[(*_paths((one.source, one.target)), one.writable) for one in wanted.binds],  # type: ignore[misc] # two paths
        walls=[_bytes(word) for word in wanted.walls],
        walls_env={_bytes(name): _bytes(value) for name, value in wanted.walls_env.items()},
        in_image=wanted.in_image,
        nameless=wanted.nameless,
        own_network=wanted.own_network,
        user_namespace=wanted.user_namespace,
        own_processes=wanted.own_processes,
        no_new_privileges=wanted.no_new_privileges,
        runs_slice=spec.runs_slice,
        bounds=(spec.bounds.memory, spec.bounds.cores, spec.bounds.pids),
        memory_asked=spec.bounds.memory_asked,
        hard_cores=spec.bounds.hard_cores,
        own_user=spec.bounds.own_user,
        enforce=spec.bounds.enforce,
        enforce_strictly=spec.bounds.enforce_strictly,
    )


def _paths(paths: Iterable[Path]) -> list[bytes]:
    return [os.fsencode(path) for path in paths]


def _overlay(overlay: Overlay) -> tuple[bytes, bytes, bytes, bytes]:
    target, lower, upper, work = _paths(
        (overlay.target, overlay.lower, overlay.upper, overlay.work)
    )
    return target, lower, upper, work


def _bytes(text: str) -> bytes:
    try:
        return os.fsencode(text)
    except UnicodeEncodeError:  # half of a surrogate pair, as JSON may carry it
        return text.encode("utf-8", "surrogatepass")


def _facts(spec: RunSpec) -> bytes:
    facts = Facts(spec.run_id, os.fspath(spec.output), spec.output_limit)
    return json.dumps(asdict(facts)).encode()
