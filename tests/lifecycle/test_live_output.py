"""What people see of a run under way: all of it, nothing else, and no secret."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from runner.lifecycle.runs.live_output import LiveOutput
from runner.redaction import Redactor, Secret

pytestmark = pytest.mark.anyio

KEY = "wJalrXUtnFEMI/K7MDENG"


async def everything(output: LiveOutput, path: Path) -> str:
    """Read to the end."""
    text = ""
    while more := await output.read_on(path):
        text += more
    return text


async def test_an_output_is_read_on_and_on(tmp_path: Path) -> None:
    """A character that is half there waits for its other half."""
    path = tmp_path / "output"
    with closing(LiveOutput(Redactor())) as output:
        assert await output.read_on(None) == ""
        assert await output.read_on(path) == ""
        with path.open("ab", buffering=0) as file:
            file.write("größe\n".encode()[:3])
            await output.read_on(path)
            file.write("größe\n".encode()[3:])
        assert await everything(output, path) + output.rest() == "größe\n"


async def test_the_end_is_read_when_the_workspace_is_gone(tmp_path: Path) -> None:
    """The last lines are the ones that people wait for."""
    path = tmp_path / "output"
    path.write_text("one\n")
    with closing(LiveOutput(Redactor())) as output:
        assert await output.read_on(path) == "one\n"
        with path.open("a") as file:
            file.write("two\n")
        path.unlink()
        assert await everything(output, path) == "two\n"


async def test_a_secret_between_two_pieces_is_masked(tmp_path: Path) -> None:
    """It may have been written in two halves."""
    path = tmp_path / "output"
    redactor = Redactor()
    redactor.add(Secret(KEY))
    with closing(LiveOutput(redactor)) as output:
        path.write_text(f"key {KEY[:9]}")
        text = await everything(output, path)
        with path.open("a") as file:
            file.write(f"{KEY[9:]} end")
        text += await everything(output, path) + output.rest()
    assert text == "key *** end"


@pytest.mark.parametrize("what", ["pipe", "link", "directory"])
async def test_nothing_but_a_file_is_read(tmp_path: Path, what: str) -> None:
    """An experiment must not make the daemon wait for a pipe, or show it another file."""
    path = tmp_path / "output"
    if what == "pipe":
        os.mkfifo(path)
    elif what == "link":
        (tmp_path / "passwords").write_text("secret")
        path.symlink_to(tmp_path / "passwords")
    else:
        path.mkdir()
    with closing(LiveOutput(Redactor())) as output:
        assert await everything(output, path) + output.rest() == ""
