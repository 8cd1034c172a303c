"""Keys and what they do, and the output that is shown: without any terminal."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.cli.top.keys import Keys
from runner.cli.top.output import Output
from runner.cli.top.state import Mode, State, Verb
from runner.cli.top.words import harmless, short


def _state(*keys: str) -> State:
    state = State()
    state.learn(_found(*keys))
    return state


def _found(*keys: str) -> dict[str, Any]:
    return {"running": [{"key": key, "run": f"run-{key}"} for key in keys]}


@pytest.mark.parametrize(
    ("sent", "keys"),
    [
        (b"jk", ["j", "k"]),
        (b"\x1b[A\x1bOB", ["up", "down"]),
        (b"\x1b[5~\x1b[6~", ["page-up", "page-down"]),
        (b"\r", ["enter"]),
        (b"\x1b[1;5C", []),
        ("ü".encode(), ["ü"]),
    ],
)
def test_keys_are_read_however_they_come(sent: bytes, keys: list[str]) -> None:
    """Whole, and byte by byte as over a slow line."""
    assert Keys().feed(sent) == keys
    slow = Keys()
    assert [key for byte in sent for key in slow.feed(bytes([byte]))] == keys


def test_escape_is_known_by_its_silence() -> None:
    """Nothing follows: it was the key."""
    keys = Keys()
    assert keys.feed(b"\x1b") == []
    assert keys.is_amid
    assert keys.rest() == ["escape"]
    assert not keys.is_amid


@given(st.lists(st.binary(max_size=8)))
def test_no_bytes_break_the_keys(pieces: list[bytes]) -> None:
    """Whatever is pasted: names of keys, and nothing is kept for ever."""
    keys = Keys()
    for piece in pieces:
        assert all(isinstance(key, str) for key in keys.feed(piece))
    keys.rest()
    assert not keys.is_amid


def test_the_same_run_stays_selected() -> None:
    """Others come and go above it; when it goes itself, what takes its line is selected."""
    state = _state("a", "b", "c")
    state.press("j")
    assert state.selected == {"key": "b", "run": "run-b"}
    state.learn(_found("b", "c"))
    assert (state.place, state.chosen) == (0, "run-b")
    state.learn(_found("x", "y"))
    assert state.chosen == "run-x"
    state.learn({})
    assert state.selected is None


def test_a_selection_outlives_an_empty_answer() -> None:
    """A daemon that has only just begun may not have taken up the runs of the last one."""
    state = _state("a", "b", "c")
    state.press("G")
    state.learn({})
    state.learn(_found("a", "b", "c"))
    assert state.selected == {"key": "c", "run": "run-c"}


def test_whatever_acts_asks_first() -> None:
    """Only y does it; every other key does not, and nothing else happens by it."""
    state = _state("a")
    assert state.press("c") is None
    assert state.press("q") is None
    assert state.question is None
    for key, verb, run in (
        ("c", Verb.CANCEL, "run-a"),
        ("d", Verb.DRAIN, ""),
        ("s", Verb.SUSPEND, ""),
        ("r", Verb.RESUME, ""),
    ):
        assert state.press(key) is None
        wish = state.press("y")
        assert wish is not None
        assert (wish.verb, wish.run) == (verb, run)


def test_with_nothing_under_way_there_is_nothing_to_do() -> None:
    """Enter and c say so."""
    state = State()
    for key in ("c", "enter"):
        assert state.press(key) is None
        assert state.notice.startswith("nothing")
    assert state.question is None


def test_the_output_is_left_again() -> None:
    """Enter opens it, Escape goes back, c is about the run that is looked into."""
    state = _state("a", "b")
    state.press("j")
    wish = state.press("enter")
    assert wish is not None
    assert (wish.verb, wish.key, state.mode) == (Verb.FOLLOW, "b", Mode.OUTPUT)
    state.learn(_found("a"))
    state.learn(_found("a", "b"))
    state.press("c")
    assert state.question is not None
    assert state.question.key == "b"
    state.press("n")
    left = state.press("escape")
    assert left is not None
    assert (left.verb, state.mode) == (Verb.LEAVE, Mode.LIST)


def test_an_output_scrolls_and_follows() -> None:
    """The end is followed; a reader who has gone up sees the same lines while more comes."""
    output = Output("k")
    output.add("".join(f"{number}\n" for number in range(20)) + "open")
    assert output.window(3) == ["18", "19", "open"]
    output.scroll(5)
    assert output.window(3) == ["13", "14", "15"]
    output.add(" line\nmore\n")
    assert output.window(3) == ["13", "14", "15"]
    output.scroll(-100)
    assert output.window(2) == ["open line", "more"]
    output.scroll(1 << 30)
    assert output.window(3) == ["0", "1", "2"]


def test_a_long_line_is_shown_from_its_beginning() -> None:
    """It is cut at the end; of a bar that is drawn over itself for ever the last state is kept."""
    output = Output("k")
    output.add("begin" + "x" * 10_000)
    output.add("y" * 10_000 + "\nend\r")
    output.add("\n")
    first, last = output.window(3)
    assert first.startswith("beginx")
    assert last == "end"
    for percent in range(3000):
        output.add(f"\r{percent} of many")
    assert output.window(1) == ["2999 of many"]


def test_an_output_that_comes_again_is_followed() -> None:
    """Where somebody had scrolled to means nothing any more: a new daemon tells it anew."""
    output = Output("k")
    output.add("1\n2\n3\n")
    output.scroll(1)
    output.begin()
    output.add("1\n2\n3\n")
    assert output.window(1) == ["3"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07x", "x"),
        ("\x1b]8;;http://evil\x1b\\link", "link"),
        ("10%\r20%\r30%", "30%"),
        ("done\r", "done"),
        ("a\tb", "a       b"),
        ("\x9b2Jx\x00\x08\u202ey", "xy"),
        ("\x1bP1$r\x1b\\x", "x"),
    ],
)
def test_output_draws_nothing_of_its_own(text: str, shown: str) -> None:
    """Sequences and control characters go; of a progress bar its last state is left."""
    assert harmless(text) == shown


@given(st.text())
def test_no_output_reaches_the_terminal_as_a_sequence(text: str) -> None:
    """Every character that is left can be printed."""
    assert all(c.isprintable() for c in harmless(text))


@pytest.mark.parametrize(
    ("size", "written"),
    [(None, "?"), (0, "0B"), (1023, "1023B"), (1024, "1K"), (1.5 * 2**30, "1.5G"), (2**40, "1T")],
)
def test_sizes_are_short(size: float | None, written: str) -> None:
    """Five characters at most."""
    assert short(size) == written
