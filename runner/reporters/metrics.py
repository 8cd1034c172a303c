"""The daemon's metrics for Prometheus: what each means, and how numbers become its text.

Nothing is kept in step here: whoever scrapes makes us read the numbers where they are. Importing
this module takes as long as the Prometheus client does; only who has to show metrics does it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    Metric,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder
from prometheus_client.registry import Collector


class Kind(enum.StrEnum):
    """What the numbers of a metric do."""

    #: Only grows while the daemon lives; shown with ``_total`` after its name.
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Described:
    """One metric."""

    name: str
    kind: Kind
    #: One sentence; shown with the numbers and in ``docs/monitoring.md``.
    help: str
    labels: tuple[str, ...] = ()


class Buckets(Protocol):
    """A histogram's numbers."""

    @property
    def bounds(self) -> Sequence[float]:
        """Upper bounds, without the infinite one."""

    @property
    def counts(self) -> Sequence[int]:
        """How many are in each bucket alone, the infinite one last."""

    @property
    def sum(self) -> float:
        """All durations together."""


Reading = tuple[tuple[str, ...], float | Buckets]
"""The values of a metric's labels, in their order, and its number."""
Readings = Mapping[str, Iterable[Reading]]
"""By name of the metric."""

_QUEUE = ("host", "queue_type", "queue_name")
_GPU = ("host", "gpu", "name")
_C, _G, _H = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM

METRICS = (
    Described(
        "runner_build_info",
        _G,
        "1; the labels say what runs, the commit where that is known.",
        ("version", "revision", "python"),
    ),
    Described("runner_claiming", _G, "1 while messages may be claimed, else 0."),
    Described("runner_draining", _G, "1 while the daemon finishes what it runs, to end then."),
    Described("runner_suspended", _G, "1 while claiming is suspended, by whomever."),
    Described("runner_obstacle", _G, "1 while this forbids to claim anything.", ("reason",)),
    Described("runner_fuse_blown", _G, "1 while the host fuse keeps anything from being claimed."),
    Described("runner_fuse_blows", _C, "Times that the host fuse has blown."),
    Described(
        "runner_queue_refresh_success",
        _C,
        "Lists of queues that came: the first of each broker, and each that differed.",
        ("host", "queue_type"),
    ),
    Described(
        "runner_queue_refresh_fail",
        _C,
        "Times that a broker's list of queues could not be had.",
        ("host", "queue_type"),
    ),
    Described("runner_queue_checked", _C, "Looks into a queue, found empty or not.", _QUEUE),
    Described(
        "runner_queue_ignored",
        _C,
        "Times that a queue was passed over since nothing is to be claimed; about every 10 s.",
        _QUEUE,
    ),
    Described(
        "runner_queue_waiting",
        _G,
        "Messages that wait in a queue, where its broker tells; at most 30 s old.",
        _QUEUE,
    ),
    Described("runner_sources", _G, "Brokers by how they stand.", ("queue_type", "state")),
    Described(
        "runner_project_running",
        _G,
        "Accepted experiments under way, from fetching to settling.",
        (*_QUEUE, "project"),
    ),
    Described(
        "runner_project_completed",
        _C,
        "Messages that were settled, whatever the outcome.",
        (*_QUEUE, "project"),
    ),
    Described(
        "runner_experiments_ended",
        _C,
        "The same by cause, and by what the broker was told: acked, released or buried.",
        ("cause", "settled"),
    ),
    Described("runner_attempts", _G, "Messages in hand by what is done with them.", ("stage",)),
    Described(
        "runner_stage_seconds", _H, "How long each stage of an attempt took, when over.", ("stage",)
    ),
    Described("runner_checkpoints", _C, "Checkpoints of running experiments that were stored."),
    Described(
        "runner_artifact_fetched_bytes",
        _C,
        "Bytes of artifacts read from stores, counted at the end of each attempt.",
    ),
    Described("runner_artifact_sent_bytes", _C, "Bytes of artifacts sent to stores."),
    Described("runner_cache_hits", _C, "Artifacts that were in the cache.", ("host",)),
    Described("runner_cache_misses", _C, "Artifacts that had to be fetched.", ("host",)),
    Described("runner_cache_saved_bytes", _C, "Bytes of artifacts that were not sent again."),
    Described("runner_cache_evictions", _C, "Artifacts removed from the cache to make room."),
    Described("runner_cache_damaged", _C, "Kept artifacts that were not what their digest says."),
    Described("runner_environments_built", _C, "Environments built for an attempt."),
    Described("runner_environments_reused", _C, "Environments that were there already."),
    Described("runner_leases_held", _G, "Messages and claims being kept."),
    Described("runner_lease_renewals", _C, "Renewals of leases that were confirmed."),
    Described("runner_lease_renewals_failed", _C, "Renewals that were not; they are tried again."),
    Described("runner_leases_lost", _C, "Leases that were lost: the message may be another's."),
    Described("runner_resource_cpu_slots", _G, "Cores for experiments in all.", ("host",)),
    Described("runner_resource_cpu_free_slots", _G, "Cores that are free.", ("host",)),
    Described("runner_resource_cpu_ram_bytes", _G, "Memory for experiments in all.", ("host",)),
    Described("runner_resource_cpu_ram_free_bytes", _G, "Memory that is free.", ("host",)),
    Described("runner_resource_disk_bytes", _G, "Disk for experiments in all.", ("host",)),
    Described("runner_resource_disk_free_bytes", _G, "Disk that is free.", ("host",)),
    Described("runner_resource_gpu_slots", _G, "Compute slots of all GPUs.", ("host",)),
    Described("runner_resource_gpu_free_slots", _G, "Slots of the GPUs that are free.", ("host",)),
    Described("runner_gpu_memory_bytes", _G, "Memory of a card or MIG instance.", _GPU),
    Described("runner_gpu_used_bytes", _G, "What of it is in use, by whomever.", _GPU),
    Described("runner_gpu_utilization", _G, "Share of a moment in which a card computed.", _GPU),
    Described("runner_gpu_temperature_celsius", _G, "A card's temperature.", _GPU),
    Described("runner_gpu_power_watts", _G, "What a card consumes.", _GPU),
    Described("runner_gpu_held", _G, "1 while experiments have the card or a part of it.", _GPU),
    Described(
        "runner_gpu_withheld",
        _G,
        "1 while a card is not given out, for this reason.",
        (*_GPU, "reason"),
    ),
    Described(
        "runner_event_loop_lag_seconds",
        _H,
        "By how much a beat of the main loop came late, every 5 s.",
    ),
    Described(
        "runner_silence_seconds",
        _G,
        "Since a part of the daemon last made progress; /healthz fails above 30.",
        ("part",),
    ),
)


class Exposition:
    """The page of metrics: ours, read by ``read`` for each scrape, and those of the process."""

    def __init__(self, read: Callable[[], Readings]) -> None:
        """``read`` may leave out metrics of which nothing is known."""
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._registry.register(_Ours(read))

    def page(self, accept: str) -> tuple[bytes, str]:
        """Return the text in the form that an ``Accept`` header asks for, and its type."""
        try:
            encode, content_type = choose_encoder(accept)
        except (ValueError, TypeError):  # of a version that is none
            encode, content_type = generate_latest, CONTENT_TYPE_PLAIN_0_0_4
        return encode(self._registry), content_type


class _Ours(Collector):
    def __init__(self, read: Callable[[], Readings]) -> None:
        self._read = read

    def describe(self) -> Iterator[Metric]:
        """Tell which names are taken, without reading anything."""
        for described in METRICS:
            yield _family(described, ())

    def collect(self) -> Iterator[Metric]:
        """Read everything now."""
        readings = self._read()
        for described in METRICS:
            if described.name in readings:
                yield _family(described, readings[described.name])


def _family(described: Described, readings: Iterable[Reading]) -> Metric:
    if described.kind is Kind.HISTOGRAM:
        return _histogram(described, readings)
    kind = CounterMetricFamily if described.kind is Kind.COUNTER else GaugeMetricFamily
    family = kind(described.name, described.help, labels=described.labels)
    for labels, value in readings:
        assert isinstance(value, int | float)  # noqa: S101 - only histograms have buckets
        family.add_metric(labels, value)
    return family


def _histogram(described: Described, readings: Iterable[Reading]) -> Metric:
    family = HistogramMetricFamily(described.name, described.help, labels=described.labels)
    for labels, value in readings:
        assert not isinstance(value, int | float)  # noqa: S101 - a histogram has buckets
        family.add_metric(labels, _cumulative(value), value.sum)
    return family


def _cumulative(buckets: Buckets) -> list[tuple[str, float]]:
    bounds = (*map(str, buckets.bounds), "+Inf")
    found, below = [], 0
    for bound, count in zip(bounds, buckets.counts, strict=True):
        below += count
        found.append((bound, float(below)))
    return found
