"""``studio-runner logs``: the last lines, of what runs here and of what was stored."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Self

import pytest

from tests.acceptance.box import Box, until

_SCRIPT = """
import pathlib, time
print("".join(f"old {{number}}\\n" for number in range(50_000)), flush=True, end="")
for name in ("go", "end"):
    while not pathlib.Path({root!r}, name).exists():
        time.sleep(0.01)
    print(f"new at {{name}}", flush=True)
"""


class Reader:
    """A ``logs`` command that is under way, and what it has printed."""

    def __init__(self, command: Sequence[str], box: Box) -> None:
        self._process = subprocess.Popen(
            command, env=dict(box.environ()), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self._parts: list[bytes] = []
        assert self._process.stdout is not None
        self._thread = threading.Thread(target=self._read, args=(self._process.stdout,))
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._thread.join()

    @property
    def text(self) -> str:
        """What it has printed."""
        return b"".join(self._parts).decode()

    def shows(self, text: str) -> None:
        """Wait until it has printed just this."""
        until(lambda: self.text == text or None, text, lambda: self.text)

    def ends(self) -> int:
        """Wait for its end."""
        self._thread.join()
        return self._process.wait()

    def _read(self, stream: IO[bytes]) -> None:
        while data := stream.read1():  # type: ignore[attr-defined]  # buffered, as Popen makes it
            self._parts.append(data)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A machine of its own for every test."""
    with Box(tmp_path) as box:
        yield box


def _logs(box: Box, *words: str) -> list[str]:
    places = ["--state-dir", str(box.state), "--store", str(box.root / "store")]
    return [sys.executable, "-m", "runner", "logs", *words, *places]


def _printed(box: Box, *words: str) -> str:
    done = subprocess.run(
        _logs(box, *words), env=dict(box.environ()), capture_output=True, check=True, text=True
    )
    return done.stdout


def test_the_last_lines_are_printed_and_followed(box: Box) -> None:
    """While it runs, over the daemon's death, and of what was stored: each line once."""
    daemon = box.start()
    box.submit(_SCRIPT.format(root=str(box.root)), key="k")
    until(lambda: "old 49999\n" in box.live_output() or None, "its output", box.log)
    assert _printed(box, "k", "-n", "2") == "old 49998\nold 49999\n"
    assert _printed(box, "k", "--tail", "0") == ""
    assert len(_printed(box, "k").splitlines()) == 50_000
    with (
        Reader(_logs(box, "k", "-f", "-n", "2"), box) as some,
        Reader(_logs(box, "k", "-f", "-n", "0"), box) as new,
    ):
        some.shows("old 49998\nold 49999\n")
        (box.root / "go").touch()
        some.shows("old 49998\nold 49999\nnew at go\n")
        box.kill(daemon)
        box.start()
        (box.root / "end").touch()
        assert some.ends() == 0
        assert new.ends() == 0
        assert some.text == "old 49998\nold 49999\nnew at go\nnew at end\n"
        assert some.text.endswith(new.text)
    assert box.outcome("k")["cause"] == "completed"
    assert _printed(box, "k", "-n", "2") == "new at go\nnew at end\n"
    assert _printed(box, "k", "-f", "-n", "1") == "new at end\n"
    assert len(_printed(box, "k", "-f").splitlines()) == 50_002


@pytest.mark.parametrize("word", ["-1", "some", "1.5"])
def test_a_number_of_lines_is_one(box: Box, word: str) -> None:
    """What is none is refused, by its name."""
    done = subprocess.run(
        _logs(box, "k", f"--tail={word}"), env=dict(box.environ()), capture_output=True, check=False
    )
    assert done.returncode == 2
    assert b"--tail" in done.stderr
    assert word.encode() in done.stderr
