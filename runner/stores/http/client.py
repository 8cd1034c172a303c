"""Ranged GETs to web servers that a message names, as the engine of remote stores wants them.

Both HEAD and the conditions of RFC 9110 are left aside: signed addresses are good for GET alone,
and the version in each answer proves more than a server's promise to have compared it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import NoReturn

import urllib3
from urllib3.exceptions import HTTPError

from runner.errors import StoreUnavailable
from runner.model import Bytes, Location
from runner.stores.base import AccessDenied, Checksum, Conflict, ObjectInfo
from runner.stores.http.answers import info_in, refusal
from runner.stores.http.hops import Hops, unavailable
from runner.stores.remote import wires
from runner.stores.remote.client import Body, Client, Data
from runner.stores.remote.headers import part_in

READ_ONLY = "is at a web server, which is for reading alone: write to an object store"
_WHOLE, _PART, _NO_SUCH_RANGE = 200, 206, 416
#: An object without a length is read once to learn it, up to here.
_LONGEST_UNTOLD = 16 << 30
_PIECE = 1 << 20


class HttpClient(Client):
    """All web servers; ``private_hosts`` are the operator's patterns of those that may be near."""

    def __init__(self, private_hosts: Sequence[str]) -> None:
        self._hops = Hops(private_hosts)

    def head(self, location: Location) -> ObjectInfo:
        """Describe an object; one whose length the server does not tell is read to its end."""
        with closing(self.get(location, start=0, length=1, version=None)) as body:
            return body.info if body.info.size >= 0 else _measured(location, body)

    def get(
        self, location: Location, *, start: int, length: int | None, version: str | None
    ) -> Body:
        """Open a range, or all behind ``start`` where the server knows no ranges."""
        if start and version == "":
            # Nothing would tell if the rest were of another object.
            raise Conflict(f"{location} cannot be read on: the server gives it no ETag")
        body = self._ranged(location, start, length)
        with ExitStack() as opening:
            opening.callback(body.close)
            if version not in {None, body.info.version}:
                raise Conflict(f"{location} was replaced")
            body.skip_to(start)
            opening.pop_all()
        return body

    def _ranged(self, location: Location, start: int, length: int | None) -> _Body:
        """Ask for a range, and for everything where the range alone would be of no use."""
        if not start and length is None:
            return self._asked(location, None)
        last = "" if length is None else str(start + length - 1)
        body = self._asked(location, f"bytes={start}-{last}")
        if body.is_useful:
            return body
        body.close()
        return self._asked(location, None)

    def _asked(self, location: Location, wanted: str | None) -> _Body:
        answer, named = self._hops.get(location, {"Range": wanted} if wanted else {})
        known = {_WHOLE, _PART, _NO_SUCH_RANGE} if wanted else {_WHOLE}
        if answer.status not in known:
            answer.close()
            raise refusal(named, answer.status, answer.headers)
        body = _Body(named, answer)
        if answer.status == _WHOLE and body.ends_with_connection:
            body.close()
            raise AccessDenied(
                f"{named}: its server tells no length, so that nobody can know whether all of it "
                "arrives"
            )
        return body

    def put(
        self, location: Location, body: Data, *, only_if: str | None = None, absent: bool = False
    ) -> ObjectInfo:
        """Refuse."""
        del body, only_if, absent
        _read_only(location)

    def delete(self, location: Location) -> None:
        """Refuse."""
        _read_only(location)

    def begin(self, location: Location, *, only_if: str | None = None, absent: bool = False) -> str:
        """Refuse."""
        del only_if, absent
        _read_only(location)

    def put_part(
        self, location: Location, upload: str, number: int, body: Data, *, start: int, last: bool
    ) -> str:
        """Refuse."""
        del upload, number, body, start, last
        _read_only(location)

    def complete(
        self,
        location: Location,
        upload: str,
        tags: Sequence[str],
        *,
        size: int,
        only_if: str | None = None,
        absent: bool = False,
    ) -> ObjectInfo:
        """Refuse."""
        del upload, tags, size, only_if, absent
        _read_only(location)

    def abort(self, location: Location, upload: str) -> bool:
        """Refuse."""
        del upload
        _read_only(location)

    def close(self) -> None:
        """Close the connections."""
        self._hops.close()


class _Body:
    """The bytes of one answer."""

    def __init__(self, named: str, answer: urllib3.BaseHTTPResponse) -> None:
        self._named = named
        self._answer = wires.Answer(answer)
        self._part = part_in(answer.headers)
        self._is_part = answer.status != _WHOLE
        self.info = info_in(answer.headers)
        self.end = self._part.end if self._part else max(self.info.size, 0)
        self.ends_with_connection = self.info.size < 0 and not answer.chunked

    @property
    def is_useful(self) -> bool:
        """It is everything, or a range that further ranges will certainly fit to."""
        if not self._is_part:
            return True
        part = self._part
        return part is not None and part.start < part.end <= part.size and self.info.version != ""

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill what is there, 0 only at the end."""
        try:
            return self._answer.readinto(buffer)
        except HTTPError as error:
            raise unavailable(self._named, error) from error

    def skip_to(self, start: int) -> None:
        """Read and drop what a server sends that knows no ranges."""
        left = start - (self._part.start if self._part else 0)
        if left < 0:
            raise StoreUnavailable(f"{self._named}: the server sent another range than asked for")
        buffer = memoryview(bytearray(min(left, _PIECE)))
        while left:
            count = self.readinto(buffer[:left])
            if not count:
                raise Conflict(f"{self._named} was replaced by a shorter one")
            left -= count

    def close(self) -> None:
        """Give the connection back, or end it where bytes are left."""
        self._answer.close()


def _measured(location: Location, body: Body) -> ObjectInfo:
    size, digest, buffer = 0, hashlib.sha256(), memoryview(bytearray(_PIECE))
    while count := body.readinto(buffer):
        size += count
        digest.update(buffer[:count])
        if size > _LONGEST_UNTOLD:
            raise AccessDenied(f"{location} has no end: its server tells no length")
    return replace(body.info, size=Bytes(size), checksum=Checksum("sha256", digest.hexdigest()))


def _read_only(location: Location) -> NoReturn:
    raise AccessDenied(f"{location} {READ_ONLY}")
