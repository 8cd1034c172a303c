"""What S3 hosts answer: errors by their code, with the remedy, and objects by their headers."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from runner.errors import RunnerError, StoreUnavailable
from runner.model import Bytes, Location
from runner.stores.base import AccessDenied, Checksum, Conflict, Entry, NotFound, ObjectInfo
from runner.stores.remote.client import Busy, Lasting, NotDone, Page
from runner.stores.remote.headers import date_in, moment

_Kind = Callable[[str], RunnerError]

_KEYS = "check the artifact's credentials, or those of config.storage"
_REGION = "the region is wrong: name the right one in config.storage"

_QUOTA = "the bucket's quota is used up: make room, or raise it"

#: Codes of a store that is asked for too much, or whose keys' keeper is, whatever their status.
_BUSY = re.compile("throttl|slow ?down|limitexceeded|toomanyrequests", re.IGNORECASE)
#: Codes whose status does not say all, and what to add for the one who reads.
_BY_CODE: Mapping[str, tuple[_Kind, str]] = {
    "NoSuchKey": (NotFound, "there is no such object"),
    "NoSuchUpload": (NotFound, "there is no such upload"),
    "NoSuchBucket": (NotFound, "there is no such bucket"),
    "PreconditionFailed": (Conflict, "it is of another version"),
    "AccessDenied": (AccessDenied, "these credentials have no right to it"),
    "InvalidAccessKeyId": (AccessDenied, f"the access key is not known there; {_KEYS}"),
    "SignatureDoesNotMatch": (AccessDenied, f"the secret key is wrong; {_KEYS}"),
    "ExpiredToken": (AccessDenied, "the session token has expired: submit with a new one"),
    "InvalidToken": (AccessDenied, f"the session token is wrong; {_KEYS}"),
    "InvalidTokenId": (AccessDenied, f"the session token is wrong; {_KEYS}"),
    "InvalidObjectState": (AccessDenied, "it lies in an archive: restore it first"),
    # Not the sender's fault: another runner, or this one later, may do what is asked for.
    "RequestTimeTooSkewed": (Lasting, "the clocks of the runner and of the store differ: set them"),
    "QuotaExceeded": (Lasting, _QUOTA),
    "XMinioAdminBucketQuotaExceeded": (Lasting, _QUOTA),
    "InvalidPart": (Lasting, "the store has lost a part of it"),
    "AuthorizationHeaderMalformed": (AccessDenied, _REGION),
    "AuthorizationQueryParametersError": (AccessDenied, _REGION),
    "PermanentRedirect": (AccessDenied, _REGION),
    "BadDigest": (StoreUnavailable, "the body was damaged on its way"),
    "IncompleteBody": (StoreUnavailable, "the body was cut on its way"),
    "RequestTimeout": (StoreUnavailable, "the body took too long"),
    "ConditionalRequestConflict": (StoreUnavailable, "another writer is at it"),
    "NotImplemented": (NotDone, "the store does no such thing"),
    "OperationAborted": (StoreUnavailable, "another writer is at it"),
}
_BY_STATUS: Mapping[int, _Kind] = {
    404: NotFound,
    408: StoreUnavailable,
    409: StoreUnavailable,
    412: Conflict,
    416: Conflict,  # a range beyond what the object has now
    429: StoreUnavailable,
    501: NotDone,
}
_NO_RIGHT = (401, 403)
_MD5 = re.compile(r"[0-9a-f]{32}")
_MD5_PARTS = re.compile(r"[0-9a-f]{32}-[1-9][0-9]{0,4}")


def error_of(
    location: Location, status: int, code: str, message: str, retry_after: str | None
) -> RunnerError:
    """Return what an answer means; ``code`` and ``message`` are empty where it has no body."""
    kind, remedy = _BY_CODE.get(code, (None, ""))
    if _BUSY.search(code):
        kind, remedy = StoreUnavailable, "the store is busy"
    if kind is None:
        by_class = StoreUnavailable if status >= 500 else AccessDenied  # noqa: PLR2004 - HTTP's
        kind = _BY_STATUS.get(status, by_class)
    if not remedy and status in _NO_RIGHT:  # the answer to a HEAD has no body that would say more
        remedy = "these credentials have no right to it, or none are given"
    said = ": ".join(part for part in (code, message) if part)
    detail = f"{location}: {remedy or 'the store answers'} ({status}{' ' if said else ''}{said})"
    if kind is StoreUnavailable and retry_after and retry_after.isdecimal():
        return Busy(detail, float(retry_after))
    return kind(detail)


def text_of(document: bytes, element: str) -> str:
    """Return the text of the first such element of an answer, empty without one."""
    found = re.search(rf"<{element}>([^<]*)</{element}>", document.decode(errors="replace"))
    return html.unescape(found[1]) if found else ""


def uploads_of(document: bytes, key: str) -> list[str]:
    """Return, out of a list of uploads in parts, the ids of those of exactly this key."""
    entries = re.findall(rb"<Upload>(.*?)</Upload>", document, re.DOTALL)
    return [text_of(entry, "UploadId") for entry in entries if text_of(entry, "Key") == key]


def page_of(document: bytes, folder: Location, said: str) -> Page:
    """Read one page of a list; ``said``: the header ``Date``."""
    found = re.findall(rb"<Contents>(.*?)</Contents>", document, re.DOTALL)
    entries = [
        Entry(
            replace(folder, key=text_of(one, "Key")),
            Bytes(int(text_of(one, "Size") or 0)),
            moment(text_of(one, "LastModified")),
        )
        for one in found
    ]
    more = text_of(document, "NextContinuationToken")
    return Page(entries, date_in(said), more if text_of(document, "IsTruncated") == "true" else "")


def described(etag: str, size: int, headers: Mapping[str, str]) -> ObjectInfo:
    """Describe an object; its ETag is a digest unless it is encrypted with a key of its own."""
    etag = etag.strip('"')
    checksum = None
    if _is_plain(headers):
        if _MD5.fullmatch(etag):
            checksum = Checksum("md5", etag)
        elif _MD5_PARTS.fullmatch(etag):
            checksum = Checksum("md5-parts", etag)
    return ObjectInfo(Bytes(size), etag, checksum)


def _is_plain(headers: Mapping[str, str]) -> bool:
    encryption = headers.get("x-amz-server-side-encryption", "")
    customer = headers.get("x-amz-server-side-encryption-customer-algorithm", "")
    return encryption in {"", "AES256"} and not customer
