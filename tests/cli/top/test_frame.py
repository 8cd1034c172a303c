"""The view as lines: it fits every size, shows what there is, and draws what it is told alone."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from runner.cli.top.frame import frame, text_of, whole
from runner.cli.top.grid import Column, lines, shares
from runner.cli.top.state import Mode, State

Item = dict[str, Any]
_GIB = 1 << 30


def _run(number: int, **more: Any) -> Item:
    return {
        "key": f"experiment_{number}",
        "run": f"run-{number}",
        "queue": "eu-west-1/team",
        "project": "mnist",
        "phase": "running",
        "since": 900.0,
        "started": 940.0,
        "limit": 600.0,
        "cores": 2,
        "memory": 4 * _GIB,
        "disk": 10 * _GIB,
        "gpus": ["GPU-b"],
        "used": {"cores": 1.68, "memory": 1.25 * _GIB, "disk": None},
        **more,
    }


def _found(runs: int = 2, **daemon: Any) -> Item:
    capacity = {"cores": 8, "memory": 32 * _GIB, "disk": 900 * _GIB, "gpus": ["GPU-a", "GPU-b"]}
    free = {"cores": 6, "memory": 16 * _GIB, "disk": 450 * _GIB, "gpus": ["GPU-a"]}
    cards = [
        {"uuid": "GPU-a", "name": "NVIDIA L4", "memory": 24 * _GIB, "withheld": "it is lost"},
        {
            "uuid": "GPU-b",
            "name": "NVIDIA L4",
            "memory": 24 * _GIB,
            "used": 12 * _GIB,
            "utilization": 0.83,
            "temperature": 61,
            "power": 70.4,
            "held_by": [{"key": "experiment_0"}],
        },
    ]
    queues = [
        {"name": "team", "broker": "sqs", "waiting": 12, "running": 2, "claimed": True, "why": ""},
        {"name": "big", "broker": "local", "waiting": None, "why": "the machine is full"},
    ]
    return {
        "daemon": {
            "pid": 7,
            "version": "0.1.0",
            "host": "gpu-box",
            "started": 400.0,
            "capacity": capacity,
            "free": free,
            "gpus": cards,
            "queues": queues,
            "passed_over": [{"name": "other", "broker": "sqs", "why": "no queue of ours"}],
            "sources": [{"origin": "certs/lab", "broker": "amqp", "trouble": "refused"}],
            "cache": {"used": 12 * _GIB, "limit": 50 * _GIB, "hits": 30, "misses": 4},
            "environments": {"count": 3, "used": _GIB, "limit": 0, "built": 3, "reused": 12},
            **daemon,
        },
        "running": [_run(number) for number in range(runs)],
        "recent": [
            {"key": "old", "cause": "completed", "seconds": 5.2, "ended": 700.0, "detail": ""},
            {"key": "bad", "cause": "exit", "seconds": 65, "ended": 940.0, "detail": "it exited"},
        ],
    }


def _state(found: Item, **more: Any) -> State:
    state = State(**more)
    state.learn(found)
    return state


def test_everything_fits_a_small_terminal() -> None:
    """80x24 shows every part: runs, queues, cards, what is kept, and what has ended."""
    shown = text_of(frame(_state(_found()), 1000.0, 80, 24))
    rows = shown.splitlines()
    assert len(rows) == 24
    assert max(map(len, rows)) <= 80
    for words in (
        ("studio-runner 0.1.0 on gpu-box", "up 10m00s"),
        ("taking experiments",),
        ("CPU 2/8", "MEM 16G/32G", "DISK 450G/900G", "GPU 1/2"),
        ("Cache 12G/50G, 30 hits, 4 misses", "Environments 3, 1G, 3 built, 12 reused"),
        ("> experiment_0", "mnist", "running", "1m00s/10m", "1.7/2", "1.2G/4G"),
        ("team", "sqs", "12", "yes"),
        ("big", "local", "?", "no: the machine is full"),
        ("other", "no: no queue of ours"),
        ("certs/lab", "no: refused"),
        ("0", "NVIDIA L4", "not given out: it is lost"),
        ("1", "83%", "12G/24G", "61C", "70W", "experiment_0"),
        ("old", "completed", "5s", "5m00s"),
        ("? help", "q quit"),
    ):
        assert any(all(word in row for word in words) for row in rows), (words, shown)
    assert shown.index("bad") < shown.index("old")


def test_a_wide_page_shows_all_of_it() -> None:
    """Where nothing cuts, every run, number and reason is there in full."""
    shown = text_of(whole(_state(_found(runs=40)), 1000.0, 160))
    assert all(f"experiment_{number}" in shown for number in range(40))
    assert "CPU [||........] 2/8" in shown
    assert "> " not in shown


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"draining": True}, "draining"),
        ({"suspended_by": ["the operator", "STATE"]}, "suspended by the operator and by STATE"),
        ({"fuse": "three in a row"}, "the host fuse has blown: three in a row"),
        ({"waits": "the disk is low"}, "nothing is claimed now: the disk is low"),
    ],
)
def test_it_says_why_nothing_is_claimed(changes: Item, said: str) -> None:
    """One line tells the state of the daemon."""
    assert said in text_of(frame(_state(_found(**changes)), 1000.0, 80, 24))


def test_the_selected_run_is_seen_among_many() -> None:
    """More runs than lines: the list goes along with the selection, and says how many are out."""
    state = _state(_found(runs=50))
    state.press("G")
    shown = text_of(frame(state, 1000.0, 80, 24))
    assert "> experiment_49" in shown
    assert "more" in next(row for row in shown.splitlines() if "RUNNING 50" in row)


def test_an_older_daemon_is_shown_as_far_as_it_tells() -> None:
    """What an answer lacks is left out."""
    state = _state({"daemon": {"pid": 1}, "running": [{"key": "k", "run": "r"}]})
    assert "k" in text_of(frame(state, 1000.0, 80, 24))
    assert text_of(frame(State(), 1000.0, 80, 24))


def test_a_number_that_is_none_breaks_nothing() -> None:
    """JSON of Python's may say NaN and Infinity."""
    odd = _run(0, limit=math.inf, started=math.nan, since=math.nan, memory=math.inf)
    shown = text_of(frame(_state({**_found(), "running": [odd]}), 1000.0, 120, 24))
    assert "experiment_0" in shown


@pytest.mark.parametrize("height", [1, 2, 3, 10])
@pytest.mark.parametrize("key", ["c", "d", "s", "r"])
def test_a_question_is_seen_in_every_terminal(height: int, key: str) -> None:
    """With its answers: the last line is its own, however narrow and low the terminal is."""
    state = _state(_found(runs=16))
    state.press(key)
    shown = frame(state, 1000.0, 40, height)
    assert len(shown) == height
    assert shown[-1].plain.rstrip().endswith("[y/n]")


@pytest.mark.parametrize("size", [(40, 10), (80, 24), (20, 4)])
def test_all_of_the_help_can_be_read(size: tuple[int, int]) -> None:
    """Scrolled through where it is longer than the terminal; nothing of it is cut."""
    state = _state(_found())
    state.press("?")
    seen: dict[str, None] = {}
    for _ in range(80):
        seen |= dict.fromkeys(line.plain.strip() for line in frame(state, 1000.0, *size)[:-1])
        state.press("j")
    words = " ".join(" ".join(seen).split())
    for said in ("drain: finish what runs, and end", "fg comes back", "as in the list of GPUs."):
        assert all(word in words for word in said.split())
    assert "…" not in words
    state.press("G")
    state.press("?")
    state.press("?")
    assert frame(state, 1000.0, *size)[0].plain.startswith("Enter")


def test_sixteen_runs_eight_cards_and_a_hundred_results_share_ten_lines() -> None:
    """Every list that is begun has a row, the selected run is seen, and what is out is counted."""
    found = _found(runs=16)
    found["daemon"]["gpus"] *= 4
    found["recent"] *= 50
    state = _state(found)
    state.press("G")
    for width in (40, 80):
        rows = text_of(frame(state, 1000.0, width, 10)).splitlines()
        assert len(rows) == 10
        assert any("> experiment_15" in row for row in rows)
        assert any("RUNNING 16" in row and row.endswith("more") for row in rows)
    rows = text_of(frame(state, 1000.0, 80, 24)).splitlines()
    for title, row in pairwise(rows):
        if any(word in title for word in ("RUNNING", "QUEUES", "HELD BY", "ENDED")):
            assert row.strip()


_TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)


@given(
    width=st.integers(1, 200),
    height=st.integers(1, 60),
    runs=st.integers(0, 12),
    text=_TEXTS,
    mode=st.sampled_from(Mode),
)
def test_no_size_and_no_text_breaks_the_frame(
    width: int, height: int, runs: int, text: str, mode: Mode
) -> None:
    """Never more lines or columns than there are, and no control character whatever is told."""
    found = _found(runs, waits=text, host=text, fuse=text)
    for one in found["running"]:
        one.update(key=text, project=text, phase=text)
    state = _state(found, mode=mode, notice=text)
    state.output.add(text)
    shown = frame(state, 1000.0, width, height)
    assert len(shown) <= height
    assert all(line.cell_len <= width for line in shown)
    assert all("\n" not in line.plain and "\x1b" not in line.plain for line in shown)
    assert all(c.isprintable() for line in shown for c in line.plain)


@given(wanted=st.lists(st.integers(0, 30), max_size=6), room=st.integers(0, 60))
def test_room_is_shared_out_fairly(wanted: list[int], room: int) -> None:
    """Nobody gets more than is wanted or there is; who is cut gets as much, or one less."""
    got = shares(wanted, room)
    assert sum(got) == min(room, sum(wanted))
    assert all(g <= w for g, w in zip(got, wanted, strict=True))
    cut = [g for g, w in zip(got, wanted, strict=True) if g < w]
    assert not cut or min(cut) >= max(got) - 1


def test_columns_go_by_their_rank() -> None:
    """Columns are cut first, then left out, the highest rank first; rank 0 stays."""
    columns = (Column("A"), Column("B", rank=2), Column("C", rank=1))
    row = [Text("aaaa"), Text("bbbb"), Text("cccc")]
    shown = [text_of(lines(columns, [row], width)) for width in (14, 9, 3, 1)]
    assert shown == ["A    B    C\naaaa bbbb cccc", "A   B  C\naa… b… c…", "A C\n… …", "A\n…"]
