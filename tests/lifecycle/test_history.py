"""The history is short, whatever daemons come and go."""

from __future__ import annotations

from pathlib import Path

from runner.lifecycle.history import Ending, History, read


def ending(number: int) -> Ending:
    """Return an ending of its own."""
    return Ending(f"k{number}", "q", "p", 1, "completed", 0, "", "acked", float(number), 1.0)


def test_endings_are_read_by_the_next_daemon(tmp_path: Path) -> None:
    """Oldest first; a line that a full disk cut short costs no other one."""
    file = tmp_path / "recent.jsonl"
    History(file).add(ending(1))
    with file.open("a") as stream:
        stream.write('{"key": "cu')
    History(file).add(ending(2))
    assert list(History(file).endings) == [ending(1), ending(2)]


def test_what_a_power_cut_left_of_it_stops_no_daemon(tmp_path: Path) -> None:
    """Lines that are none cost no other one."""
    file = tmp_path / "recent.jsonl"
    file.write_bytes(b"\xff\xfe\x81" + bytes(64) + b"\n")
    History(file).add(ending(1))
    assert list(History(file).endings) == [ending(1)]


def test_the_file_stays_short_over_many_daemons(tmp_path: Path) -> None:
    """None of them ran long enough to fill it by itself."""
    file = tmp_path / "recent.jsonl"
    for daemon in range(8):
        history = History(file)
        for number in range(300):
            history.add(ending(daemon * 300 + number))
        assert len(history.endings) == 200
    assert len(file.read_text().splitlines()) <= 1000
    assert read(file)[-1] == ending(2399)


def test_a_history_that_cannot_be_written_is_kept_in_memory(tmp_path: Path) -> None:
    """A full disk must not cost a finished experiment."""
    history = History(tmp_path / "nowhere" / "recent.jsonl")
    history.add(ending(1))
    assert list(history.endings) == [ending(1)]
