"""What a web server's answer says of an object, and its refusals as the errors of the seam."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from runner.errors import RunnerError, StoreUnavailable
from runner.model import Bytes
from runner.stores.base import AccessDenied, Checksum, NotFound, ObjectInfo
from runner.stores.remote.client import Busy
from runner.stores.remote.headers import from_base64, google_hashes, length_in, part_in

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MISSING = frozenset({404, 410})
_LATER = frozenset({408, 421, 423, 425, 429})
_FIRST_SERVER_ERROR = 500
_ALGORITHMS = {"md5": "md5", "sha-256": "sha256"}
#: ``Digest: sha-256=...`` (RFC 3230) and ``Repr-Digest: sha-256=:...:`` (RFC 9530).
_DIGEST = re.compile(r"\s*([A-Za-z0-9-]+)=:?([A-Za-z0-9+/]+={0,2}):?\s*")
#: The strongest first.
_PREFERENCE = ("sha256", "md5", "crc32c")


def redirect_in(status: int, headers: Mapping[str, str]) -> str | None:
    """Return where a redirect points to, as it is written."""
    return headers.get("location") if status in _REDIRECTS else None


def info_in(headers: Mapping[str, str]) -> ObjectInfo:
    """Describe the whole object out of an answer that has its bytes, all or a range.

    The size is -1 where the server does not tell it. The version is empty where nothing tells
    whether two answers are of the same object.
    """
    part = part_in(headers)
    size = part.size if part else length_in(headers)
    version = headers.get("etag", "").strip()
    modified = headers.get("last-modified", "").strip()
    if not version and modified:
        version = f"{modified} {size}"
    return ObjectInfo(Bytes(size), version, _checksum(headers, is_whole=part is None))


def _checksum(headers: Mapping[str, str], *, is_whole: bool) -> Checksum | None:
    found = {checksum.algorithm: checksum for checksum in _told(headers, is_whole=is_whole)}
    return next((found[algorithm] for algorithm in _PREFERENCE if algorithm in found), None)


def _told(headers: Mapping[str, str], *, is_whole: bool) -> Iterator[Checksum]:
    stored = headers.get("x-goog-stored-content-encoding", "identity")
    if stored == headers.get("content-encoding", "identity"):  # else Google has unpacked it
        yield from google_hashes(headers).values()
    if is_whole and (checksum := from_base64("md5", headers.get("content-md5", ""))):
        yield checksum
    for name in ("digest", "repr-digest"):
        for item in headers.get(name, "").split(","):
            match = _DIGEST.fullmatch(item)
            algorithm = _ALGORITHMS.get(match[1].lower()) if match else None
            if match and algorithm and (checksum := from_base64(algorithm, match[2])):
                yield checksum


def refusal(what: str, status: int, headers: Mapping[str, str]) -> RunnerError:
    """Return what a status without an object means; ``what`` is the address as it may be shown."""
    if status in _MISSING:
        return NotFound(f"{what} does not exist: the server answers {status}")
    if status in _LATER or status >= _FIRST_SERVER_ERROR:
        sentence = f"{what}: the server answers {status}"
        after = headers.get("retry-after", "")
        return Busy(sentence, float(after)) if after.isdecimal() else StoreUnavailable(sentence)
    if status in {401, 403}:
        return AccessDenied(
            f"{what} is denied, the server answers {status}: make it public, or submit again with "
            "a freshly signed address"
        )
    return AccessDenied(f"{what}: the server refuses the request with {status}")
