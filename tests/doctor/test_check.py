"""What findings add up to: the exit status and the document."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.doctor.check import (
    STATUS,
    VERSION,
    Area,
    Check,
    Verdict,
    document,
    exit_status,
    in_order,
)

CHECKS = st.lists(
    st.builds(
        Check,
        name=st.sampled_from(["a", "b"]),
        area=st.sampled_from(Area),
        verdict=st.sampled_from(Verdict),
        sentence=st.text(max_size=5),
    )
)


@pytest.mark.parametrize(
    ("failed", "status"),
    [
        ((), 0),
        (("settings", "host"), 2),
        (("queues", "credentials"), 10),
        (("queues", "news"), 11),
        (("host", "stores"), 12),
        (("gpu", "environment", "sandbox"), 13),
        (("sandbox", "gpu"), 14),
        (("host", "gpu"), 15),
        (("news", "host"), 16),
        (("news",), 17),
    ],
)
def test_the_first_class_that_failed_decides(failed: tuple[str, ...], status: int) -> None:
    """In the documented order, whatever order they were found in."""
    checks = [Check("x", Area(area), Verdict.FAILED, "") for area in failed]
    assert exit_status(checks) == status


def test_every_class_has_a_status_of_its_own() -> None:
    """A script tells them apart, from each other and from a doctor that failed."""
    assert set(STATUS) == set(Area)
    assert len(set(STATUS.values())) == len(Area)
    assert not set(STATUS.values()) & {0, 1, 130}


@given(CHECKS)
def test_only_failures_count(checks: list[Check]) -> None:
    """Warnings and what was skipped leave the status 0."""
    has_failed = any(check.verdict is Verdict.FAILED for check in checks)
    assert (exit_status(checks) != 0) == has_failed


@given(CHECKS)
def test_the_document_holds_every_check_in_order(checks: list[Check]) -> None:
    """It is JSON, complete, sorted by class, and its numbers agree with it."""
    told = json.loads(json.dumps(document(checks, version="1.2")))
    assert told["version"] == VERSION
    assert told["runner"] == "1.2"
    assert told["status"] == exit_status(checks)
    assert sum(told["counts"].values()) == len(checks) == len(told["checks"])
    areas = [one["area"] for one in told["checks"]]
    assert areas == [str(check.area) for check in in_order(checks)]
    assert areas == sorted(areas, key=[str(area) for area in Area].index)
