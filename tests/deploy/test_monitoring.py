"""The dashboard and the alerts: of metrics, labels and values that the code has, and no others."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml

from runner.lifecycle.gpus.health import Kind as Withheld
from runner.lifecycle.ownership.pulse import Organ
from runner.lifecycle.tally import SETTLED, Stage
from runner.model import Cause
from runner.reporters.metrics import METRICS, Kind

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "deploy" / "grafana" / "studio-runner.json"
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yaml"
DOCUMENT = ROOT / "docs" / "monitoring.md"

Json = dict[str, Any]

#: What the standard collectors and Prometheus itself add.
_OTHERS = {
    "up",
    "process_start_time_seconds",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_open_fds",
    "process_max_fds",
}
#: Labels that a scrape adds, and the one of histograms.
_ADDED = {"instance", "job"}
_ENDS = {
    Kind.COUNTER: ("_total",),
    Kind.GAUGE: ("",),
    Kind.HISTOGRAM: ("_bucket", "_sum", "_count"),
}
_VALUES = {
    "cause": {cause.value for cause in Cause},
    "settled": set(SETTLED.values()),
    "stage": {stage.name.lower() for stage in Stage},
    "state": {"open", "in trouble", "opening", "closing"},
    "reason": {kind.value for kind in Withheld} | {"draining", "suspended", "hours", "disk"},
    "part": {organ.name.lower() for organ in Organ},
}
_UNITS = {
    "short", "none", "s", "bytes", "Bps", "ops", "percentunit", "celsius", "watt",
}  # fmt: skip
#: Grafana's own variables, as they are once it has put them in.
_PUT_IN = {"$__rate_interval": "5m", "$instance": ".*"}


def exported() -> dict[str, set[str]]:
    """Return the labels of every sample that a daemon exports, by its name."""
    return {
        one.name + end: {*one.labels, *(["le"] if end == "_bucket" else [])}
        for one in METRICS
        for end in _ENDS[one.kind]
    }


@dataclass(frozen=True)
class Use:
    """One selector: a metric, and how its labels are matched."""

    metric: str
    matchers: tuple[tuple[str, str], ...]


def parsed(expression: str) -> promql.Expr:
    """Return the tree of an expression. Raises ValueError."""
    for name, value in _PUT_IN.items():
        expression = expression.replace(name, value)
    return promql.parse(expression)


def nodes(expression: Any) -> Iterator[Any]:
    """Return every node of a tree."""
    yield expression
    for name in ("expr", "lhs", "rhs", "vector_selector", "param"):
        inner = getattr(expression, name, None)
        if inner is not None and not isinstance(inner, str):
            yield from nodes(inner)
    for inner in getattr(expression, "args", None) or ():
        yield from nodes(inner)


def uses(expression: str) -> Iterator[Use]:
    """Return what an expression reads."""
    for node in nodes(parsed(expression)):
        if isinstance(node, promql.VectorSelector):
            found = tuple((one.name, one.value) for one in node.matchers.matchers)
            yield Use(str(node.name), found)


def grouped(expression: str) -> set[str]:
    """Return the labels that an expression keeps or joins by."""
    written = re.findall(r"\b(?:by|on|ignoring|without)\s*\(([^)]*)\)", expression)
    return {label.strip() for group in written for label in group.split(",") if label.strip()}


def rules() -> list[Json]:
    """Return the alerts."""
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    return list(group["rules"])


def panels() -> list[Json]:
    """Return the panels that show something."""
    found: list[Json] = json.loads(DASHBOARD.read_text())["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def expressions() -> Mapping[str, str]:
    """Return every expression by where it stands."""
    shown = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in panels()
        for target in panel["targets"]
    }
    return shown | {rule["alert"]: rule["expr"] for rule in rules()}


def test_every_expression_reads_what_is_exported() -> None:
    """Metrics by the names of their samples, labels that these have, values that there are."""
    assert {
        place: wrong for place, text in expressions().items() if (wrong := list(_wrong(text)))
    } == {}


def _wrong(expression: str) -> Iterator[str]:
    """Yield what an expression has that no daemon exports."""
    known, labels, found = exported(), set[str](), list(uses(expression))
    if not found:
        yield "it reads nothing"
    for use in found:
        if use.metric not in known and use.metric not in _OTHERS:
            yield use.metric
        own = known.get(use.metric, set()) | _ADDED
        labels |= own
        for label, value in use.matchers:
            if label not in own:
                yield f"{use.metric} has no {label}"
            elif label in _VALUES and not set(value.split("|")) <= _VALUES[label]:
                yield f"{label} is never {value}"
    yield from grouped(expression) - labels


def test_every_metric_is_shown() -> None:
    """One that nobody looks at costs all the same."""
    shown = {use.metric for expression in expressions().values() for use in uses(expression)}
    missing = [
        one.name for one in METRICS if not shown & {one.name + end for end in _ENDS[one.kind]}
    ]
    assert missing == []


def test_the_test_would_find_a_wrong_name() -> None:
    """A parser that overlooks selectors would find nothing at all."""
    expression = 'sum by (a) (rate(b{c="1"}[5m])) > 0 and on (d) topk(3, e) unless f / (g + 1) > h'
    assert {use.metric for use in uses(expression)} == set("befgh")
    assert grouped(expression) == {"a", "d"}
    with pytest.raises(ValueError, match=r"."):
        parsed("sum(")
    wrong = 'sum by (host) (runner_attempts{stage="dance",queue="q"}) > runner_lease'
    assert set(_wrong(wrong)) == {
        "stage is never dance",
        "runner_attempts has no queue",
        "runner_lease",
        "host",
    }


def test_a_panel_answers_one_question_for_several_hosts() -> None:
    """It says which, has a unit, its hosts are chosen above, and every line has a name."""
    for panel in panels():
        title, unit = panel["title"], panel["fieldConfig"]["defaults"]["unit"]
        assert panel["description"].endswith((".", "?")), title
        assert unit in _UNITS, title
        assert panel["datasource"]["uid"] == "${datasource}", title
        for target in panel["targets"]:
            assert 'instance=~"$instance"' in target["expr"], title
            if panel["type"] in {"timeseries", "state-timeline"}:
                named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
                assert target["legendFormat"], title
                assert named <= _reach(target["expr"]), title
                assert _unit_of(target["expr"], panel) == unit, title


def _reach(expression: str) -> set[str]:
    """Return the labels that can be in what an expression gives."""
    kept = set(re.findall(r'label_replace\(.*?"(\w+)"', expression))
    known = exported()
    for use in uses(expression):
        kept |= known.get(use.metric, set()) | _ADDED
    by = re.findall(r"\bby\s*\(([^)]*)\)", expression)
    return kept & {one.strip() for one in ",".join(by).split(",")} if by else kept


def _unit_of(expression: str, panel: Json) -> str:
    """Return the unit that follows from a metric's name; the panel's own where none does."""
    unit = str(panel["fieldConfig"]["defaults"]["unit"])
    names = {use.metric for use in uses(expression)}
    is_share = "/" in expression
    if is_share:
        return "percentunit"
    if any("bytes_total" in name for name in names):
        return "Bps"
    ends = {"_bytes": "bytes", "_celsius": "celsius", "_watts": "watt", "_seconds_bucket": "s"}
    for end, its in ends.items():
        if any(name.endswith(end) for name in names):
            return its
    return unit


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    """Panels of their own numbers and places, variables for the data source and the hosts."""
    dashboard = json.loads(DASHBOARD.read_text())
    assert dashboard["uid"] == dashboard["title"] == "studio-runner"
    assert [one["name"] for one in dashboard["templating"]["list"]] == ["datasource", "instance"]
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(numbers)) == len(numbers)
    titles = [panel["title"] for panel in dashboard["panels"]]
    assert len(set(titles)) == len(titles)
    for one, other in itertools.combinations(dashboard["panels"], 2):
        assert not _overlap(one["gridPos"], other["gridPos"]), (one["title"], other["title"])
    assert all(0 <= _right(panel) <= 24 for panel in dashboard["panels"])


def _right(panel: Json) -> int:
    return int(panel["gridPos"]["x"]) + int(panel["gridPos"]["w"])


def _overlap(a: Json, b: Json) -> bool:
    beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
    return not (beside or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"])


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_an_alert_says_what_is_wrong_and_what_to_do(rule: Json) -> None:
    """After some time, for somebody, about one host; and the page of the docs is there."""
    assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"StudioRunner[A-Z]\w+", rule["alert"])
    assert re.fullmatch(r"[1-9]\d*[mh]", rule["for"])
    assert rule["labels"]["severity"] in {"critical", "warning"}
    said = rule["annotations"]
    assert set(said) == {"summary", "runbook"}
    assert "$labels.instance" in said["summary"]
    reach = _reach(rule["expr"])
    named = set(re.findall(r"\$labels\.(\w+)", said["summary"] + said["runbook"]))
    assert named <= reach
    pages = re.findall(r"docs/([\w-]+)\.md(?:#([\w-]+))?", said["runbook"])
    assert pages
    for page, anchor in pages:
        text = (ROOT / "docs" / f"{page}.md").read_text()
        assert not anchor or anchor in _anchors(text), (page, anchor)


def _anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_documentation_has_every_alert() -> None:
    """With its severity and how long it has to last."""
    row = re.compile(r"^\| `(StudioRunner\w+)` \| (\w+), (\w+) \| .+ \|$", re.MULTILINE)
    documented = set(row.findall(DOCUMENT.read_text()))
    assert documented == {
        (rule["alert"], rule["labels"]["severity"], rule["for"]) for rule in rules()
    }


def test_promtool_takes_the_alerts() -> None:
    """Where Prometheus' own tool is installed."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    done = subprocess.run(
        [promtool, "check", "rules", str(ALERTS)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
