"""Why an attempt ended: one pure function from the evidence, and what to do about it."""

from __future__ import annotations

import signal as signals
from collections.abc import Mapping
from dataclasses import dataclass

from runner.errors import (
    ArtifactBad,
    ArtifactMissing,
    ExperimentFailed,
    HostFault,
    LeaseLost,
    Misconfigured,
    OutOfDisk,
    PythonMissing,
    QueueUnavailable,
    RequestError,
    RequirementsFailed,
    StoreUnavailable,
    Unavailable,
    Undecodable,
)
from runner.lifecycle.runs import exits
from runner.lifecycle.runs.exits import Exit
from runner.model import Cause


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known about the end of an attempt; everything may be unknown."""

    #: Of the experiment's first process; ``None`` when it never ran or nobody saw its end.
    exit_code: int | None = None
    #: The signal that ended it.
    signal: int | None = None
    #: A limit that it reached, or what we ended it for: only if it was really ended for that.
    stopped_for: Cause | None = None
    #: The kernel killed one of its processes for want of memory.
    out_of_memory: bool = False
    #: It wanted more processes and threads than it may have.
    is_crowded: bool = False
    disk_full: bool = False
    #: One of its cards broke while it ran.
    gpu_fault: bool = False
    #: One of them does not answer at its end.
    gpu_lost: bool = False
    #: CUDA found no memory left, as far as its output tells.
    gpu_out_of_memory: bool = False
    #: Its supervisor is gone, or could not start it, and has left no record of an end.
    supervisor_vanished: bool = False
    orphaned: bool = False
    sandbox_unavailable: bool = False
    #: What kept us from preparing, running or storing it.
    error: BaseException | None = None


#: The first class that fits decides, so subclasses stand before their bases.
_ERRORS: tuple[tuple[type[BaseException], Cause], ...] = (
    (LeaseLost, Cause.LEASE_LOST),
    (Undecodable, Cause.NOT_A_REQUEST),
    (RequestError, Cause.BAD_REQUEST),
    (StoreUnavailable, Cause.STORE_UNAVAILABLE),
    (QueueUnavailable, Cause.HOST_FAULT),
    (Unavailable, Cause.HOST_FAULT),
    (ArtifactMissing, Cause.ARTIFACT_MISSING),
    (ArtifactBad, Cause.ARTIFACT_BAD),
    (PythonMissing, Cause.PYTHON_MISSING),
    (RequirementsFailed, Cause.REQUIREMENTS),
    (ExperimentFailed, Cause.EXIT),
    (OutOfDisk, Cause.OUT_OF_DISK),
    (HostFault, Cause.HOST_FAULT),
    (Misconfigured, Cause.SANDBOX_UNAVAILABLE),
)


#: A run whose card is gone reaches these without having done anything.
_WAITED_FOR = frozenset({Cause.TIME_LIMIT, Cause.IDLE})


def cause_of(evidence: Evidence) -> Cause:
    """Decide the cause; total, and the stronger evidence first.

    A lost lease and the user's own cancelling go before everything; an error of ours before the
    end of the run, because a result that is not stored is none; what we did to the run before what
    the run did then.
    """
    if evidence.stopped_for in {Cause.LEASE_LOST, Cause.CANCELLED}:
        return evidence.stopped_for
    if evidence.error is not None:
        return _of_error(evidence.error)
    if evidence.stopped_for in _WAITED_FOR and evidence.gpu_lost:
        return Cause.GPU_FAULT
    if evidence.stopped_for is not None:
        return evidence.stopped_for
    return _of_host(evidence) or _of_process(evidence)


def evidence_of(end: Exit) -> Evidence:
    """Return what a supervisor's record says.

    Kills for want of memory that were counted beyond the run's own cgroup may have meant others:
    they count only where this experiment died of a KILL that nobody here sent.
    """
    is_ours = end.oom_scope == "cgroup" or end.signal == signals.SIGKILL
    return Evidence(
        exit_code=end.code,
        signal=end.signal,
        stopped_for=end.stopped_for,
        out_of_memory=end.oom_kills > 0 and is_ours,
        is_crowded=end.forks_refused > 0,
        disk_full=end.disk_full,
        supervisor_vanished=end.reason in {exits.VANISHED, exits.TERMINATED, exits.START_FAILED},
        orphaned=end.reason == exits.ORPHANED,
        sandbox_unavailable=end.reason == exits.SANDBOX_UNAVAILABLE,
    )


def advice(cause: Cause) -> str:
    """Tell the user in one sentence what to do."""
    return _ADVICE[cause]


def _of_error(error: BaseException) -> Cause:
    return next((cause for kind, cause in _ERRORS if isinstance(error, kind)), Cause.INTERNAL)


def _of_host(evidence: Evidence) -> Cause | None:
    if evidence.sandbox_unavailable:
        return Cause.SANDBOX_UNAVAILABLE
    if evidence.orphaned:
        return Cause.ORPHANED
    unseen = evidence.exit_code is None and evidence.signal is None
    if evidence.supervisor_vanished or unseen:
        return Cause.OUT_OF_DISK if evidence.disk_full else Cause.HOST_FAULT
    return None


def _of_process(evidence: Evidence) -> Cause:
    if evidence.exit_code == 0 and evidence.signal is None:
        return Cause.COMPLETED
    seen = (
        (evidence.gpu_fault or evidence.gpu_lost, Cause.GPU_FAULT),
        (evidence.out_of_memory, Cause.OUT_OF_MEMORY),
        (evidence.disk_full, Cause.OUT_OF_DISK),
        (evidence.gpu_out_of_memory, Cause.GPU_OUT_OF_MEMORY),
        (evidence.is_crowded, Cause.TOO_MANY_PROCESSES),
        (evidence.signal is not None, Cause.SIGNAL),
    )
    return next((cause for is_seen, cause in seen if is_seen), Cause.EXIT)


_ADVICE: Mapping[Cause, str] = {
    Cause.COMPLETED: "Nothing is to be done; the results are stored.",
    Cause.EXIT: (
        "Read the end of the output, where the script says what went wrong; correct it, and submit "
        "again."
    ),
    Cause.SIGNAL: (
        "The script crashed below Python: look at the end of the output and at its native "
        "extensions; PYTHONFAULTHANDLER=1 in config.env has it say where."
    ),
    Cause.OUT_OF_MEMORY: (
        "Ask for more in resources_needed.ram, or let the script use less: smaller batches, fewer "
        "workers of its data loaders."
    ),
    Cause.TOO_MANY_PROCESSES: (
        "Let the script start fewer processes and threads, or have the operator raise "
        "--pids-limit; the end of the output tells what it wanted them for."
    ),
    Cause.OUT_OF_DISK: (
        "Ask for more in resources_needed.hdd, or let the script write less and remove what it "
        "does not need any more, as old checkpoints."
    ),
    Cause.TIME_LIMIT: (
        "Raise max_duration, or let the script save its state and go on from there next time; what "
        "it has stored so far is kept."
    ),
    Cause.LIFETIME: (
        "Submit it again if it is still wanted; raise experimentLifetime if it waits in queues for "
        "long."
    ),
    Cause.GPU_FAULT: "The card failed, not the script; it is tried again on another one.",
    Cause.GPU_OUT_OF_MEMORY: (
        "Ask for a larger card in resources_needed.gpuMem, or let the script use less: smaller "
        "batches, lower precision, checkpointed activations."
    ),
    Cause.IDLE: (
        "Look at what the script waited for: its cards did nothing, and it wrote nothing. An "
        "experiment that computes elsewhere should ask for no GPU."
    ),
    Cause.LEASE_LOST: "Nothing is to be done: the queue gives the experiment to a runner again.",
    Cause.DRAINED: "Nothing is to be done: the runner was stopped, another attempt follows.",
    Cause.CANCELLED: "It was cancelled on request; submit it again to run it.",
    Cause.ARTIFACT_MISSING: (
        "Upload the artifact that the output names, check its address and keys, and submit again."
    ),
    Cause.ARTIFACT_BAD: (
        "Pack the artifact again as a tar archive, or ask for more in resources_needed.hdd if it "
        "is larger than that."
    ),
    Cause.REQUIREMENTS: "Correct pythonenv or config.pip; the installer's words are in the output.",
    Cause.PYTHON_MISSING: (
        "Ask for a Python that the runner has in pythonver, or have the operator install it."
    ),
    Cause.SANDBOX_UNAVAILABLE: (
        "The operator has to set up the sandbox on this machine: studio-runner doctor says how."
    ),
    Cause.STORE_UNAVAILABLE: "The object store did not answer; check it if this stays so.",
    Cause.RESULTS_DENIED: (
        "Correct the address or the keys of the artifact that is named, and submit again."
    ),
    Cause.HOST_FAULT: "The machine failed, not the script; it is tried again.",
    Cause.ORPHANED: "The runner was away for too long; the operator should see why it stopped.",
    Cause.BAD_REQUEST: "Correct the field that is named, and submit again.",
    Cause.TOO_BIG: "Ask for less in resources_needed, or start a runner on a larger machine.",
    Cause.NOT_OURS: "Nothing is to be done: another runner has it, or it has ended before.",
    Cause.NOT_A_REQUEST: (
        "Keep messages that are no StudioML requests out of this queue, or have the operator leave "
        "the queue out."
    ),
    Cause.NO_ROOM: "Nothing is to be done: it waits until the machine has room.",
    Cause.REFUSED_BY_HOOK: (
        "The rules of this runner do not allow it: change what the reason names, or ask its "
        "operator."
    ),
    Cause.DEFERRED_BY_HOOK: "Nothing is to be done: it is tried again later.",
    Cause.HOOK_FAILED: (
        "The operator has to mend the program of --hook-before: studio-runner doctor says what is "
        "wrong with it."
    ),
    Cause.INTERNAL: "This is a defect of the runner; please report it with the daemon's log.",
}
