"""Reports are proto3 JSON: what we write, the real protobuf library reads as it was meant."""

from __future__ import annotations

import json

from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st

from runner.lifecycle.responses.documents import (
    Severity,
    State,
    encoded,
    entry,
    progress,
    report,
    timestamp,
)
from runner.lifecycle.responses.reading import NotForUs, read
from tests.lifecycle.report_messages import parsed

#: Until the year 9999, as protobuf has it.
MOMENTS = st.integers(0, 253_402_300_799 * 10**9)
TEXTS = st.text(max_size=50)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(MOMENTS)
def test_a_time_is_that_of_protobuf(at: int) -> None:
    """To the nanosecond, with the digits that protobuf itself would write."""
    document = report(entry("x", at), at, executor="host")
    found = parsed(encoded(document))
    assert found.time.seconds * 10**9 + found.time.nanos == at
    assert MessageToDict(found)["time"] == timestamp(at)


@given(MOMENTS, TEXTS, st.sampled_from(Severity), st.dictionaries(NAMES, TEXTS, max_size=3), NAMES)
def test_a_line_of_a_log_is_read_back(
    at: int, message: str, severity: Severity, fields: dict[str, str], name: str
) -> None:
    """Whatever an experiment prints; what is no Unicode text is escaped, the rest is as it was."""
    payload = entry(message, at, severity, fields)
    document = report(payload, at, executor="host", experiment=name, unique="host-1")
    found = parsed(encoded(document))
    assert found.WhichOneof("payload") == "logging"
    assert found.logging.message.value == _escaped(message)
    assert dict(found.logging.fields) == {name: _escaped(text) for name, text in fields.items()}
    assert (found.experiment_id.value, found.unique_id.value) == (name, "host-1")
    # Our writing is the canonical one: nothing that protobuf would leave out.
    written = json.loads(encoded(document))
    written["logging"].setdefault("message", "")
    assert MessageToDict(found) == written


@given(
    MOMENTS,
    st.sampled_from(State),
    st.none() | TEXTS,
    st.none() | st.tuples(TEXTS, st.integers(-(2**40), 2**40)),
)
def test_progress_is_read_back(
    at: int, state: State, fragment: str | None, error: tuple[str, int] | None
) -> None:
    """State, the experiment's own JSON, and an error with its code, cut to what fits."""
    document = report(progress(state, at, fragment=fragment, error=error), at, executor="host")
    found = parsed(encoded(document))
    assert found.WhichOneof("payload") == "progress"
    assert (
        MessageToDict(found, always_print_fields_with_no_presence=True)["progress"]["state"]
        == state
    )
    assert found.progress.HasField("json") == (fragment is not None)
    assert found.progress.json.value == _escaped(fragment or "")
    if error is not None:
        assert found.progress.error.msg.value == _escaped(error[0])
        assert found.progress.error.code == min(max(error[1], -(2**31)), 2**31 - 1)
    assert MessageToDict(found) == json.loads(encoded(document))


@given(MOMENTS, NAMES)
def test_we_read_what_we_write(at: int, name: str) -> None:
    """The command that shows reports reads them by the same names."""
    body = encoded(report(entry("a\nb", at), at, executor="h", experiment=name))
    told = read(body, None)
    assert (told.key, told.time, told.words) == (name, timestamp(at), ["a", "b"])


def test_the_example_of_the_specification_is_read() -> None:
    """Go's marshaller writes blanks as it likes; its last words have an empty error."""
    body = (
        b'{"time":"2021-06-27T05:25:54.013499823Z", "experimentId":"1624770769_6636", '
        b'"uniqueId":"host-1gew0R","executorId":"host.example","progress":'
        b'{"time":"2021-06-27T05:25:54.013499Z","state":"Success", "error":{}}}'
    )
    told = read(body, None)
    assert (told.key, told.words, told.status) == ("1624770769_6636", ["[Success]"], 0)
    assert parsed(body).progress.state == 21


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["time", "logging", "progress", "error", "fields", "message", "code"])
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_whatever_lies_in_a_response_queue_is_read_or_left(body: bytes) -> None:
    """Others may write there: nothing of it ends the command."""
    try:
        told = read(body, None)
    except NotForUs:
        return
    assert isinstance(told.key + told.time + "".join(told.words), str)
    assert told.status is None or 0 <= told.status <= 255


def _escaped(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
