"""Which part of an output is wanted, and what it costs to find it."""

from __future__ import annotations

import io
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.lifecycle.runs.live_output import LiveOutput
from runner.lifecycle.runs.wanted import Wanted
from runner.redaction import Redactor

_KEY = (
    b"-----BEGIN PRIVATE KEY-----\n" + b"MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n" * 20
    + b"-----END PRIVATE KEY-----\n"
)  # fmt: skip


class Counted(io.BytesIO):
    """A file that counts what is read of it."""

    count = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Read."""
        data = super().read(size)
        self.count += len(data)
        return data


def part(data: bytes, wanted: Wanted) -> bytes:
    """Return the part."""
    return data[wanted.start(io.BytesIO(data)) :]


@given(
    data=st.lists(st.sampled_from([b"\n", b"a", b"bc\n", b"\r", b"x" * 70_000])).map(b"".join),
    lines=st.integers(0, 8),
)
def test_the_last_lines_are_those_that_anybody_would_count(data: bytes, lines: int) -> None:
    """Wherever the pieces that are read end; a last line may lack its end."""
    all_lines = data.split(b"\n")
    ended = [line + b"\n" for line in all_lines[:-1]] + [line for line in all_lines[-1:] if line]
    assert part(data, Wanted(lines)) == b"".join(ended[len(ended) - min(lines, len(ended)) :])


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Wanted(), b"1\n2\n3\n4"),
        (Wanted(since=2), b"2\n3\n4"),
        (Wanted(since=7), b""),
        (Wanted(since=8), b"1\n2\n3\n4"),
        (Wanted(9, most=4), b"3\n4"),
        (Wanted(1, most=4), b"4"),
        (Wanted(9, most=1), b""),
        (Wanted(9, most=100), b"1\n2\n3\n4"),
    ],
)
def test_a_part_has_bounds(wanted: Wanted, found: bytes) -> None:
    """It begins with a line; an output that has become shorter is another one."""
    assert part(b"1\n2\n3\n4", wanted) == found


def test_what_is_drawn_over_itself_for_ever_has_a_bound() -> None:
    """Of a line without an end the last states are taken, from one that is whole."""
    bar = b"".join(b"\r%06d" % number for number in range(50_000))
    found = part(bar, Wanted(10, most=1000))
    assert found.endswith(b"049999")
    assert len(found) <= 1000
    assert len(found.split(b"\r")[0]) == 6


def test_the_last_lines_of_a_large_output_cost_little() -> None:
    """Not the reading of what lies above them."""
    file = Counted(b"a line of an output\n" * 1_000_000)
    assert Wanted(10).start(file) == 20 * 999_990
    assert file.count < 200_000


def test_a_private_key_is_never_cut() -> None:
    """Half of one is not recognised, and would be shown; who asks for its last lines gets none."""
    data = b"above\n" + _KEY + b"below\n"
    assert part(data, Wanted(1)) == b"below\n"
    for lines in range(2, 23):
        assert part(data, Wanted(lines)) == _KEY + b"below\n"
    assert part(data, Wanted(24)) == data


@pytest.mark.anyio
async def test_an_output_is_followed_from_its_last_lines(tmp_path: Path) -> None:
    """As it stands when it is first read; what is secret in them is masked."""
    path = tmp_path / "output"
    redactor = Redactor()
    redactor.add("hush-hush")
    with closing(LiveOutput(redactor, wanted=Wanted(2))) as output:
        assert await output.read_on(path) == ""
        path.write_text("1\n2\nhush-hush\n4\n")
        assert await output.read_on(path) == "***\n4\n"
        assert output.start == 4
        with path.open("a") as file:
            file.write("5\n6\n7\n")
        assert await output.read_on(path) == "5\n6\n7\n"
