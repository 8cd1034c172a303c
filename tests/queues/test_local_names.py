"""The names in a queue root: what is a message, what is ours, what is nobody's business."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import Misconfigured
from runner.queues.local import names

plain = st.text(
    st.characters(exclude_categories=["C", "Z"], exclude_characters="/"), min_size=1, max_size=50
).filter(names.is_message)


@pytest.mark.parametrize(
    "name",
    ["5b0c4a7e-57f0-4a4f-8a41-0d9a3f6f2f51", "cq1k2v3r5u6t7s8p9o0g", "exp 1.json", "größe", "a~b"],
)
def test_names_that_clients_and_people_write_are_messages(name: str) -> None:
    """uuid4, xid, and what somebody copies into a queue by hand."""
    assert names.is_message(name)


@pytest.mark.parametrize(
    "name",
    [
        "lock.lock",
        "is_active.queue",
        "a.tmp",
        ".hidden",
        ".studio-runner",
        "a\nb",
        "\udcff",
        "x" * 201,
    ],
)
def test_locks_markers_and_unshowable_names_are_no_messages(name: str) -> None:
    """What StudioML clients keep beside messages, and what no log line could show."""
    assert not names.is_message(name)


@given(plain)
def test_a_claim_tells_its_message_and_is_unique(name: str) -> None:
    """Whatever the message is called, also with the separator in its name."""
    claim = names.claim_of(name)
    assert names.message_of(claim) == name
    assert names.claim_of(name) != claim
    assert len(claim.encode()) <= 255


@given(st.integers(min_value=0, max_value=2**63), plain)
def test_a_delayed_name_tells_due_time_and_message(due: int, name: str) -> None:
    """Both survive in the file name alone."""
    assert names.delayed_of(names.delayed_until(due, name)) == (due, name)
    assert len(names.delayed_until(due, name).encode()) <= 255


@given(st.text())
def test_any_file_name_can_be_asked_about(name: str) -> None:
    """Files that somebody dropped into our directory are passed over, never a crash."""
    names.message_of(name)
    names.delayed_of(name)


@given(plain)
def test_another_name_is_a_message_too(name: str) -> None:
    """A message whose name is taken keeps being one."""
    assert names.is_message(names.another(name))
    assert names.is_message(names.another("x" * 200))


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "../local", "a\0b", ".studio-runner", "q" * 256]
)
def test_a_queue_name_never_leaves_the_root(name: str) -> None:
    """The refusal shows the name and what is accepted."""
    with pytest.raises(Misconfigured, match="cannot be the name of a local queue"):
        names.checked_queue(name)
