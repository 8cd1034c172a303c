"""The files of a run: JSON that every reader understands, written whole."""

from __future__ import annotations

import json
import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from runner.supervisor import records

VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=[]))
)


@given(fields=st.dictionaries(st.text(), VALUES))
def test_the_encoder_speaks_json(fields: dict[str, records.Value]) -> None:
    """Whatever is encoded is read back by the real decoder, lone surrogates included."""
    assert json.loads(records.flat_json(fields)) == fields


def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    """A shorter content leaves nothing of the longer one, and no other file stays."""
    place = os.fsencode(tmp_path)
    records.write(place, b"file", b"a long content")
    records.write(place, b"file", b"short", durable=True)
    assert records.read(place, b"file") == b"short"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_reserved_space_is_used(tmp_path: Path) -> None:
    """The file written last takes the space that was taken first, and not a byte more."""
    place = os.fsencode(tmp_path)
    records.reserve(place, b"file")
    inode = next(tmp_path.iterdir()).stat().st_ino
    records.write(place, b"file", b"content")
    assert (tmp_path / "file").stat().st_ino == inode
    assert records.read(place, b"file") == b"content"


def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    """A missing file is no error."""
    assert records.read(os.fsencode(tmp_path), b"file") is None
