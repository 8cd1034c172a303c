"""Which queues the operator's options name."""

from __future__ import annotations

import pytest

from runner.app.sources import named
from runner.settings import Settings


@pytest.mark.parametrize(
    ("options", "queue", "expected"),
    [
        ((), "local", False),
        (("--queue-match", "^(local|ours$)"), "ours", True),
        (("--queue-match", "^local_ours"), "local_ours", True),
        (("--queue-match", "^local_ours"), "ours", False),
        (("--queue-match", "^local_ours"), "local", False),
        (("--queue-match", "local_.*"), "local_ours", False),
    ],
)
def test_a_queue_is_named_by_its_whole_name(
    *, options: tuple[str, ...], queue: str, expected: bool
) -> None:
    """A pattern that happens to match names nobody, nor does the default."""
    assert named(Settings.load(options, {}))(queue) is expected
