"""Resumable uploads: parts one after the other into a session, visible with the last one."""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

import google_crc32c
import requests

from runner.errors import StoreUnavailable
from runner.model import Location
from runner.stores.base import Checksum, ObjectInfo
from runner.stores.gcs.resources import info_of
from runner.stores.gcs.transport import TIMEOUT, GoogleSession
from runner.stores.gcs.trouble import damaged, refused
from runner.stores.remote.client import Data, Lasting

#: How a session says that it is waiting for more.
_MORE = 308
_DONE = frozenset({200, 201})
#: What the deletion of a session answers: done, and not there (any more).
_GONE = frozenset({204, 404, 410, 499})
_KEPT = re.compile(r"bytes=0-(\d+)")
#: ``google_crc32c`` takes bytes alone and keeps the interpreter's lock.
_PIECE = 256 << 10


@dataclass(eq=False)
class _Upload:
    """What is known of one session."""

    #: The CRC-32C of everything up to the end of each part; of nothing before the first.
    sums: list[int] = field(default_factory=lambda: [0])
    #: The finished object.
    info: ObjectInfo | None = None


class Sessions:
    """The uploads of one client. An upload's id is the address of its session.

    That address is a secret: whoever has it may write. A part that is sent again costs nothing but
    its bytes: Google ignores what it has.
    """

    def __init__(self, http: GoogleSession) -> None:
        self._http = http
        self._uploads: dict[str, _Upload] = {}
        self._lock = threading.Lock()

    def began(self, upload: str) -> None:
        """Follow a new session."""
        with self._lock:
            self._uploads[upload] = _Upload()

    def put_part(
        self, location: Location, upload: str, number: int, body: Data, *, start: int, last: bool
    ) -> None:
        """Send a part; the object exists when the last one was taken.

        Raises the SDK's and requests' errors, and StoreUnavailable.
        """
        state = self._of(location, upload)
        left = memoryview(body).cast("B")
        state.sums[number:] = [_extended(state.sums[number - 1], left)]
        end = start + len(left)
        while True:
            answer = self._put(upload, left, end - len(left), end if last else None, state)
            if answer.status_code in _DONE:
                state.info = self._finished(location, answer, state)
                return
            kept = _kept(location, answer)
            if kept == end and not last:
                return
            if not end - len(left) < kept < end:
                raise StoreUnavailable(f"{location}: Google has {kept} bytes of {end} sent")
            left = left[kept - end :]

    def complete(self, location: Location, upload: str, size: int) -> ObjectInfo:
        """Return the object, which the last part has made already if nothing was lost."""
        state = self._of(location, upload)
        if state.info is None:
            answer = self._put(upload, memoryview(b""), size, size, state)
            if answer.status_code not in _DONE:
                raise StoreUnavailable(
                    f"{location}: {_kept(location, answer)} of {size} bytes came"
                )
            state.info = self._finished(location, answer, state)
        self._forget(upload)
        return state.info

    def abort(self, upload: str) -> None:
        """End a session."""
        self._forget(upload)
        answer = self._http.delete(upload, timeout=TIMEOUT, allow_redirects=False)
        if answer.status_code not in _GONE:
            raise refused(answer)

    def _of(self, location: Location, upload: str) -> _Upload:
        with self._lock:
            state = self._uploads.get(upload)
        if state is None:
            raise Lasting(f"the upload of {location} is over")
        return state

    def _forget(self, upload: str) -> None:
        with self._lock:
            self._uploads.pop(upload, None)

    def _put(
        self, upload: str, body: memoryview, start: int, total: int | None, state: _Upload
    ) -> requests.Response:
        headers = {"Content-Range": _content_range(start, len(body), total)}
        if total is not None:
            digest = state.sums[-1].to_bytes(4, "big")
            headers["X-Goog-Hash"] = f"crc32c={base64.b64encode(digest).decode()}"
        answer = self._http.put(
            upload, data=body, headers=headers, timeout=TIMEOUT, allow_redirects=False
        )
        if answer.status_code not in _DONE | {_MORE}:
            raise refused(answer)
        return answer

    @staticmethod
    def _finished(location: Location, answer: requests.Response, state: _Upload) -> ObjectInfo:
        resource: Mapping[str, str] = answer.json()
        info = info_of(resource["size"], resource["generation"], resource.get("crc32c"))
        if info.checksum not in {None, Checksum("crc32c", f"{state.sums[-1]:08x}")}:
            raise damaged(location)
        return info


def _content_range(start: int, length: int, total: int | None) -> str:
    whole = "*" if total is None else str(total)
    return f"bytes {start}-{start + length - 1}/{whole}" if length else f"bytes */{whole}"


def _kept(location: Location, answer: requests.Response) -> int:
    """Return how many bytes the session has."""
    found = _KEPT.fullmatch(answer.headers.get("range", ""))
    if found is None and "range" in answer.headers:
        raise StoreUnavailable(f"{location}: Google says {answer.headers['range']!r} of the upload")
    return int(found[1]) + 1 if found else 0


def _extended(value: int, data: memoryview) -> int:
    for start in range(0, len(data), _PIECE):
        value = google_crc32c.extend(value, bytes(data[start : start + _PIECE]))
    return value
