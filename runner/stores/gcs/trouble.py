"""What Google, its SDK and the network say, as the errors of the seam: the one table of gcs."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping

import google.api_core.exceptions
import google.auth.exceptions
import requests
import urllib3.exceptions
from google.cloud.storage.exceptions import DataCorruption

from runner.errors import RunnerError, StoreUnavailable
from runner.model import Location
from runner.stores.base import AccessDenied, Conflict, NotFound
from runner.stores.gcs.identity import Identity
from runner.stores.gcs.transport import AUTHORITIES
from runner.stores.remote import wires
from runner.stores.remote.client import Busy, Lasting

#: Reasons of a 403 that is no denial.
_BUSY = re.compile(
    r"rateLimitExceeded|userRateLimitExceeded|quotaExceeded|rate ?limit", re.IGNORECASE
)
#: Reasons of a 403 that no role changes.
_KEPT = re.compile(r"retentionPolicyNotMet|objectUnderActiveHold")
_BUCKET = re.compile(r"bucket does not exist|bucket.{0,300}not.{0,10}found", re.IGNORECASE)
_DAMAGED = re.compile(r"match calculated|checksum|hash", re.IGNORECASE)
#: What the token server says of a request from the past or the future.
_CLOCK = re.compile(r"reasonable timeframe|\b(?:iat|exp)\b", re.IGNORECASE)
_LATER = frozenset({408, 429})
#: A server's sentence is shown up to here.
_SHOWN = 300


@contextlib.contextmanager
def translated(location: Location, identity: Identity) -> Iterator[None]:
    """Raise the seam's errors instead of the SDK's, with the address and the remedy."""
    try:
        yield
    except google.api_core.exceptions.GoogleAPICallError as error:
        raise _answered(location, identity, error) from error
    except google.auth.exceptions.GoogleAuthError as error:
        raise _no_token(location, identity, error) from error
    except DataCorruption as error:
        raise damaged(location) from error
    except requests.RequestException as error:
        raise unreachable(str(location), error) from error
    except urllib3.exceptions.HTTPError as error:
        raise wires.unavailable(str(location), error, authority=AUTHORITIES[0]) from error


def refused(answer: requests.Response) -> google.api_core.exceptions.GoogleAPICallError:
    """Return the SDK's error for an answer to a request of our own."""
    made: google.api_core.exceptions.GoogleAPICallError
    made = google.api_core.exceptions.from_http_response(answer)  # type: ignore[no-untyped-call]
    return made


def damaged(location: Location) -> StoreUnavailable:
    """Say that what Google has is not what was sent."""
    return StoreUnavailable(f"{location} was damaged on its way to the store")


def unreachable(what: str, error: requests.RequestException) -> StoreUnavailable:
    """Unwrap what requests wraps around the error of the connection."""
    inner = error.args[0] if error.args else error
    if isinstance(inner, urllib3.exceptions.HTTPError):
        return wires.unavailable(what, inner, authority=AUTHORITIES[0])
    return StoreUnavailable(f"{what}: {error}")


def _answered(
    location: Location, identity: Identity, error: google.api_core.exceptions.GoogleAPICallError
) -> RunnerError:
    status, said = int(error.code or 0), _said(error)
    if status == 404:  # noqa: PLR2004 - HTTP statuses are known by their numbers
        return missing(location, said)
    if status == 410:  # noqa: PLR2004 - of upload sessions alone, and not seldom
        return Lasting(f"{location}: Google has given up the upload ({said or status})")
    if status == 412:  # noqa: PLR2004
        return Conflict(f"{location} was changed by somebody else")
    if status in _LATER or status >= 500 or _is_busy(status, said):  # noqa: PLR2004
        return _later(location, status, said, error)
    if status in {401, 403}:
        kept = "what is written needs a bucket without such a rule" if _KEPT.search(said) else ""
        return AccessDenied(
            f"{location} is denied to {identity.who}: {said or status}; {kept or identity.remedy}"
        )
    return AccessDenied(f"Google refuses the request for {location}: {said or status}")


def missing(location: Location, said: str = "") -> NotFound:
    """Say that the object is not there, or its bucket where Google says so."""
    if _BUCKET.search(said):
        return NotFound(
            f"the bucket {location.bucket!r} of {location} does not exist: create it, or correct "
            "the address"
        )
    return NotFound(f"{location} does not exist")


def no_bucket(location: Location) -> NotFound:
    """Say why an object cannot be made."""
    return missing(location, "bucket does not exist")


def _is_busy(status: int, said: str) -> bool:
    damaged = status == 400 and _DAMAGED.search(said) is not None  # noqa: PLR2004
    return damaged or (status == 403 and _BUSY.search(said) is not None)  # noqa: PLR2004


def _later(
    location: Location, status: int, said: str, error: google.api_core.exceptions.GoogleAPICallError
) -> StoreUnavailable:
    sentence = f"{location}: Google answers {status}{': ' if said else ''}{said}"
    headers: Mapping[str, str] = getattr(error.response, "headers", None) or {}
    after = headers.get("retry-after", "")
    return Busy(sentence, float(after)) if after.isdecimal() else StoreUnavailable(sentence)


def _said(error: google.api_core.exceptions.GoogleAPICallError) -> str:
    """Return Google's own sentence and reasons, without the address of the request.

    An upload's address is a secret: whoever has it may write.
    """
    try:
        told = error.response.json()["error"]
        reasons = [str(one.get("reason", "")) for one in told.get("errors", ())]
        text = " ".join([str(told.get("message", "")), *(f"({one})" for one in reasons if one)])
    except (AttributeError, KeyError, TypeError, ValueError):  # no JSON: XML, a proxy's page
        text = str(getattr(error.response, "text", "") or "")
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())[:_SHOWN]


def _no_token(
    location: Location, identity: Identity, error: google.auth.exceptions.GoogleAuthError
) -> RunnerError:
    cause = error.__cause__ or error.__context__
    if isinstance(cause, requests.RequestException):
        return unreachable(f"{location}: Google's token server", cause)
    if isinstance(error, google.auth.exceptions.TransportError) or error.retryable:
        return StoreUnavailable(f"{location}: no token can be had now: {_brief(error)}")
    said = _brief(error)
    if _CLOCK.search(said):
        return Lasting(f"{location}: this machine's clock is wrong, set it: Google says {said}")
    return AccessDenied(
        f"{location}: Google gives {identity.who} no token ({said}): the key is expired, deleted "
        "or revoked; make a new one"
    )


def _brief(error: Exception) -> str:
    return " ".join(str(error.args[0] if error.args else error).split())[:_SHOWN]
