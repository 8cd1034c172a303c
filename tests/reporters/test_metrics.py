"""The metrics, read by a parser of Prometheus' own text formats."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from runner.lifecycle.tally import SHORT, Durations
from runner.reporters.metrics import METRICS, Exposition, Kind, Reading

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
DOCUMENT = Path(__file__).parents[2] / "docs" / "monitoring.md"

Parse = Callable[[str], Iterable[Metric]]
PARSERS: dict[str, Parse] = {
    "": text_string_to_metric_families,
    OPENMETRICS: openmetrics.text_string_to_metric_families,
}


def everything() -> dict[str, list[Reading]]:
    """Return one reading of every metric, with labels that need quoting."""
    durations = Durations(SHORT)
    for seconds in (0.001, 0.3, 0.3, 1e9):
        durations.add(seconds)
    return {
        one.name: [
            (
                tuple(f'{label} "\\\n ü' for label in one.labels),
                durations if one.kind is Kind.HISTOGRAM else 3,
            )
        ]
        for one in METRICS
    }


def families(accept: str = "") -> dict[str, Metric]:
    """Return what a scraper sees, by name of the family."""
    body, _ = Exposition(everything).page(accept)
    return {family.name: family for family in PARSERS[accept](body.decode())}


@pytest.mark.parametrize("accept", PARSERS, ids=["text", "openmetrics"])
def test_all_that_is_described_is_exported(accept: str) -> None:
    """With its kind, its meaning and its labels, in either form."""
    found = families(accept)
    for one in METRICS:
        family = found[one.name]
        assert (family.type, family.documentation) == (one.kind.value, one.help)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(one.labels)
            assert all("ü" in sample.labels[label] for label in one.labels)


def test_counters_say_so_in_their_names() -> None:
    """As Prometheus wants it: the family has the original's name, the sample ``_total``."""
    (sample,) = families()["runner_project_completed"].samples
    assert (sample.name, sample.value) == ("runner_project_completed_total", 3)


def test_histograms_add_up() -> None:
    """Buckets count all that is below their bound, the last one everything."""
    samples = families()["runner_stage_seconds"].samples
    buckets = {one.labels["le"]: one.value for one in samples if one.name.endswith("_bucket")}
    assert (buckets["0.005"], buckets["0.5"], buckets["1800.0"], buckets["+Inf"]) == (1, 3, 3, 4)
    sums = {one.name.rpartition("_")[2]: one.value for one in samples}
    assert sums["count"] == 4
    assert sums["sum"] == pytest.approx(1e9 + 0.601)


def test_the_process_shows_its_own_numbers() -> None:
    """Open files, memory, processor time: of the standard collectors."""
    names = families()
    assert {"process_open_fds", "process_resident_memory_bytes", "python_info"} <= names.keys()


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain"),
        ("*/*", "text/plain"),
        (OPENMETRICS, "application/openmetrics-text"),
        ("application/openmetrics-text;version=x.y", "text/plain"),
        ("text/plain;version=;escaping=", "text/plain"),
    ],
)
def test_the_form_is_what_was_asked_for(accept: str, content_type: str) -> None:
    """And plain text for whoever asks for nothing, or for nonsense."""
    assert Exposition(dict).page(accept)[1].startswith(content_type)


def test_no_label_is_unbounded() -> None:
    """Keys of experiments and hashes of artifacts would make a series each."""
    bounded = {
        "host", "queue_type", "queue_name", "project", "state", "stage", "cause", "settled",
        "part", "version", "revision", "python", "gpu", "name", "reason",
    }  # fmt: skip
    assert {label for one in METRICS for label in one.labels} <= bounded


def test_the_documentation_is_what_is_exported() -> None:
    """Its table names every metric with its kind, labels and meaning, and no other."""
    row = re.compile(r"^\| `(runner_\w+)` \|(.*)\|(.*)\|(.*)\|$", re.MULTILINE)
    rows = row.findall(DOCUMENT.read_text())
    documented = [tuple(cell.strip() for cell in found) for found in rows]
    exported = [
        (
            one.name + ("_total" if one.kind is Kind.COUNTER else ""),
            one.kind.value,
            ", ".join(one.labels),
            one.help,
        )
        for one in METRICS
    ]
    assert documented == exported
