"""Output on disk: all of it within the limit, both ends beyond it, whoever dies in between."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.supervisor.output import Output, head_size, recover

NOTE = re.compile(
    rb"\n\[studio-runner: of this output only the first and the last part are kept, "
    rb"(\d+) bytes in all; (\d+) bytes were left out here\]\n"
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A run's directory with the output beside its files."""
    (tmp_path / "run").mkdir()
    return tmp_path


def opened(place: Path, limit: int) -> Output:
    """Open the output of the run in ``place``."""
    return Output(bytes(place / "output"), bytes(place / "run"), limit)


def numbers(size: int) -> bytes:
    """Return bytes in which every place can be recognised."""
    return b"".join(b"%07d\n" % i for i in range(size // 8 + 1))[:size]


def test_what_fits_is_kept_as_it_is(place: Path) -> None:
    """Up to the limit nothing is missing and no line is added."""
    output = opened(place, 1600)
    output.write(numbers(1600))
    output.finish()
    assert (place / "output").read_bytes() == numbers(1600)
    assert (output.total, output.cut) == (1600, 0)
    assert list((place / "run").iterdir()) == []


def test_beyond_the_limit_the_middle_is_missing(place: Path) -> None:
    """The line between says the limit and how many bytes are missing, exactly."""
    output = opened(place, 1600)
    output.write(numbers(10_000))
    output.finish()
    said = (place / "output").read_bytes()
    head, limit, cut, tail = NOTE.split(said)
    assert head == numbers(10_000)[:800]
    assert numbers(10_000).endswith(tail)
    assert 700 <= len(tail) <= 800
    assert (int(limit), int(cut)) == (1600, 10_000 - len(head) - len(tail))
    assert output.cut == int(cut)


def test_the_file_only_grows(place: Path) -> None:
    """Who follows the output sees a beginning of what it will be, at every moment."""
    output = opened(place, 1600)
    seen = [b""]
    for start in range(0, 10_000, 130):
        output.write(numbers(10_000)[start : start + 130])
        seen.append((place / "output").read_bytes())
    output.finish()
    seen.append((place / "output").read_bytes())
    assert all(later.startswith(earlier) for earlier, later in pairwise(seen))


def test_the_disk_never_holds_more_than_the_limit(place: Path) -> None:
    """Head and pieces together stay within the limit, but for the one line."""
    output = opened(place, 16_000)
    for _ in range(100):
        output.write(b"x" * 1999)
        held = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
        assert held <= 16_000 + 200
    output.finish()
    assert (place / "output").stat().st_size <= 16_000 + 200


def test_earlier_attempts_are_not_counted(place: Path) -> None:
    """The limit is that of one run; what was in the file before stays there."""
    (place / "output").write_bytes(b"before\n")
    output = opened(place, 100)
    output.write(b"x" * 100)
    output.finish()
    assert (place / "output").read_bytes() == b"before\n" + b"x" * 100


CHUNKS = st.lists(st.integers(min_value=0, max_value=300), max_size=8)


@given(sizes=CHUNKS, limit=st.integers(min_value=100, max_value=2000))
def test_nothing_is_lost_unseen(sizes: Sequence[int], limit: int) -> None:
    """However it is chunked: first part, last part, and a true count of the rest."""
    data = numbers(sum(sizes))
    with TemporaryDirectory() as directory:
        place = Path(directory)
        (place / "run").mkdir()
        output = opened(place, limit)
        start = 0
        for size in sizes:
            output.write(data[start : start + size])
            start += size
        output.finish()
        said = (place / "output").read_bytes()
        assert list((place / "run").iterdir()) == []
    assert output.total == len(data)
    head, _, cut, tail = NOTE.split(said) if NOTE.search(said) else (said, 0, 0, b"")
    assert data.startswith(head)
    assert data.endswith(tail)
    assert len(head) + int(cut) + len(tail) == len(data)
    assert output.cut == int(cut)
    if output.cut:
        assert len(data) > limit
        assert len(head) == head_size(limit)


@given(sizes=CHUNKS, limit=st.integers(min_value=100, max_value=2000))
def test_a_killed_supervisor_loses_nothing_that_it_had_read(
    sizes: Sequence[int], limit: int
) -> None:
    """What the daemon joins is what the supervisor would have joined."""
    data, results = numbers(sum(sizes)), []
    for killed in (False, True):
        with TemporaryDirectory() as directory:
            place = Path(directory)
            (place / "run").mkdir()
            output = opened(place, limit)
            start = 0
            for size in sizes:
                output.write(data[start : start + size])
                start += size
            if killed:
                recover(bytes(place / "output"), bytes(place / "run"), limit)
                output.finish()  # finds nothing more to join
            else:
                output.finish()
            results.append((place / "output").read_bytes())
    assert results[0] == results[1]
