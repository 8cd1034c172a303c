"""The end of an output, as people are shown it."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.lifecycle.runs.last_lines import last_lines
from runner.redaction import Redactor

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", ()),
        (b"\n \n", ()),
        (b"one\ntwo\n\n", ("one", "two")),
        (b"no end", ("no end",)),
        (b"bar 1\rbar 2\r\n\xff", ("bar 2", "\N{REPLACEMENT CHARACTER}")),
        (b"line\r\n" + b"".join(b"\rbar %04d" % n for n in range(10_000)), ("bar 9999",)),
    ],
)
async def test_the_last_lines_are_read(tmp_path: Path, data: bytes, lines: tuple[str, ...]) -> None:
    """Decoded as far as it goes, without empty lines at the end."""
    (tmp_path / "output").write_bytes(data)
    assert await last_lines(tmp_path / "output", Redactor()) == lines


async def test_only_the_end_of_a_long_output_is_read(tmp_path: Path) -> None:
    """Twenty lines of it, each of bounded length; a line that was cut in reading is left out."""
    lines = [f"{number} " + "x" * 1000 for number in range(500)]
    (tmp_path / "output").write_text("\n".join(lines))
    found = await last_lines(tmp_path / "output", Redactor())
    assert [line.split()[0] for line in found] == [str(n) for n in range(480, 500)]
    assert max(map(len, found)) == 400
    (tmp_path / "output").write_text("x" * 100_000)
    assert await last_lines(tmp_path / "output", Redactor()) == ()


async def test_no_secret_is_in_them(tmp_path: Path) -> None:
    """Also one that is longer than the lines that are shown."""
    body = "\n".join("MIIEvQIBADANBgkqhkiG9w0BAQEF" for _ in range(100))
    key = f"-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----"
    (tmp_path / "output").write_text(f"begin\n{key}\nend\n")
    assert await last_lines(tmp_path / "output", Redactor()) == ("begin", "***", "end")


async def test_what_is_no_file_has_no_lines(tmp_path: Path) -> None:
    """Nothing is read through a link, from a pipe, or from nowhere."""
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    for path in (tmp_path / "link", tmp_path, tmp_path / "absent", None):
        assert await last_lines(path, Redactor()) == ()
