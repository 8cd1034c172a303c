"""The error tree: what a person reads, and who must act."""

from __future__ import annotations

import errno

import pytest

from runner.errors import BadField, HostFault, OutOfDisk, host_fault


def test_a_long_value_is_cut_and_counted() -> None:
    """A log line stays readable and tells how long the text was, not its quoted form."""
    text = str(BadField("experiment.key", "x" * 4096, "write less"))
    assert text == f"experiment.key is '{'x' * 99}… (4096 characters): write less"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_from_other_faults(number: int) -> None:
    """Space and quota are the disk's; both say what could not be done."""
    fault = host_fault("no note can be kept", OSError(number, "No space left"))
    assert isinstance(fault, OutOfDisk)
    assert str(fault).startswith("no note can be kept: ")


def test_other_errors_are_faults_of_the_host() -> None:
    """Nothing is said about space where there is some."""
    fault = host_fault("it cannot be read", OSError(errno.EIO, "Input/output error"))
    assert type(fault) is HostFault
