"""An output with holes is read without them."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from runner.archives.pack import pack_single
from runner.client.output_part import output_in


@pytest.mark.parametrize("mode", ["r:", "r|"])
def test_holes_are_passed_over(tmp_path: Path, mode: str) -> None:
    """A program that cuts its own output leaves one as long as it was; nobody reads zeros."""
    with (tmp_path / "output").open("wb") as file:
        file.write(b"a" * 4095 + b"\n")
        file.seek(1 << 40)
        file.write(b"last line\n")
    stream = io.BytesIO()
    pack_single(tmp_path / "output", stream)
    stream.seek(0)
    with tarfile.open(fileobj=stream, mode=mode) as archive:  # type: ignore[call-overload]
        # typeshed wants a literal
        found = output_in(archive)
        assert found is not None
        assert found.read() == b"a" * 4095 + b"\nlast line\n"
