"""An experiment's output becomes its metadata document."""

from __future__ import annotations

import itertools
import json
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.lifecycle.metadata import document as metadata_document
from runner.lifecycle.metadata import scraper as metadata
from runner.lifecycle.metadata.document import Document, Rejected
from runner.lifecycle.metadata.facts import Facts, Times
from runner.lifecycle.metadata.lines import MAX_PLAIN
from runner.lifecycle.metadata.scraper import Scraper
from runner.model import Artifact, Experiment, Location
from runner.redaction import Redactor

STEPS: list[tuple[Any, Any]] = [
    (
        {"experiment": {"name": "testExpr", "max_run_length": 24, "run_length": 3.21}},
        {"experiment": {"name": "testExpr", "max_run_length": 24, "run_length": 3.21}},
    ),
    (
        [{"op": "replace", "path": "/experiment/name", "value": "testExpr1"}],
        {"experiment": {"name": "testExpr1", "max_run_length": 24, "run_length": 3.21}},
    ),
    (
        [{"op": "remove", "path": "/experiment/max_run_length"}],
        {"experiment": {"name": "testExpr1", "run_length": 3.21}},
    ),
    (
        [{"op": "add", "path": "/experiment/addition_1", "value": "data 1"}],
        {"experiment": {"name": "testExpr1", "run_length": 3.21, "addition_1": "data 1"}},
    ),
    (
        {"experiment": {"addition_2": "data 2"}},
        {
            "experiment": {
                "name": "testExpr1",
                "run_length": 3.21,
                "addition_1": "data 1",
                "addition_2": "data 2",
            }
        },
    ),
    (
        {"experiment": [{"name": "a"}, {"name": "b"}]},
        {"experiment": [{"name": "a"}, {"name": "b"}]},
    ),
    (
        [{"op": "add", "path": "/experiment/-", "value": {"name": "c"}}],
        {"experiment": [{"name": "a"}, {"name": "b"}, {"name": "c"}]},
    ),
    ([{"op": "remove", "path": "/experiment"}], {}),
    ({"studioml": [{"name": "a"}, {"name": "b"}]}, {"studioml": [{"name": "a"}, {"name": "b"}]}),
    (
        [{"op": "add", "path": "/studioml/-", "value": {"name": "c"}}],
        {"studioml": [{"name": "a"}, {"name": "b"}, {"name": "c"}]},
    ),
]


def test_the_editing_sequence_of_the_protocol() -> None:
    """Each step on the result of those before it."""
    document = Document()
    for directive, expected in STEPS:
        document.apply(directive, 100)
        assert document.value == expected
    for kind in ("remove", "replace"):
        with pytest.raises(Rejected, match=f"operation {kind} not permitted"):
            document.apply([{"op": kind, "path": "/studioml/name/c", "value": "x"}], 100)
    assert document.value == STEPS[-1][1]


def test_merging_prefers_the_newer_and_null_deletes() -> None:
    """RFC 7396."""
    document = Document()
    document.apply({"experiment": {"A": "a", "B": {"x": 1}, "C": 1}}, 1)
    document.apply({"experiment": {"A": 1, "E": {"y": None, "z": 2}, "B": None, "C": {"d": 1}}}, 1)
    assert document.value == {"experiment": {"A": 1, "C": {"d": 1}, "E": {"z": 2}}}


@pytest.mark.parametrize(
    "directive",
    [
        [{"op": "move", "from": "/studioml/log", "path": "/a"}],
        [{"op": "copy", "from": "/StudioML/log", "path": "/a"}],
        [{"op": "move", "from": "/kept", "path": "/studioml/x"}],
        [{"op": "test", "path": "/studioml", "value": 1}],
        [{"op": "add", "path": "", "value": {}}],
        [{"op": "remove", "path": ""}],
        [{"op": "copy", "from": "", "path": "/a"}],
        [{"op": "add", "path": "/kept/a", "value": 1}, {"op": "remove", "path": "/absent"}],
        [{"op": "replace", "path": "/kept/a", "value": 1}, {"op": "test", "path": "/kept"}],
        [{"op": "move", "from": "/kept", "path": "/absent/x"}],
        [{"op": "fly", "path": "/x"}],
        [{"path": "/x"}],
        [{"op": "add", "path": 5, "value": 1}],
        [{"op": "add", "path": "x", "value": 1}],
        [{"op": "copy", "path": "/x"}],
        [{"op": "copy", "from": "/kept", "path": "/kept/a"}] * 5,
        [1, 2],
        7,
        "text",
        None,
    ],
    ids=str,
)
def test_a_directive_that_is_not_permitted_changes_nothing(directive: object) -> None:
    """Not even its first half."""
    document = Document()
    document.apply({"kept": {"a": 0}, "studioml": {"log": []}}, 1)
    before = document.encode()
    with pytest.raises(Rejected):
        document.apply(directive, 1)
    assert document.encode() == before


def _scraped(*chunks: bytes, **options: Any) -> dict[str, Any]:
    scraper = Scraper(clock=lambda: 1_700_000_000.25, **options)
    for chunk in chunks:
        scraper.feed(chunk)
    scraper.close()
    document = scraper.document()
    assert document.endswith(b"\n")
    found: dict[str, Any] = json.loads(document)
    return found


def test_lines_are_logged_merged_and_patched() -> None:
    """With the time at which they were seen, in UTC."""
    found = _scraped(b'epoch 1 "a"\n{"loss": 0.5}\n[{"op":"add","path":"/x","value":[]}]\n')
    assert found["loss"] == 0.5
    assert found["x"] == []
    assert found["studioml"]["log"] == [
        {"ts": "0", "msg": "Init"},
        {"ts": "1", "msg": ""},
        {"ts": "2023-11-14T22:13:20.25+0000", "msg": 'epoch 1 "a"'},
    ]


def test_without_wrapping_plain_lines_are_left_out() -> None:
    """``--schema-logs=false``."""
    assert len(_scraped(b'hello\n{"a": 1}\n', wrap=False)["studioml"]["log"]) == 2


@pytest.mark.parametrize("output", [b"", b"\n\n", b"ab\n", b"{}\n", b"{not json}\n", b"[1, 2]\n"])
def test_output_without_anything_gives_no_document(output: bytes) -> None:
    """Nothing is written for nothing."""
    scraper = Scraper()
    scraper.feed(output)
    assert scraper.document() == b""


def test_a_bad_line_never_loses_the_others() -> None:
    """Invalid JSON, a bad patch, a forbidden one, bytes that are no text, a bomb."""
    bad = (
        b'{"a": }\n[{"op":"remove","path":"/studioml/log"}]\n[{"op":"remove","path":"/no"}]\n'
        b"\xff\xfe\xfd\n" + b"[" * 5000 + b"]" * 5000 + b'\n{"n":' + b"9" * 5000 + b"}\n"
        b'{"a": NaN}\n' + b'{"a":' * 80 + b"1" + b"}" * 80 + b"\n"
    )
    found = _scraped(b'{"first": 1}\n' + bad + b'{"last": 2}\n')
    assert (found["first"], found["last"]) == (1, 2)
    assert "a" not in found


def test_a_last_line_without_an_end_counts_when_the_output_ends() -> None:
    """Until then it may still grow."""
    scraper = Scraper()
    scraper.feed(b'{"a": 1}\n{"b"')
    assert "b" not in json.loads(scraper.document())
    scraper.feed(b": 2}")
    assert "b" not in json.loads(scraper.document())
    scraper.close()
    assert json.loads(scraper.document())["b"] == 2


@given(st.data())
def test_the_edges_of_chunks_do_not_matter(data: st.DataObject) -> None:
    """The document is that of the output, however it arrived."""
    output = 'épsilon\n{"a": {"b": 1}}\n\n[{"op":"add","path":"/c","value":"ü"}]\nend'.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(output)), max_size=8)))
    edges = [0, *cuts, len(output)]
    chunks = [output[a:b] for a, b in itertools.pairwise(edges)]
    assert _scraped(*chunks) == _scraped(output)


def test_a_giant_line_is_kept_in_part_and_costs_no_more_memory() -> None:
    """100 MB without a line end, then an ordinary line."""
    scraper = Scraper()
    for _ in range(100):
        scraper.feed(b"x" * 2**20)
    scraper.feed(b"\nafter\n")
    log = json.loads(scraper.document())["studioml"]["log"]
    assert log[-1]["msg"] == "after"
    assert log[-2]["msg"].endswith(f"({99 * 2**20} bytes left out)")
    assert len(log[-2]["msg"]) < MAX_PLAIN + 100


def test_json_longer_than_any_buffer_of_lines_is_read() -> None:
    """There is no line limit for what is meant for the document."""
    assert len(_scraped(b'{"a": "' + b"x" * (2 * MAX_PLAIN) + b'"}\n')["a"]) == 2 * MAX_PLAIN


def test_a_long_output_keeps_its_newest_lines_and_says_so() -> None:
    """1 GB of output must not become 1 GB of document. Quadratic work would not end here."""
    scraper = Scraper()
    scraper.feed(b'{"m": []}\n')
    for n in range(100_000):
        scraper.feed(b"step %d\n" % n)
        if n % 10 == 0:
            scraper.feed(b'[{"op": "add", "path": "/m/-", "value": %d}]\n' % n)
    found = json.loads(scraper.document())
    log = found["studioml"]["log"]
    assert len(found["m"]) == 10_000
    assert len(log) == metadata.MAX_ENTRIES + 1
    assert log[0]["msg"] == "… 90002 earlier lines left out"
    assert log[-1]["msg"] == "step 99999"
    assert json.loads(scraper.document()) == found


def test_long_lines_are_kept_up_to_a_size_in_all() -> None:
    """Few lines can be long, many cannot."""
    scraper = Scraper()
    for n in range(40):
        scraper.feed(b"%d " % n + b"x" * 2**19 + b"\n")
    document = scraper.document()
    assert len(document) < metadata.MAX_CHARACTERS + 2**20
    assert json.loads(document)["studioml"]["log"][-1]["msg"].startswith("39 ")


def test_an_experiment_may_write_its_own_log_entries_or_replace_the_log() -> None:
    """Its own entries stand beside ours; a log that it replaced is its own affair."""
    entry = b'[{"op":"add","path":"/studioml/log/-","value":{"msg":"mine"}}]\n'
    assert _scraped(entry)["studioml"]["log"][-1] == {"msg": "mine"}
    assert _scraped(b'{"studioml": 5}\nhello\n') == {"studioml": 5}
    assert _scraped(b'{"studioml": null}\nhello\n')["studioml"]["log"][0]["msg"] == "hello"


def test_a_document_cannot_be_blown_up_by_copying() -> None:
    """A hundred short lines must not become a gigabyte."""
    scraper = Scraper()
    scraper.feed(b'{"a": {"x": 1}, "b": {}}\n')
    for n in range(100):
        scraper.feed(b'[{"op": "copy", "from": "/a", "path": "/a/%d"}]\n' % n)
        scraper.feed(b'[{"op": "copy", "from": "/a", "path": "/b/%d"}]\n' % n)
    assert len(scraper.document()) < 40 * 2**20
    assert scraper.skipped > 0


def test_patches_cost_no_more_than_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """What copies and compares takes a thousand times as long as to print it; the rest goes on."""
    monkeypatch.setattr(metadata_document, "MAX_WORK", 5_000)
    scraper = Scraper()
    scraper.feed(json.dumps({"a": list(range(990))}).encode() + b"\n")
    for operation in ("copy", "move", "test"):
        for _ in range(10):
            one = {"op": operation, "from": "/a", "path": "/a", "value": 0}
            scraper.feed(json.dumps([one]).encode() + b"\n")
    assert scraper.skipped > 20
    before = scraper.skipped
    scraper.feed(b'[{"op": "add", "path": "/b", "value": 2}]\n{"c": 3}\n')
    assert scraper.skipped == before
    document = json.loads(scraper.document())
    assert (document["b"], document["c"]) == (2, 3)


def test_a_full_document_takes_no_more_directives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are still logged; a document that is only often rewritten is never full."""
    monkeypatch.setattr(metadata_document, "MAX_DOCUMENT", 10_000)
    scraper = Scraper()
    for n in range(2000):
        scraper.feed(b'{"loss": %d}\n' % n)
    assert scraper.skipped == 0
    for n in range(2000):
        scraper.feed(b'{"k%d": 1}\n' % n)
    scraper.feed(b"the end\n")
    assert scraper.skipped > 0
    assert json.loads(scraper.document())["studioml"]["log"][-1]["msg"] == "the end"


operations = st.fixed_dictionaries(
    {
        "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]),
        "path": st.sampled_from(["", "/a", "/a/b", "/l/0", "/l/-", "/l/x", "/l/9", "/~2", "/s/0"]),
    },
    optional={
        "from": st.sampled_from(["", "/a", "/a/b", "/l/0", "/l/-", "/no", 5, None]),
        "value": st.none() | st.integers() | st.dictionaries(st.sampled_from("ab"), st.integers()),
    },
)


@given(st.lists(operations, max_size=4))
def test_any_patch_is_carried_out_whole_or_not_at_all(patch: list[dict[str, Any]]) -> None:
    """Nothing that an experiment prints is a defect of ours."""
    document = Document()
    document.apply({"a": {"b": 1}, "l": [1, 2], "s": "text"}, 1)
    before = document.encode()
    try:
        document.apply(patch, 1)
    except Rejected:
        assert document.encode() == before


def test_the_runners_own_part_says_what_was_run_where_and_when() -> None:
    """Key and project, host, times, places of artifacts, and what was installed; no secrets."""
    redactor = Redactor()
    redactor.learn("run", ["a-long-password"])
    times = [Times(1542.25)]
    place = Artifact(
        "output", Location("s3", "minio:9000", "b", "o.tar"), mutable=True, unpack=True
    )
    facts = Facts(
        Experiment("key", "train.py", project="goldengun"),
        {"output": place},
        "machine",
        redactor,
        lambda: times[-1],
        lambda: ("numpy==2.0.0", "mine @ https://ann:a-long-password@lab.lan/mine.whl"),
    )
    scraper = Scraper(facts=facts.now)
    ours = json.loads(scraper.document())["studioml"]
    assert ours["log"] == [{"ts": "0", "msg": "Init"}, {"ts": "1", "msg": ""}]
    assert ours["experiment"] == {"key": "key", "project": "goldengun"}
    assert ours["artifacts"] == {"output": "s3://minio:9000/b/o.tar"}
    assert (ours["host"], ours["pip_freeze"][0]) == ("machine", "numpy==2.0.0")
    assert "a-long-password" not in ours["pip_freeze"][1]
    assert datetime.fromisoformat(ours["load_time"]).timestamp() == 1542.25
    assert "start_time" not in ours
    times.append(Times(1542.25, 1543.0, 1544.5))
    scraper.feed(b'{"studioml": {"host": "elsewhere", "note": "kept"}}\n{"experiment": {"a": 1}}\n')
    document = json.loads(scraper.document())
    assert document["experiment"] == {"a": 1}
    assert (document["studioml"]["host"], document["studioml"]["note"]) == ("machine", "kept")
    assert datetime.fromisoformat(document["studioml"]["stop_time"]).timestamp() == 1544.5
    assert scraper.numbers() == {"experiment/a": 1.0}


def test_an_experiment_may_replace_the_runners_part_by_a_list() -> None:
    """Then nothing of ours stands there, and nothing breaks."""
    scraper = Scraper(facts=lambda: {"host": "machine"})
    scraper.feed(b'{"studioml": [1]}\n')
    assert json.loads(scraper.document())["studioml"] == [1]
