"""The output of a run for who asks again and again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from runner.lifecycle.board import Board, Entry
from runner.lifecycle.runs import tails
from runner.lifecycle.runs.tails import ANSWER, KEPT, Piece, Tails
from runner.redaction import Redactor, Secret
from tests.lifecycle.records import a_record

pytestmark = pytest.mark.anyio

KEY = "wJalrXUtnFEMI/K7MDENG"


@dataclass
class Bench:
    """A board with runs that write where a test says, and who follows them."""

    root: Path
    board: Board = field(default_factory=Board)
    redactor: Redactor = field(default_factory=Redactor)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.tails = Tails(self.board, self.redactor, lambda: self.now)

    def run(self, name: str = "run") -> Path:
        """Begin a run; return its output."""
        output = self.root / name
        output.touch()
        self.board.enter(Entry(a_record(name), output=output))
        return output

    async def read(self, after: Piece | None = None, name: str = "run") -> Piece:
        """Ask for what follows."""
        stream, position = (after.stream, after.end) if after else ("", 0)
        piece = await self.tails.read(name, stream, position)
        assert piece is not None
        return piece


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Make one."""
    bench = Bench(tmp_path)
    yield bench
    bench.tails.close()


async def test_each_answer_goes_on_where_the_last_one_ended(bench: Bench) -> None:
    """Two may follow, each at his own pace; the end is said to be the end."""
    output = bench.run()
    assert (await bench.read()).text == ""
    output.write_text("one\n")
    first = await bench.read()
    assert (first.text, first.start, first.end) == ("one\n", 0, 4)
    with output.open("a") as file:
        file.write("two\n")
    second = await bench.read(first)
    assert (second.text, second.start, second.is_over) == ("two\n", 4, False)
    assert (await bench.read()).text == "one\ntwo\n"
    with output.open("a") as file:
        file.write("no line end")
    bench.board.leave("run")
    output.unlink()
    last = await bench.read(second)
    assert (last.text, last.is_over) == ("no line end", True)
    again = await bench.read(last)
    assert (again.text, again.is_over) == ("", True)


async def test_a_long_output_is_followed_near_its_end(bench: Bench) -> None:
    """From the beginning of a line, in pieces, with little of it at hand."""
    output = bench.run()
    output.write_text("".join(f"line {number:09}\n" for number in range(100_000)))
    piece = await bench.read()
    assert piece.text.startswith("line ")
    text = piece.text
    while (piece := await bench.read(piece)).text:
        assert len(piece.text) <= ANSWER
        text += piece.text
    assert text.endswith("line 000099999\n")
    assert len(text) <= KEPT
    assert "".join(sorted(text.splitlines(keepends=True))) == text


async def test_of_a_secret_that_begins_before_what_is_shown_no_end_is_shown(bench: Bench) -> None:
    """What is shown begins later than what is read."""
    key = "\n".join(f"{KEY}{number:05}" for number in range(40))
    bench.redactor.add(Secret(key))
    output = bench.run()
    size = KEPT + (64 << 10)
    output.write_text("x\n" * 1000 + key[:400] + key[400:] + "\n" + "y" * (size - 500) + "\nend\n")
    text, piece = "", await bench.read()
    while piece.text:
        text += piece.text
        piece = await bench.read(piece)
    assert KEY not in text
    assert text.endswith("\nend\n")


async def test_who_falls_far_behind_begins_anew_near_the_end(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood costs the daemon no more than its end does."""
    monkeypatch.setattr(tails, "_FAR", 1 << 20)
    output = bench.run()
    output.write_text("first\n")
    first = await bench.read()
    with output.open("a") as file:
        file.write("flood\n" * (4 << 18))
    piece = await bench.read(first)
    assert piece.stream != first.stream
    while (found := await bench.read(piece)).text:
        piece = found
    assert piece.text.endswith("flood\n")


async def test_few_outputs_are_open_and_none_that_nobody_follows(bench: Bench) -> None:
    """What is asked for again after that begins anew."""
    for number in range(12):
        bench.run(f"run{number}").write_text("hello\n")
        await bench.read(name=f"run{number}")
        bench.now += 1
    assert sorted(bench.tails._tails) == sorted(f"run{number}" for number in range(4, 12))
    assert (await bench.read(name="run0")).text == "hello\n"
    bench.now += 100
    bench.tails.forget()
    assert not bench.tails._tails
    assert await bench.tails.read("unknown", "", 0) is None


async def test_what_is_closed_while_it_is_read_is_closed_afterwards(bench: Bench) -> None:
    """Neither under the reader's hands, nor opened again by it for good."""
    bench.run().write_bytes(b"x\n" * (1 << 20))
    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(bench.read)
        while not bench.tails._tails:
            await anyio.lowlevel.checkpoint()
        (tail,) = bench.tails._tails.values()
        while tail._output._file < 0:
            await anyio.lowlevel.checkpoint()
        file = tail._output._file
        bench.tails.close()
        assert tail._output._file == file
    assert tail._output._file < 0
