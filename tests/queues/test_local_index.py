"""The index of waiting messages: oldest first, each once, none missed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runner.queues.local.index import Entry, Index


@given(st.dictionaries(st.text(min_size=1), st.integers()))
def test_messages_come_by_time_and_then_by_name(files: dict[str, int]) -> None:
    """Each exactly once, also when two looks saw it."""
    index = Index()
    entries = [Entry(mtime, name, 0) for name, mtime in files.items()]
    index.add(entries)
    index.add(entries)
    popped = [index.pop() for _ in files]
    assert popped == sorted(entries)
    assert index.pop() is None


def test_what_a_look_does_not_find_is_dropped() -> None:
    """Another runner's messages do not pile up in memory."""
    index = Index()
    index.add([Entry(1, "a", 0), Entry(2, "b", 0)])
    index.note("c")
    index.drop(index.names() - {"b"})
    assert len(index) == 1
    assert index.noted() == []
    assert index.pop() == Entry(2, "b", 0)


def test_what_was_noted_during_a_look_stays() -> None:
    """A message that came back while the directory was read was perhaps not seen by the look."""
    index = Index()
    index.add([Entry(1, "a", 0)])
    known = index.names()
    index.note("a")
    index.drop(known)
    assert index.pop() == Entry(1, "a", 0)


def test_a_file_set_aside_returns_when_it_changed() -> None:
    """A file that could not be read is not offered again before somebody touched it."""
    index = Index()
    index.set_aside("a", 5)
    index.add([Entry(1, "a", 5)])
    assert index.pop() is None
    index.add([Entry(1, "a", 6)])
    assert index.pop() == Entry(1, "a", 6)
