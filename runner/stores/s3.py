"""Objects at Amazon's, through boto3's low-level client."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    MetadataRetrievalError,
    ParamValidationError,
    SSOError,
    TokenRetrievalError,
    UnseekableStreamError,
)
from botocore.parsers import ResponseParserError
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError

from runner.errors import RunnerError, StoreUnavailable
from runner.model import Bytes, Credentials, Location, Span
from runner.stores.amazon import Transport, make_client
from runner.stores.base import (
    AccessDenied,
    Account,
    Conflict,
    Entry,
    NotFound,
    ObjectInfo,
    StoreOptions,
)
from runner.stores.remote import wires
from runner.stores.remote.client import Body, Client, Data, Lasting, Page
from runner.stores.remote.headers import date_in, from_base64
from runner.stores.remote.nothing import Nothing
from runner.stores.remote.patching import PatchingStore
from runner.stores.remote.s3_answers import described, error_of
from runner.wires import close

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client as Sdk

_BAD_RANGE = 416
_PARTIAL = 206
#: Digests of the whole object, where its ETag is none.
_CHECKSUMS = ("sha256", "crc32c")
#: What keeps the SDK from having the runner's own keys; a token's file has errors of its own.
_NO_KEYS = (
    CredentialRetrievalError,
    MetadataRetrievalError,
    OSError,
    SSOError,
    TokenRetrievalError,
)
#: Words of a RuntimeError, by which alone the SDK says it.
_LATE = "still expired"


class S3Store(PatchingStore):
    """The objects of one account."""

    def make_client(self, account: Account, options: StoreOptions) -> Client:
        """Make the client with the message's keys, or the runner's own where that is allowed."""
        return S3Client(account, options, own=options.allow_own_credentials)

    def make_public_client(self, account: Account, options: StoreOptions) -> Client | None:
        """Make a client without keys, unless the first one has none."""
        keys = account.credentials
        if keys == Credentials() or (keys is None and not options.allow_own_credentials):
            return None
        return S3Client(replace(account, credentials=Credentials()), options, own=False)


class S3Client(Client):
    """Each method is one request, signed by boto3 and sent by our own pool.

    A bucket of another region is followed there by the SDK, once; it remembers the way.
    """

    def __init__(self, account: Account, options: StoreOptions, *, own: bool) -> None:
        try:
            with _having_keys(f"S3 in {account.region}"):
                self._sdk: Sdk = make_client(account, own=own)
        except (BotoCoreError, ClientError) as error:
            raise AccessDenied(f"no access to S3 in {account.region}: {error}") from error
        endpoint = self._sdk.meta.endpoint_url
        context = None
        if endpoint.startswith("https:"):
            context = wires.tls(options.s3_ca, options.s3_cert, options.s3_key)
        self._pool = wires.pool(endpoint, ssl_context=context)
        self._transport = Transport(self._sdk, self._pool)

    def head(self, location: Location) -> ObjectInfo:
        """Describe an object."""
        try:
            answer = self._call("head_object", location, ChecksumMode="ENABLED")
        except (NotFound, AccessDenied):
            # HEAD brings no reason: the bucket may be missing, or a token have expired.
            self._call("get_object", location, Range="bytes=0-0")["Body"].read()
            raise
        return _info(answer, answer["ContentLength"])

    def get(
        self, location: Location, *, start: int, length: int | None, version: str | None
    ) -> Body:
        """Open a range."""
        asked = {}
        if start or length is not None:
            end = "" if length is None else start + length - 1
            asked["Range"] = f"bytes={start}-{end}"
        if version is not None:
            asked["IfMatch"] = f'"{version}"'
        try:
            answer = self._call("get_object", location, **asked)
        except _BadRange:
            if version is not None or start:
                raise
            return Nothing(self.head(location))
        body = _Answer(location, answer, self._transport.answer, start)
        if version is None and body.info.checksum is None:
            # The ETag of an encrypted object is no digest; another one may come with HEAD.
            described_ = self.head(location)
            if described_.version == body.info.version:
                body.info = described_
        return body

    def put(
        self, location: Location, body: Data, *, only_if: str | None = None, absent: bool = False
    ) -> ObjectInfo:
        """Store a whole object."""
        asked = _condition(only_if, absent=absent)
        try:
            answer = self._call(
                "put_object", location, Body=body, ContentMD5=_digest(body), **asked
            )
        except _NoSuchKey as error:
            raise Conflict(f"{location} does not exist any more") from error
        return _info(answer, len(body))

    def delete(self, location: Location) -> None:
        """Remove an object."""
        with suppress(_NoSuchKey):
            self._call("delete_object", location)

    def begin(self, location: Location, *, only_if: str | None = None, absent: bool = False) -> str:
        """Begin an upload in parts."""
        del only_if, absent  # ``complete`` has the condition
        return str(self._call("create_multipart_upload", location)["UploadId"])

    def put_part(
        self, location: Location, upload: str, number: int, body: Data, *, start: int, last: bool
    ) -> str:
        """Store a part."""
        del start, last  # its number says where it belongs
        answer = self._call(
            "upload_part",
            location,
            UploadId=upload,
            PartNumber=number,
            Body=body,
            ContentMD5=_digest(body),
        )
        return str(answer["ETag"]).strip('"')

    def copy_part(
        self, location: Location, upload: str, number: int, span: Span, *, version: str
    ) -> str:
        """Have a part copied."""
        answer = self._call(
            "upload_part_copy",
            location,
            UploadId=upload,
            PartNumber=number,
            CopySource={"Bucket": location.bucket, "Key": location.key},
            CopySourceRange=f"bytes={span.start}-{span.end - 1}",
            CopySourceIfMatch=f'"{version}"',
        )
        return str(answer["CopyPartResult"]["ETag"]).strip('"')

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
        parts = [{"PartNumber": number, "ETag": f'"{tag}"'} for number, tag in enumerate(tags, 1)]
        answer = self._call(
            "complete_multipart_upload",
            location,
            UploadId=upload,
            MultipartUpload={"Parts": parts},
            **_condition(only_if, absent=absent),
        )
        return _info(answer, size)

    def abort(self, location: Location, upload: str) -> bool:
        """Forget an upload, and look whether a part came after that."""
        try:
            self._call("abort_multipart_upload", location, UploadId=upload)
            self._call("list_parts", location, UploadId=upload, MaxParts=1)
        except NotFound:
            return True
        return False

    def unfinished(self, location: Location) -> Sequence[str]:
        """List what was begun; the keys of other objects may begin as this one's does."""
        with _translated(location):
            answer = self._sdk.list_multipart_uploads(Bucket=location.bucket, Prefix=location.key)
        found = answer.get("Uploads", [])
        return [str(one["UploadId"]) for one in found if one["Key"] == location.key]

    def first_part(self, location: Location, version: str) -> int | None:
        """Ask for the description of part 1."""
        # Without a condition: moto compares it with the part's own tag.
        answer = self._call("head_object", location, PartNumber=1)
        is_part = answer["ResponseMetadata"]["HTTPStatusCode"] == _PARTIAL
        is_known = is_part and answer.get("ETag", "").strip('"') == version
        return int(answer["ContentLength"]) if is_known else None

    def page(self, folder: Location, after: str) -> Page:
        """List what is not in folders below it."""
        asked: dict[str, Any] = {"ContinuationToken": after} if after else {}
        with _translated(folder):
            answer = self._sdk.list_objects_v2(
                Bucket=folder.bucket,
                Prefix=f"{folder.key}/",
                Delimiter="/",
                MaxKeys=self.page_size,
                **asked,
            )
        entries = [
            Entry(
                replace(folder, key=one["Key"]), Bytes(one["Size"]), one["LastModified"].timestamp()
            )
            for one in answer.get("Contents", ())
        ]
        headers = answer["ResponseMetadata"]["HTTPHeaders"]
        more = answer.get("NextContinuationToken", "") if answer.get("IsTruncated") else ""
        return Page(entries, date_in(headers.get("date", "")), more)

    def close(self) -> None:
        """Close the connections."""
        self._sdk.close()
        close(self._pool)

    def _call(self, name: str, location: Location, **asked: Any) -> dict[str, Any]:
        """Call a method of the SDK for the object."""
        method = getattr(self._sdk, name)
        with _translated(location):
            try:
                answer = method(Bucket=location.bucket, Key=location.key, **asked)
            except UnseekableStreamError:
                # It went to another region and cannot rewind a buffer; by now it knows the way.
                answer = method(Bucket=location.bucket, Key=location.key, **asked)
        return dict(answer)


class _NoSuchKey(NotFound):
    """There is no such object, although there is its bucket."""


class _BadRange(Conflict):
    """The object has no such bytes."""


@contextmanager
def _translated(what: Location) -> Iterator[None]:
    """Say in our own errors what the SDK says; the one table of this backend."""
    try:
        with _having_keys(what):
            yield
    except ClientError as error:
        raise _said(what, error) from error
    except HTTPError as error:
        raise wires.unavailable(str(what), error) from error
    except (HTTPClientError, ResponseParserError) as error:  # not by our pool: for its own keys
        raise StoreUnavailable(f"{what}: {error}") from error
    except ParamValidationError as error:
        raise NotFound(f"{what} cannot exist: {error}") from error
    except UnseekableStreamError as error:  # sent on a second time
        raise AccessDenied(
            f"{what}: the region is wrong, and no right one is found: name it in config.storage"
        ) from error
    except BotoCoreError as error:
        raise AccessDenied(f"{what}: the AWS SDK cannot do this: {error}") from error


@contextmanager
def _having_keys(what: object) -> Iterator[None]:
    """Say that the runner's own keys cannot be had now: whoever has sent the message has not."""
    try:
        yield
    except _NO_KEYS as error:
        raise StoreUnavailable(f"{what}: the runner's own AWS keys: {error}") from error
    except RuntimeError as error:
        if _LATE not in str(error):
            raise
        raise Lasting(
            f"{what}: the runner's own AWS keys are over as they come: this machine's clock is "
            "wrong: set it"
        ) from error


def _said(what: Location, error: ClientError) -> RunnerError:
    told: Mapping[str, Any] = error.response.get("Error", {})
    answer: Mapping[str, Any] = error.response.get("ResponseMetadata", {})
    status = int(answer.get("HTTPStatusCode", 0))
    code = str(told.get("Code", ""))
    headers = answer.get("HTTPHeaders", {})
    message = str(told.get("Message", ""))
    if code.isdecimal():  # an answer to HEAD has no body, and the SDK repeats the status
        code, message = "", ""
    found = error_of(what, status, code, message, headers.get("retry-after"))
    if code == "NoSuchKey":
        return _NoSuchKey(str(found))
    return _BadRange(str(found)) if status == _BAD_RANGE else found


def _condition(only_if: str | None, *, absent: bool) -> dict[str, str]:
    if absent:
        return {"IfNoneMatch": "*"}
    return {} if only_if is None else {"IfMatch": f'"{only_if}"'}


def _digest(body: Data) -> str:
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()


def _info(answer: Mapping[str, Any], size: int) -> ObjectInfo:
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    info = described(answer.get("ETag", ""), size, headers)
    if info.checksum is None and headers.get("x-amz-checksum-type", "FULL_OBJECT") != "COMPOSITE":
        for algorithm in _CHECKSUMS:
            told = from_base64(algorithm, headers.get(f"x-amz-checksum-{algorithm}", ""))
            if told is not None:
                return replace(info, checksum=told)
    return info


class _Answer:
    """The body of an object."""

    def __init__(
        self, location: Location, answer: Mapping[str, Any], raw: BaseHTTPResponse, start: int
    ) -> None:
        self._location = location
        self._raw = wires.Answer(raw)
        length = int(answer["ContentLength"])
        total = str(answer.get("ContentRange", "")).rpartition("/")[2]
        #: All of the object, and where in it the body ends.
        self.info = _info(answer, int(total) if total.isdecimal() else start + length)
        self.end = start + length

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill what is there."""
        with _translated(self._location):
            return self._raw.readinto(buffer)

    def close(self) -> None:
        """Give the connection back."""
        self._raw.close()
