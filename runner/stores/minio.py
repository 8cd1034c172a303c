"""Objects of any S3 host that is not Amazon's (MinIO, SeaweedFS, Ceph), through the minio SDK."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from minio import Minio
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError

from runner.errors import RunnerError, StoreUnavailable
from runner.model import Credentials, Location, Span
from runner.stores.base import AccessDenied, Account, Conflict, NotFound, ObjectInfo, StoreOptions
from runner.stores.minio_signing import copy_headers, signed
from runner.stores.remote import wires
from runner.stores.remote.client import Body, Client, Data, Page
from runner.stores.remote.nothing import Nothing
from runner.stores.remote.patching import PatchingStore
from runner.stores.remote.s3_answers import (
    described,
    error_of,
    page_of,
    text_of,
    uploads_of,
)
from runner.wires import close

_OK = frozenset({200, 204, 206})
_PARTIAL = 206
#: No object has it, and an address is made for some object only.
_WHOLE_BUCKET, _SOME_KEY = "", "key"
#: What hosts without regions expect.
_REGION = "us-east-1"


class MinioStore(PatchingStore):
    """The objects of one account."""

    def make_client(self, account: Account, options: StoreOptions) -> Client:
        """Make the client with the message's keys; without any it is anonymous."""
        return MinioClient(account, options, account.credentials or Credentials())

    def make_public_client(self, account: Account, options: StoreOptions) -> Client | None:
        """Make a client without keys, unless the first one has none."""
        if account.credentials is None or not account.credentials.access_key:
            return None
        return MinioClient(account, options, Credentials())


class MinioClient(Client):
    """Requests whose addresses and signatures the SDK makes, sent by our own pool.

    The SDK's own calls would not do: those for parts and for conditions are private to it.
    """

    def __init__(self, account: Account, options: StoreOptions, keys: Credentials) -> None:
        url = urlsplit(account.endpoint)
        if url.path not in {"", "/"}:
            raise AccessDenied(f"{account.endpoint} is no S3 endpoint: it has a path")
        is_secure = url.scheme == "https"
        context = wires.tls(options.s3_ca, options.s3_cert, options.s3_key) if is_secure else None
        self._keys = keys
        self._region = account.region or keys.region or _REGION
        try:
            self._pool = wires.pool(account.endpoint, ssl_context=context)
            self._addresses = Minio(
                url.netloc, secure=is_secure, region=self._region, http_client=self._pool
            )
        except ValueError as error:
            raise AccessDenied(f"{account.endpoint} is no S3 endpoint: {error}") from error

    def head(self, location: Location) -> ObjectInfo:
        """Describe an object."""
        try:
            answer = self._send("HEAD", location)
        except (NotFound, AccessDenied):
            # HEAD brings no reason: the bucket may be missing, or a token have expired.
            self._send("GET", location, headers={"Range": "bytes=0-0"})
            raise
        return _info(answer, int(answer.headers.get("content-length", 0)))

    def get(
        self, location: Location, *, start: int, length: int | None, version: str | None
    ) -> Body:
        """Open a range."""
        headers = {}
        if start or length is not None:
            end = "" if length is None else start + length - 1
            headers["Range"] = f"bytes={start}-{end}"
        if version is not None:
            headers["If-Match"] = f'"{version}"'
        answer = self._open("GET", location, headers=headers)
        if answer.status == 416 and version is None and not start:  # noqa: PLR2004 - no such range
            _finished(answer, location)
            return Nothing(self.head(location))
        if answer.status not in _OK:
            raise _error(location, answer)
        return _Answer(location, answer, start)

    def put(
        self, location: Location, body: Data, *, only_if: str | None = None, absent: bool = False
    ) -> ObjectInfo:
        """Store a whole object."""
        headers = _digest(body) | _condition(only_if, absent=absent)
        answer = self._open("PUT", location, body=body, headers=headers)
        _finished(answer, location)
        if only_if is not None and text_of(answer.data, "Code") == "NoSuchKey":
            raise Conflict(f"{location} does not exist any more")
        return _info(_checked(answer, location), len(body))

    def delete(self, location: Location) -> None:
        """Remove an object."""
        answer = self._open("DELETE", location)
        _finished(answer, location)
        if text_of(answer.data, "Code") != "NoSuchKey":
            _checked(answer, location)

    def begin(self, location: Location, *, only_if: str | None = None, absent: bool = False) -> str:
        """Begin an upload in parts."""
        del only_if, absent  # ``complete`` has the condition
        answer = self._send("POST", location, query={"uploads": ""})
        upload = text_of(answer.data, "UploadId")
        if not upload:
            raise StoreUnavailable(f"{location}: the answer names no upload")
        return upload

    def put_part(
        self, location: Location, upload: str, number: int, body: Data, *, start: int, last: bool
    ) -> str:
        """Store a part."""
        del start, last  # its number says where it belongs
        query = {"uploadId": upload, "partNumber": str(number)}
        answer = self._send("PUT", location, query=query, body=body, headers=_digest(body))
        return answer.headers.get("etag", "").strip('"')

    def copy_part(
        self, location: Location, upload: str, number: int, span: Span, *, version: str
    ) -> str:
        """Store a part of what is stored."""
        query = {"uploadId": upload, "partNumber": str(number)}
        headers = copy_headers(location, span, version)
        answer = self._open("PUT", location, query=query, headers=headers)
        _finished(answer, location)
        tag = text_of(_checked(answer, location).data, "ETag").strip('"')
        if not tag:  # it failed after the status was sent
            raise _error(location, answer)
        return tag

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
        """Make the object of its parts."""
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>&quot;{tag}&quot;</ETag></Part>"
            for number, tag in enumerate(tags, 1)
        )
        answer = self._send(
            "POST",
            location,
            query={"uploadId": upload},
            body=f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode(),
            headers={"Content-Type": "application/xml"} | _condition(only_if, absent=absent),
        )
        if text_of(answer.data, "Code"):  # it failed after the status was sent
            raise _error(location, answer)
        etag = text_of(answer.data, "ETag")
        return described(etag, size, answer.headers) if etag else self.head(location)

    def abort(self, location: Location, upload: str) -> bool:
        """Forget an upload, and look whether a part came after that."""
        try:
            self._send("DELETE", location, query={"uploadId": upload})
            self._send("GET", location, query={"uploadId": upload})
        except NotFound:
            return True
        return False

    def unfinished(self, location: Location) -> Sequence[str]:
        """List what was begun; the keys of other objects may begin as this one's does."""
        query = {"uploads": "", "prefix": location.key}
        answer = self._send("GET", replace(location, key=_WHOLE_BUCKET), query=query)
        return uploads_of(answer.data, location.key)

    def first_part(self, location: Location, version: str) -> int | None:
        """Ask for the description of part 1."""
        headers = {"If-Match": f'"{version}"'}
        answer = self._send("HEAD", location, query={"partNumber": "1"}, headers=headers)
        return int(answer.headers["content-length"]) if answer.status == _PARTIAL else None

    def page(self, folder: Location, after: str) -> Page:
        """List what is not in folders below it."""
        query = {"list-type": "2", "prefix": f"{folder.key}/", "delimiter": "/"}
        query["max-keys"] = str(self.page_size)
        if after:
            query["continuation-token"] = after
        answer = self._send("GET", replace(folder, key=_WHOLE_BUCKET), query=query)
        return page_of(answer.data, folder, answer.headers.get("date", ""))

    def close(self) -> None:
        """Close the connections."""
        close(self._pool)

    def _send(
        self,
        method: str,
        location: Location,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Data | None = None,
    ) -> BaseHTTPResponse:
        """Return an answer that is no error, with its body read."""
        answer = self._open(method, location, query=query, headers=headers, body=body)
        _finished(answer, location)
        return _checked(answer, location)

    def _open(
        self,
        method: str,
        location: Location,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Data | None = None,
    ) -> BaseHTTPResponse:
        """Return any answer, its body not yet read."""
        url = self._address(method, location, query or {})
        try:
            return self._pool.urlopen(
                method,
                url,
                body=body,
                headers=signed(method, url, headers or {}, self._keys, self._region),
                preload_content=False,
                redirect=False,
            )
        except HTTPError as error:
            raise wires.unavailable(str(location), error) from error

    def _address(self, method: str, location: Location, query: Mapping[str, str]) -> str:
        """Return what to ask. Its maker has no keys: what it signs would be the address."""
        is_object = location.key != _WHOLE_BUCKET
        key = location.key if is_object else _SOME_KEY
        try:
            url = self._addresses.get_presigned_url(
                method, location.bucket, key, extra_query_params=dict(query)
            )
            return url if is_object else _of_bucket(url)
        except ValueError as error:  # a name that no bucket or object can have
            raise NotFound(f"{location} cannot exist: {error}") from error


def _of_bucket(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(path=parts.path.removesuffix(_SOME_KEY)).geturl()


def _finished(answer: BaseHTTPResponse, location: Location) -> None:
    """Read the body, for ``data``; the connection goes back."""
    try:
        answer.read(cache_content=True)
    except HTTPError as error:
        raise wires.unavailable(str(location), error) from error


def _checked(answer: BaseHTTPResponse, location: Location) -> BaseHTTPResponse:
    if answer.status not in _OK:
        raise _error(location, answer)
    return answer


def _error(location: Location, answer: BaseHTTPResponse) -> RunnerError:
    _finished(answer, location)
    said = answer.data or b""
    return error_of(
        location,
        answer.status,
        text_of(said, "Code"),
        text_of(said, "Message"),
        answer.headers.get("retry-after"),
    )


def _condition(only_if: str | None, *, absent: bool) -> dict[str, str]:
    if absent:
        return {"If-None-Match": "*"}
    return {} if only_if is None else {"If-Match": f'"{only_if}"'}


def _digest(body: Data) -> dict[str, str]:
    digest = hashlib.md5(body, usedforsecurity=False).digest()
    return {"Content-MD5": base64.b64encode(digest).decode()}


def _info(answer: BaseHTTPResponse, size: int) -> ObjectInfo:
    return described(answer.headers.get("etag", ""), size, answer.headers)


class _Answer:
    """The body of an object."""

    def __init__(self, location: Location, answer: BaseHTTPResponse, start: int) -> None:
        self._location = location
        self._answer = wires.Answer(answer)
        length = int(answer.headers.get("content-length", 0))
        total = answer.headers.get("content-range", "").rpartition("/")[2]
        #: All of the object, and where in it the body ends.
        self.info = _info(answer, int(total) if total.isdecimal() else start + length)
        self.end = start + length

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill what is there."""
        try:
            return self._answer.readinto(buffer)
        except HTTPError as error:
            raise wires.unavailable(str(self._location), error) from error

    def close(self) -> None:
        """Give the connection back."""
        self._answer.close()
