"""Failure has a name, and a sentence that says what to do."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner import errors
from runner.lifecycle.causes import Evidence, advice, cause_of, evidence_of
from runner.lifecycle.runs import exits
from runner.lifecycle.runs.exits import Exit
from runner.model import Cause


@pytest.mark.parametrize(
    ("evidence", "cause"),
    [
        (Evidence(exit_code=0), Cause.COMPLETED),
        (Evidence(exit_code=3), Cause.EXIT),
        (Evidence(signal=11), Cause.SIGNAL),
        (Evidence(signal=9, out_of_memory=True), Cause.OUT_OF_MEMORY),
        (Evidence(exit_code=0, out_of_memory=True), Cause.COMPLETED),
        (Evidence(exit_code=1, disk_full=True), Cause.OUT_OF_DISK),
        (Evidence(exit_code=1, gpu_fault=True, out_of_memory=True), Cause.GPU_FAULT),
        (Evidence(exit_code=0, gpu_fault=True), Cause.COMPLETED),
        (Evidence(signal=6, gpu_lost=True), Cause.GPU_FAULT),
        (Evidence(exit_code=1, gpu_out_of_memory=True), Cause.GPU_OUT_OF_MEMORY),
        (Evidence(exit_code=1, is_crowded=True), Cause.TOO_MANY_PROCESSES),
        (Evidence(signal=6, is_crowded=True), Cause.TOO_MANY_PROCESSES),
        (Evidence(exit_code=0, is_crowded=True), Cause.COMPLETED),
        (Evidence(signal=9, is_crowded=True, out_of_memory=True), Cause.OUT_OF_MEMORY),
        (Evidence(signal=9, gpu_out_of_memory=True, out_of_memory=True), Cause.OUT_OF_MEMORY),
        (Evidence(exit_code=1, gpu_out_of_memory=True, gpu_fault=True), Cause.GPU_FAULT),
        (Evidence(signal=15, stopped_for=Cause.TIME_LIMIT, gpu_lost=True), Cause.GPU_FAULT),
        (Evidence(signal=15, stopped_for=Cause.TIME_LIMIT, gpu_fault=True), Cause.TIME_LIMIT),
        (Evidence(signal=15, stopped_for=Cause.DRAINED, gpu_lost=True), Cause.DRAINED),
        (Evidence(signal=15, stopped_for=Cause.IDLE), Cause.IDLE),
        (Evidence(exit_code=0, stopped_for=Cause.TIME_LIMIT), Cause.TIME_LIMIT),
        (Evidence(signal=9, stopped_for=Cause.LIFETIME), Cause.LIFETIME),
        (Evidence(signal=15, stopped_for=Cause.DRAINED), Cause.DRAINED),
        (Evidence(signal=15, stopped_for=Cause.CANCELLED), Cause.CANCELLED),
        (Evidence(orphaned=True, signal=15), Cause.ORPHANED),
        (Evidence(supervisor_vanished=True), Cause.HOST_FAULT),
        (Evidence(supervisor_vanished=True, disk_full=True), Cause.OUT_OF_DISK),
        (Evidence(sandbox_unavailable=True), Cause.SANDBOX_UNAVAILABLE),
        (Evidence(), Cause.HOST_FAULT),
        (Evidence(exit_code=0, error=errors.StoreUnavailable()), Cause.STORE_UNAVAILABLE),
        (
            Evidence(stopped_for=Cause.LEASE_LOST, error=errors.StoreUnavailable()),
            Cause.LEASE_LOST,
        ),
        (Evidence(stopped_for=Cause.CANCELLED, error=errors.HostFault()), Cause.CANCELLED),
        (Evidence(error=errors.LeaseLost()), Cause.LEASE_LOST),
        (Evidence(error=errors.Undecodable()), Cause.NOT_A_REQUEST),
        (Evidence(error=errors.Unsupported()), Cause.BAD_REQUEST),
        (Evidence(error=errors.ArtifactMissing()), Cause.ARTIFACT_MISSING),
        (Evidence(error=errors.ArtifactBad()), Cause.ARTIFACT_BAD),
        (Evidence(error=errors.PythonMissing()), Cause.PYTHON_MISSING),
        (Evidence(error=errors.RequirementsFailed()), Cause.REQUIREMENTS),
        (Evidence(error=errors.OutOfDisk()), Cause.OUT_OF_DISK),
        (Evidence(error=errors.HostFault()), Cause.HOST_FAULT),
        (Evidence(error=errors.Misconfigured()), Cause.SANDBOX_UNAVAILABLE),
        (Evidence(error=ZeroDivisionError()), Cause.INTERNAL),
    ],
    ids=str,
)
def test_the_evidence_decides_the_cause(evidence: Evidence, cause: Cause) -> None:
    """The stronger evidence goes first."""
    assert cause_of(evidence) is cause


def _tree(kind: type[errors.RunnerError]) -> list[type[errors.RunnerError]]:
    return [kind, *itertools.chain.from_iterable(_tree(below) for below in kind.__subclasses__())]


def _is_of_a_seam(kind: type[errors.RunnerError]) -> bool:
    """Say whether it, or what it is made of, stands beside the tree: its callers translate it."""
    top = kind.__mro__[kind.__mro__.index(errors.RunnerError) - 1]
    return top.__module__ != errors.__name__


KINDS = [kind for kind in _tree(errors.RunnerError)[1:] if not _is_of_a_seam(kind)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_of_the_tree_is_known(kind: type[errors.RunnerError]) -> None:
    """Only what is not in the tree is our own defect."""
    error = errors.BadField("x", 1, "y") if kind is errors.BadField else kind()
    assert cause_of(Evidence(error=error)) is not Cause.INTERNAL


@given(
    st.builds(Evidence, exit_code=st.none() | st.integers(-5, 300), signal=st.none() | st.just(9))
)
def test_there_is_always_a_cause(evidence: Evidence) -> None:
    """Total, whatever is known or unknown."""
    assert cause_of(evidence) in Cause


@pytest.mark.parametrize("cause", Cause)
def test_every_cause_has_its_advice(cause: Cause) -> None:
    """One sentence."""
    assert advice(cause).endswith(".")


@pytest.mark.parametrize(
    ("end", "cause"),
    [
        (Exit(exits.EXITED, code=0), Cause.COMPLETED),
        (Exit(exits.EXITED, code=7), Cause.EXIT),
        (Exit(exits.EXITED, signal=11, oom_kills=1, oom_scope="machine"), Cause.SIGNAL),
        (Exit(exits.EXITED, signal=9, oom_kills=1, oom_scope="machine"), Cause.OUT_OF_MEMORY),
        (Exit(exits.EXITED, code=1, oom_kills=1, oom_scope="cgroup"), Cause.OUT_OF_MEMORY),
        (Exit("time-limit", signal=15, stopped_for=Cause.TIME_LIMIT), Cause.TIME_LIMIT),
        (Exit(exits.ORPHANED, signal=15), Cause.ORPHANED),
        (Exit(exits.START_FAILED, detail="no such file"), Cause.HOST_FAULT),
        (Exit(exits.SANDBOX_UNAVAILABLE, detail="no namespaces"), Cause.SANDBOX_UNAVAILABLE),
        (Exit(exits.VANISHED), Cause.HOST_FAULT),
        (Exit(exits.TERMINATED, signal=15), Cause.HOST_FAULT),
    ],
    ids=str,
)
def test_the_supervisors_record_is_evidence(end: Exit, cause: Cause) -> None:
    """Every way in which a run ends has its cause."""
    assert cause_of(evidence_of(end)) is cause
