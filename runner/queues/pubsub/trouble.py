"""What the service's status codes mean for people and for leases: one table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode
from grpc.aio import AioRpcError

from runner.errors import LeaseLost, QueueDenied, QueueGone, QueueUnavailable

_DETAILS = "grpc-status-details-bin"
_INVALID = "PERMANENT_FAILURE_INVALID_ACK_ID"
#: The token server's way to say no; everything else that it says may be better in a minute.
_REFUSED = re.compile(r"(invalid|disabled|deleted|unauthorized)_(grant|client)")
#: "Requested project not found or user does not have access to it (project=...)"
_PROJECT = re.compile(r"\(project=|project not found", re.IGNORECASE)
_LONGEST_SAID = 300


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a call is for, in the words of its error."""

    #: Completes "may not …": ``list the subscriptions of project demo``.
    verb: str
    resource: str
    #: The permission that the call needs.
    right: str
    remedy: str


def meaning(error: AioRpcError, purpose: Purpose, who: str) -> QueueUnavailable | LeaseLost:
    """Return what a failed call means; ``who`` names the credential for people."""
    code = error.code()
    said = (error.details() or code.name)[:_LONGEST_SAID]
    if failures := ack_failures(error):
        return _of_ack_ids(failures)
    if code is StatusCode.UNAUTHENTICATED or _REFUSED.search(said):
        return QueueDenied(
            f"Google refuses {who}: {said}; put a key that is valid in its place, or set this "
            "machine's clock where it is wrong"
        )
    if code is StatusCode.PERMISSION_DENIED or _is_about_project(code, said):
        return QueueDenied(
            f"{who} may not {purpose.verb}: {purpose.right} on {purpose.resource} is missing "
            f"({said}); {purpose.remedy}"
        )
    if code is StatusCode.NOT_FOUND:
        return QueueGone(f"{purpose.resource} does not exist ({said})")
    return QueueUnavailable(f"could not {purpose.verb}: {code.name}, {said}")


def _is_about_project(code: StatusCode, said: str) -> bool:
    """A project that is not seen is a matter of rights: nothing below it was deleted by that."""
    return code is StatusCode.NOT_FOUND and bool(_PROJECT.search(said))


def _of_ack_ids(failures: Mapping[str, str]) -> QueueUnavailable | LeaseLost:
    reasons = ", ".join(sorted(set(failures.values())))
    if _INVALID in failures.values():
        return LeaseLost(f"Pub/Sub says that the message is no longer ours: {reasons}")
    return QueueUnavailable(f"Pub/Sub could not do it for the message: {reasons}")


def ack_failures(error: AioRpcError) -> Mapping[str, str]:
    """Return by ack id why it failed; only exactly-once subscriptions tell."""
    found: dict[str, str] = {}
    for key, value in error.trailing_metadata() or ():
        if key != _DETAILS:
            continue
        status = status_pb2.Status.FromString(value)
        for detail in status.details:
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info):
                found.update(
                    (ack_id, why)
                    for ack_id, why in info.metadata.items()
                    if why.startswith(("PERMANENT_FAILURE_", "TRANSIENT_FAILURE_"))
                )
    return found
