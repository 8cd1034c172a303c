"""The blocking calls of google-cloud-storage, as the engine of remote stores wants them."""

from __future__ import annotations

import contextlib
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

import requests
from google.cloud import storage

from runner.errors import StoreUnavailable
from runner.model import Location
from runner.stores.base import AccessDenied, Conflict, NotFound, ObjectInfo
from runner.stores.gcs.identity import NOBODY, Identity
from runner.stores.gcs.resources import info_in, info_of, page_in
from runner.stores.gcs.sessions import Sessions
from runner.stores.gcs.transport import TIMEOUT, GoogleSession
from runner.stores.gcs.trouble import no_bucket, refused, translated
from runner.stores.remote import wires
from runner.stores.remote.client import Body, Client, Data, Lasting, Page
from runner.stores.remote.headers import part_in
from runner.stores.remote.nothing import Nothing

_GOOGLE = "https://storage.googleapis.com"
_THIS_MACHINE = frozenset({"127.0.0.1", "::1", "localhost"})
_TYPE = "application/octet-stream"
#: Else Google unpacks what was stored as gzip, and neither length nor digest is that of the object.
_AS_STORED = {"Accept-Encoding": "gzip"}
_WITH_BODY = frozenset({200, 206})
_NO_SUCH_RANGE = 416
_CALL: Mapping[str, Any] = {"timeout": TIMEOUT, "retry": None}


class GcsClient(Client):
    """Google Cloud Storage asked as one identity.

    ``endpoint`` is the operator's or a test's, never the message's. The SDK itself honours
    STORAGE_EMULATOR_HOST; tokens go to Google and to this machine, and to nobody else.
    """

    part_unit = 256 << 10
    #: A session takes any number; this keeps the engine from growing its parts too early.
    most_parts = 100_000
    parts_in_any_order = False
    last_part_publishes = True

    def __init__(self, identity: Identity, endpoint: str = "") -> None:
        address = endpoint or _default_endpoint()
        self._identity = identity if _may_see_tokens(address) else NOBODY
        self._session = GoogleSession(self._identity, address)
        self._google = storage.Client(
            project=None,  # look for none
            credentials=self._identity.credentials,
            _http=self._session,
            client_options={"api_endpoint": address},
        )
        # Its threads would ask for every bucket behind our back, with deadlines of their own.
        self._google._bucket_metadata_cache = None  # noqa: SLF001 - else only a global variable
        self._sessions = Sessions(self._session)
        self._hosts = {"", *(urllib.parse.urlsplit(url).netloc for url in (_GOOGLE, address))}

    def head(self, location: Location) -> ObjectInfo:
        """Describe an object."""
        blob = self._blob(location)
        with translated(location, self._identity):
            blob.reload(**_CALL)
        return _info(blob)

    def get(
        self, location: Location, *, start: int, length: int | None, version: str | None
    ) -> Body:
        """Open a range; the condition on the generation holds it to one version."""
        url = self._url(location, version)
        headers = dict(_AS_STORED)
        if start or length is not None:
            last = "" if length is None else str(start + length - 1)
            headers["Range"] = f"bytes={start}-{last}"
        with translated(location, self._identity):
            answer = self._session.get(
                url, headers=headers, stream=True, timeout=TIMEOUT, allow_redirects=False
            )
            if answer.status_code == _NO_SUCH_RANGE:
                answer.close()
                return Nothing(self._empty(location, start, version))
            if answer.status_code not in _WITH_BODY:
                with answer:
                    raise refused(answer)
        return self._body(location, answer, start, version)

    def put(
        self, location: Location, body: Data, *, only_if: str | None = None, absent: bool = False
    ) -> ObjectInfo:
        """Store a whole object; Google compares its CRC-32C before it is visible."""
        blob = self._blob(location)
        condition = _condition(location, only_if, absent=absent)
        try:
            with translated(location, self._identity):
                blob.upload_from_string(
                    bytes(body),
                    content_type=_TYPE,
                    if_generation_match=condition,
                    checksum="crc32c",
                    **_CALL,
                )
        except Conflict as conflict:
            raise (Conflict(f"{location} exists already") if absent else conflict) from conflict
        except NotFound as error:
            raise no_bucket(location) from error
        return _info(blob)

    def delete(self, location: Location) -> None:
        """Remove an object; one that is not there is no error."""
        with contextlib.suppress(NotFound), translated(location, self._identity):
            self._blob(location).delete(**_CALL)

    def begin(self, location: Location, *, only_if: str | None = None, absent: bool = False) -> str:
        """Begin a resumable upload; its id is a secret. Google minds the condition at its end."""
        blob = self._blob(location)
        condition = _condition(location, only_if, absent=absent)
        try:
            with translated(location, self._identity):
                upload: str = blob.create_resumable_upload_session(
                    content_type=_TYPE, checksum=None, if_generation_match=condition, **_CALL
                )
        except NotFound as error:
            raise no_bucket(location) from error
        self._sessions.began(upload)
        return upload

    def put_part(
        self, location: Location, upload: str, number: int, body: Data, *, start: int, last: bool
    ) -> str:
        """Send a part; tags mean nothing here, parts come in their order."""
        try:
            with translated(location, self._identity):
                self._sessions.put_part(location, upload, number, body, start=start, last=last)
        except NotFound as error:
            raise Lasting(f"Google has forgotten the upload of {location}") from error
        return str(number)

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
        """Return the object that the last part has made."""
        del tags, only_if, absent  # the session has the condition from its beginning
        with translated(location, self._identity):
            return self._sessions.complete(location, upload, size)

    def abort(self, location: Location, upload: str) -> bool:
        """End the session: nothing of it can be seen or is paid for."""
        with translated(location, self._identity):
            self._sessions.abort(upload)
        return True

    def page(self, folder: Location, after: str) -> Page:
        """List what is not in folders below it."""
        path = self._blob(folder).path.partition("/o/")[0]  # checks the host, too
        asked = {
            "prefix": f"{folder.key}/",
            "delimiter": "/",
            "maxResults": str(self.page_size),
            "fields": "nextPageToken,items(name,size,updated)",
            **({"pageToken": after} if after else {}),
        }
        url = f"{self._google.api_endpoint}/storage/v1{path}/o"
        with (
            translated(folder, self._identity),
            self._session.get(url, params=asked, timeout=TIMEOUT, allow_redirects=False) as answer,
        ):
            if answer.status_code not in _WITH_BODY:
                raise refused(answer)
            return page_in(answer.json(), folder, answer.headers.get("Date", ""))

    def close(self) -> None:
        """Close the connections."""
        self._google.close()

    def _blob(self, location: Location) -> storage.Blob:
        if location.host not in self._hosts:
            raise AccessDenied(
                f"{location} is not at Google: write gs://bucket/key, or s3:// for another store"
            )
        return self._google.bucket(location.bucket).blob(location.key)

    def _url(self, location: Location, version: str | None) -> str:
        """Return the address of an object's bytes."""
        path = self._blob(location).path  # checks the host, too
        condition = (
            "" if version is None else f"&ifGenerationMatch={_generation(location, version)}"
        )
        return f"{self._google.api_endpoint}/download/storage/v1{path}?alt=media{condition}"

    def _empty(self, location: Location, start: int, version: str | None) -> ObjectInfo:
        """Tell why there is no such range: the object has no bytes, or is another one by now."""
        info = self.head(location)
        if start or info.size or version not in {None, info.version}:
            raise Conflict(f"{location} was replaced")
        return info

    def _body(
        self, location: Location, answer: requests.Response, start: int, version: str | None
    ) -> Body:
        info = info_in(answer.headers)
        part = part_in(answer.headers)
        if info.version and version not in {None, info.version}:
            answer.close()
            raise Conflict(f"{location} was replaced")
        if not info.version or info.size < 0 or start != (part.start if part else 0):
            answer.close()
            raise StoreUnavailable(f"{location}: the answer is not Google's: is there a proxy?")
        return _Body(location, self._identity, answer, info, part.end if part else info.size)


class _Body:
    """The bytes of one answer."""

    def __init__(
        self,
        location: Location,
        identity: Identity,
        answer: requests.Response,
        info: ObjectInfo,
        end: int,
    ) -> None:
        self._location = location
        self._identity = identity
        self._answer = wires.Answer(answer.raw)
        self.info = info
        self.end = end

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill what is there, 0 only at the end."""
        with translated(self._location, self._identity):
            return self._answer.readinto(buffer)

    def close(self) -> None:
        """Give the connection back, or end it where bytes are left."""
        self._answer.close()


def _info(blob: storage.Blob) -> ObjectInfo:
    return info_of(blob.size, blob.generation, blob.crc32c)


def _condition(location: Location, only_if: str | None, *, absent: bool) -> int | None:
    if absent:
        return 0
    return None if only_if is None else _generation(location, only_if)


def _generation(location: Location, version: str) -> int:
    """Read a version; one that another store gave is no version of this object."""
    if not version.isdecimal():
        raise Conflict(f"{location} was changed by somebody else")
    return int(version)


def _default_endpoint() -> str:
    """Return Google's address, or that of the emulator which the environment names."""
    with contextlib.closing(storage.Client.create_anonymous_client()) as client:
        return str(client.api_endpoint)


def _may_see_tokens(endpoint: str) -> bool:
    url = urllib.parse.urlsplit(endpoint)
    host = url.hostname or ""
    is_google = url.scheme == "https" and f".{host}".endswith(".googleapis.com")
    return is_google or host in _THIS_MACHINE
