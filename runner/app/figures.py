"""Reads the daemon's numbers where they are, for whoever scrapes its metrics."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from runner import __version__
from runner.lifecycle.gpus.health import Kind
from runner.lifecycle.loop import Loop
from runner.lifecycle.ownership.pulse import Organ
from runner.lifecycle.parts import Parts
from runner.lifecycle.sources.depths import Depth
from runner.lifecycle.tally import SETTLED, Stage
from runner.model import Capacity, Cause
from runner.reporters.metrics import Reading, Readings
from runner.revision import revision

#: Labels of the stages; the stages' own values are for people.
_STAGES: Mapping[Stage, str] = {stage: stage.name.lower() for stage in Stage}
_UNACCEPTED = frozenset({Stage.CLAIM, Stage.ROOM})


def readings(parts: Parts, loop: Loop, depths: Sequence[Depth]) -> Readings:
    """Return every metric's numbers now; ``depths``: how much waits, as far as it is known."""
    host = parts.host
    return {
        "runner_build_info": [((__version__, revision(), platform.python_version()), 1)],
        **_standing(parts, loop),
        **_queues(parts, loop, depths, host),
        **_attempts(parts, host),
        **_stores(parts, host),
        **_leases(parts),
        **_resources(parts, host),
        **_gpus(parts, host),
        **_progress(parts),
    }


def _standing(parts: Parts, loop: Loop) -> Readings:
    suspended = bool(parts.intake.suspension.said)
    claiming = not (suspended or loop.is_draining or parts.intake.complaint)
    return {
        "runner_claiming": [((), claiming)],
        "runner_draining": [((), loop.is_draining)],
        "runner_suspended": [((), suspended)],
        "runner_obstacle": [
            (("draining",), loop.is_draining),
            (("suspended",), suspended),
            (("hours",), parts.intake.is_off_hours),
            (("disk",), bool(parts.intake.disk_complaint)),
        ],
        "runner_fuse_blown": [((), parts.fuse.is_blown)],
        "runner_fuse_blows": [((), parts.fuse.times)],
    }


def _queues(parts: Parts, loop: Loop, depths: Sequence[Depth], host: str) -> Readings:
    tally = parts.tally
    waiting: Counter[tuple[str, str]] = Counter()
    for depth in depths:
        if depth.waiting is not None:
            waiting[depth.broker, tally.queue(depth.name)] += depth.waiting
    ignored: Counter[tuple[str, str]] = Counter()
    for (owner, name), count in parts.intake.ignored.items():
        ignored[owner.partition(":")[0], tally.queue(name)] += count
    sources = Counter((source.account[0], source.state) for source in loop.supply)
    return {
        "runner_queue_refresh_success": [((host, one), n) for one, n in tally.listed.items()],
        "runner_queue_refresh_fail": [((host, one), n) for one, n in tally.unlisted.items()],
        "runner_queue_checked": list(_of(host, tally.checked)),
        "runner_queue_ignored": list(_of(host, ignored)),
        "runner_queue_waiting": list(_of(host, waiting)),
        "runner_sources": list(sources.items()),
    }


def _attempts(parts: Parts, host: str) -> Readings:
    tally, entries = parts.tally, list(parts.board)
    under_way = Counter(
        tally.place(e.record.broker, e.record.message.queue, e.record.experiment_project)
        for e in entries
        if e.stage not in _UNACCEPTED
    )
    by_stage = Counter(entry.stage for entry in entries)
    return {
        "runner_project_running": [
            ((host, place.broker, place.queue, place.project), under_way[place])
            # Where something ended nothing is under way: 0, and no gap.
            for place in {*under_way, *tally.completed}
        ],
        "runner_project_completed": [
            ((host, place.broker, place.queue, place.project), count)
            for place, count in tally.completed.items()
        ],
        # A counter that begins with 1 has never grown, and no alert that asks for that sees it.
        "runner_experiments_ended": [
            ((cause.value, settled), tally.ended[cause, settled])
            for cause in Cause
            for settled in SETTLED.values()
        ],
        "runner_attempts": [((_STAGES[stage],), by_stage[stage]) for stage in Stage],
        "runner_stage_seconds": [
            ((_STAGES[stage],), durations) for stage, durations in tally.stages.items()
        ],
        "runner_checkpoints": [((), tally.checkpoints)],
    }


def _stores(parts: Parts, host: str) -> Readings:
    tally, found = parts.tally, dict[str, Iterable[Reading]]()
    if parts.cache is not None:
        counts = parts.cache.counts
        found = {
            "runner_cache_hits": [((host,), counts.hits)],
            "runner_cache_misses": [((host,), counts.misses)],
            "runner_cache_saved_bytes": [((), counts.bytes_saved)],
            "runner_cache_evictions": [((), counts.evictions)],
            "runner_cache_damaged": [((), counts.wrong)],
        }
    return {
        "runner_artifact_fetched_bytes": [((), tally.fetched_bytes)],
        "runner_artifact_sent_bytes": [((), tally.sent_bytes)],
        "runner_environments_built": [((), tally.built)],
        "runner_environments_reused": [((), tally.reused)],
        **found,
    }


def _leases(parts: Parts) -> Readings:
    counts = parts.keeper.counts
    return {
        "runner_leases_held": [((), parts.keeper.holding)],
        "runner_lease_renewals": [((), counts.renewed)],
        "runner_lease_renewals_failed": [((), counts.failed)],
        "runner_leases_lost": [((), counts.lost)],
    }


def _resources(parts: Parts, host: str) -> Readings:
    ledger = parts.intake.ledger
    total, free = ledger.total, ledger.free
    found: dict[str, Iterable[Reading]] = {}
    for what, of_all, of_free in (
        ("cpu_{}slots", total.cores, free.cores),
        ("cpu_ram_{}bytes", total.memory, free.memory),
        ("disk_{}bytes", total.disk, free.disk),
        ("gpu_{}slots", _slots(total), _slots(free)),
    ):
        found["runner_resource_" + what.format("")] = [((host,), of_all)]
        found["runner_resource_" + what.format("free_")] = [((host,), of_free)]
    return found


def _gpus(parts: Parts, host: str) -> Readings:
    """Return what is known of each card; what a card does not tell is left out."""
    cards, held = parts.cards, {u for e in parts.board for u in e.record.allocation.gpus}
    known, withheld = cards.inventory.readings, cards.withheld
    labels = {gpu.uuid: (host, gpu.uuid, gpu.name) for gpu in cards.gpus}
    seen = {uuid: known[uuid] for uuid in labels if uuid in known and not known[uuid].lost}
    of_each: Mapping[str, Mapping[str, float | None]] = {
        "runner_gpu_memory_bytes": {gpu.uuid: gpu.memory for gpu in cards.gpus},
        "runner_gpu_used_bytes": {uuid: one.used for uuid, one in seen.items()},
        "runner_gpu_utilization": {uuid: one.utilization for uuid, one in seen.items()},
        "runner_gpu_temperature_celsius": {uuid: one.temperature for uuid, one in seen.items()},
        "runner_gpu_power_watts": {uuid: one.power for uuid, one in seen.items()},
        "runner_gpu_held": {uuid: uuid in held for uuid in labels},
    }
    return {
        **{
            name: [(labels[uuid], value) for uuid, value in values.items() if value is not None]
            for name, values in of_each.items()
        },
        "runner_gpu_withheld": [
            ((*labels[uuid], kind.value), uuid in withheld and kind is withheld[uuid].kind)
            for uuid in labels
            for kind in Kind
        ],
    }


def _progress(parts: Parts) -> Readings:
    silence = parts.pulse.silence
    return {
        "runner_event_loop_lag_seconds": [((), parts.tally.lag)],
        "runner_silence_seconds": [
            ((organ.name.lower(),), silence(organ).total_seconds()) for organ in Organ
        ],
    }


def _of(host: str, counts: Mapping[tuple[str, str], int]) -> Iterator[Reading]:
    for (broker, queue), count in counts.items():
        yield (host, broker, queue), count


def _slots(capacity: Capacity) -> int:
    return sum(gpu.slots for gpu in capacity.gpus)
