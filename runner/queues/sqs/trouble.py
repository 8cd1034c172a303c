"""What SQS refuses, in our own errors: the one table of this backend.

Names: the API reference of SQS, "Common Error Types", and the errors of each action.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
)

from runner.errors import (
    LeaseLost,
    QueueDenied,
    QueueGone,
    QueueUnavailable,
    RunnerError,
    Unsupported,
)

_PREFIX = "AWS.SimpleQueueService."
_LONGEST_SHOWN = 200

_MISSING = frozenset({"NonExistentQueue", "QueueDoesNotExist"})
_UNKNOWN_KEY = frozenset(
    {
        "InvalidClientTokenId",
        "InvalidAccessKeyId",
        "UnrecognizedClientException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "IncompleteSignature",
        "AuthFailure",
        "OptInRequired",
        "SubscriptionRequiredException",
    }
)
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"})
_SIGNATURE = frozenset(
    {"SignatureDoesNotMatch", "InvalidSignatureException", "RequestExpired", "RequestTimeTooSkewed"}
)
_NO_RIGHT = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AuthorizationError",
        "UnauthorizedOperation",
        "InvalidSecurity",
    }
)
_KEY_OF_QUEUE = frozenset(
    {"KmsAccessDenied", "KMS.AccessDeniedException", "KmsOptInRequired", "KMS.OptInRequired"}
)
#: Too much is asked for at the moment, whatever the status says: of these, SQS's is 403 at times.
_BUSY = re.compile("throttl|^OverLimit$|^IDPCommunicationError$", re.IGNORECASE)
_NOT_HELD = frozenset({"ReceiptHandleIsInvalid", "InvalidIdFormat", "MessageNotInflight"})
_BAD_MESSAGE = frozenset({"InvalidMessageContents", "MessageTooLong", "BatchRequestTooLong"})
#: What SQS says in an InvalidParameterValue about a receipt.
_ABOUT_RECEIPTS = ("receipthandle", "receipt handle", "not available for visibility timeout")
_ABOUT_SIZE = ("shorter than", "too long", "longer than", "must be less than")
_CLOCK = ("signature expired", "signature not yet current", "too skewed", "expired")
_LATE = "still expired"
_FORBIDDEN, _SERVERS_FAULT = 403, 500
#: Of the token service, asked on the way for the keys of a role.
_ASSUME = "AssumeRole"


class NotHeld(LeaseLost):
    """SQS knows no message that is held by this receipt: it is visible, another's, or deleted."""


class TooOld(LeaseLost):
    """SQS lets nobody hold a message for longer than 12 hours."""


class NotToSay(QueueGone):
    """The queue does not exist, or the credential may not see it: SQS does not say which."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One call, for sentences about it."""

    #: In botocore's spelling: ``receive_message``.
    operation: str
    #: Where people find the credential.
    origin: str
    region: str
    #: The queue's URL or its name; empty: none in particular.
    queue: str = ""

    @property
    def action(self) -> str:
        """Write it as policies do: ``sqs:ReceiveMessage``."""
        return "sqs:" + "".join(map(str.title, self.operation.split("_")))

    @property
    def resource(self) -> str:
        """Write what it concerns as policies do."""
        *_, account, name = ("*", *urlsplit(self.queue).path.split("/"))
        account, name = (account or "*", name or "*")
        return f"arn:{_partition(self.region)}:sqs:{self.region}:{account}:{name}"


def translated(asked: Asked, error: ClientError | BotoCoreError) -> RunnerError:
    """Say in our own errors what botocore raised."""
    if isinstance(error, ClientError):
        return _answered(asked, error)
    if isinstance(error, NoCredentialsError | PartialCredentialsError | CredentialRetrievalError):
        return QueueDenied(
            f"{asked.origin}: this machine has no AWS identity ({_short(str(error))}): give it an "
            "instance or pod role, or keys, or do without the option for ambient AWS identity"
        )
    return QueueUnavailable(f"{asked.action} in {asked.region}: {_short(str(error))}")


def without_keys(asked: Asked, error: OSError | RuntimeError) -> RunnerError | None:
    """Say what kept botocore from having keys; ``None`` where it was something else.

    It raises what a token's file raises, and for keys that came too late nothing of its own.
    """
    if isinstance(error, OSError):
        return QueueUnavailable(f"{asked.origin}: its AWS identity cannot be read: {error}")
    if _LATE not in str(error):
        return None
    return QueueDenied(
        f"{asked.origin}: the keys that it was given are over already: this machine's clock is "
        "wrong: set it"
    )


def _answered(asked: Asked, error: ClientError) -> RunnerError:
    told: Mapping[str, Any] = error.response.get("Error", {})
    code = str(told.get("Code", "")).removeprefix(_PREFIX)
    said = _short(str(told.get("Message", "")))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    what = f"{asked.action} on {asked.resource}: {code or status}: {said}"
    if _BUSY.search(code):
        return QueueUnavailable(what)
    if error.operation_name.startswith(_ASSUME) and status < _SERVERS_FAULT:
        return QueueDenied(
            f"{asked.origin}: sts:{error.operation_name} is refused ({code}: {said}): let the "
            "role's trust policy and the policy of its source allow it"
        )
    return (
        _about_queue(asked, code, said, what)
        or _about_receipt(code, said, what)
        or _about_message(code, said, what)
        or _about_identity(asked, code, said, status)
        or QueueUnavailable(what)
    )


def _about_queue(asked: Asked, code: str, said: str, what: str) -> RunnerError | None:
    if code not in _MISSING:
        return None
    if "access" in said:
        return NotToSay(what)
    return QueueGone(f"there is no queue {asked.queue} in {asked.region}: {said}")


def _about_receipt(code: str, said: str, what: str) -> RunnerError | None:
    lowered = said.lower()
    if code in _NOT_HELD:
        return NotHeld(what)
    if code != "InvalidParameterValue":
        return None
    if "total visibilitytimeout" in lowered:
        return TooOld(what)
    return NotHeld(what) if any(word in lowered for word in _ABOUT_RECEIPTS) else None


def _about_message(code: str, said: str, what: str) -> RunnerError | None:
    is_too_long = code == "InvalidParameterValue" and any(one in said for one in _ABOUT_SIZE)
    return Unsupported(what) if code in _BAD_MESSAGE or is_too_long else None


def _about_identity(asked: Asked, code: str, said: str, status: int) -> RunnerError | None:
    remedy = ""
    if code in _EXPIRED:
        remedy = "its session token has expired: put a fresh one in its place"
    elif code in _SIGNATURE:
        is_clock = any(word in said.lower() for word in _CLOCK)
        remedy = (
            "this machine's clock is wrong: set it"
            if is_clock or code.startswith("Request")
            else "its secret key does not belong to its access key: copy both again"
        )
    elif code in _UNKNOWN_KEY:
        remedy = "its key is unknown at AWS, or deleted: put a valid one in its place"
    elif code in _KEY_OF_QUEUE:
        remedy = "the queue is encrypted: allow kms:Decrypt and kms:GenerateDataKey with its key"
    elif code in _NO_RIGHT or status == _FORBIDDEN:
        remedy = _right(asked)
    if not remedy:
        return None
    return QueueDenied(f"{asked.origin}: {asked.action} is refused ({code}: {said}): {remedy}")


def _right(asked: Asked) -> str:
    grant = f"allow {asked.action} on {asked.resource} (docs/permissions.md)"
    if asked.operation == "list_queues":
        return f"{grant}, or name the queues: --queue URL, or a file 'queues' beside the credential"
    if asked.operation == "get_queue_url":
        return f"{grant}, or name the queue by its URL, which needs no such right"
    return grant


def _partition(region: str) -> str:
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"


def _short(said: str) -> str:
    """Return the first line: what AWS writes below may repeat headers, a token among them."""
    line = next(iter(said.strip().splitlines()), "")
    return line if len(line) <= _LONGEST_SHOWN else f"{line[:_LONGEST_SHOWN]}…"
