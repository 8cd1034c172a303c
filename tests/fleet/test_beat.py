"""The object in the store: what is written is read, and nothing else is believed."""

from __future__ import annotations

import json
import os

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.fleet.beat import LONGEST, MOST, Underway, decode, encode, is_beat, shortened
from tests.fleet.beats import beat


def test_what_is_written_is_read() -> None:
    """Field by field, as plain JSON with its version."""
    assert decode(encode(beat())) == beat()
    assert json.loads(encode(beat()))["version"] == 1


def test_a_later_version_may_say_more() -> None:
    """Fields that are not known are passed over, and a new word for the state is kept."""
    more = {**json.loads(encode(beat())), "weather": "fine", "state": "dreaming"}
    assert decode(json.dumps(more).encode()).state == "dreaming"


@given(
    st.binary(max_size=300)
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(sorted(beat().__struct_fields__)), inner, max_size=6)
        ),
    ).map(lambda value: json.dumps(value).encode())
)
def test_what_is_no_beat_is_a_value_error(body: bytes) -> None:
    """Whoever writes there can make nothing of the reader but a complaint."""
    with pytest.raises(ValueError, match=r"."):
        decode(body)


@given(st.text(max_size=300))
def test_every_host_has_a_name_that_is_found_again(host: str) -> None:
    """The object's name is one of its folder, whatever the host is called."""
    assert is_beat(msgspec.structs.replace(beat(), host=host).name)


@pytest.mark.parametrize("name", ["../x-1.json", "x.txt", "a/b.json", ".json", "x-1.json.part"])
def test_other_objects_are_no_beats(name: str) -> None:
    """What else lies in the folder is left alone."""
    assert not is_beat(name)


@pytest.mark.parametrize("letter", ["a", "é", "\0", "😀"])
def test_the_longest_beat_can_be_read(letter: str) -> None:
    """As many experiments, queues and troubles as are ever named, all as long as may be."""
    text = shortened(letter * 1000)
    runs = tuple(Underway(key=text, queue=text, phase=text, since=1.0) for _ in range(MOST))
    full = msgspec.structs.replace(
        beat(), running=runs, queues=(text,) * MOST, trouble=(text,) * MOST
    )
    body = encode(full)
    assert len(body) <= LONGEST
    assert decode(body).experiments == full.experiments


def test_names_of_any_bytes_can_be_told() -> None:
    """A directory of local queues may be called so; JSON has no such letters."""
    odd = os.fsdecode(b"local_\xff")
    told = decode(encode(msgspec.structs.replace(beat(), queues=(shortened(odd),))))
    assert told.queues == ("local_?",)


@pytest.mark.parametrize("moment", [-1.0, 1e12, 1e308])
@pytest.mark.parametrize("field", ["since", "started", "written", "running"])
def test_times_that_are_none_make_no_beat(field: str, moment: float) -> None:
    """Nobody who reads it can reckon with them."""
    run = Underway(key="k", queue="q", phase="p", since=moment)
    wrong = msgspec.structs.replace(beat(), **{field: (run,) if field == "running" else moment})
    with pytest.raises(ValueError, match="times"):
        decode(encode(wrong))
