"""An S3 server as tests see it: fresh buckets, and signed requests that leave nothing open."""

from __future__ import annotations

import http.client
import re
import urllib.parse
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

from runner.model import Credentials, Location
from runner.redaction import Secret

#: The anonymous credentials: written by the sender, and empty.
ANONYMOUS = Credentials()


def keys(name: str) -> Credentials:
    """Return the keys of one of a server's identities."""
    return Credentials(f"{name}-access-key", Secret(f"{name}-secret-key"))


@dataclass(frozen=True)
class Answer:
    """What the server said to one request."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


@dataclass(frozen=True)
class S3Server:
    """A running server; ``admin`` may do everything."""

    port: int
    admin: Credentials = field(default_factory=lambda: keys("admin"))
    region: str = "us-east-1"

    @property
    def host(self) -> str:
        """Return what stands in an artifact's address."""
        return f"127.0.0.1:{self.port}"

    @property
    def endpoint(self) -> str:
        """Return what stands in ``config.storage.endpoint``."""
        return f"http://{self.host}"

    def location(self, bucket: str, key: str) -> Location:
        """Address an object."""
        return Location("s3", self.host, bucket, key)

    def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        by: Credentials | None = None,
        *,
        service: str = "s3",
    ) -> Answer:
        """Send one request, signed by the admin unless told otherwise; raise nothing."""
        signed = self._signed(method, path, body, self.admin if by is None else by, service)
        with closing(http.client.HTTPConnection(self.host, timeout=30)) as connection:
            connection.request(method, path, body, signed)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())

    def _signed(
        self, method: str, path: str, body: bytes, by: Credentials, service: str
    ) -> dict[str, str]:
        from botocore.auth import S3SigV4Auth  # noqa: PLC0415 - an SDK, late
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415 - likewise
        from botocore.credentials import Credentials as Keys  # noqa: PLC0415 - likewise

        request = AWSRequest(method, self.endpoint + path, data=body)
        if by.access_key:
            token = by.session_token.reveal() or None
            own = Keys(by.access_key, by.secret_key.reveal(), token)
            S3SigV4Auth(own, service, self.region).add_auth(request)
        return dict(request.headers.items())

    @contextmanager
    def bucket(self, prefix: str = "test") -> Iterator[str]:
        """Make a bucket that nobody else uses, and remove it with all that is in it."""
        name = f"{prefix}-{uuid.uuid4().hex[:12]}"
        answer = self.request("PUT", f"/{name}")
        assert answer.status == 200, answer
        try:
            yield name
        finally:
            self._remove(name)

    def _remove(self, bucket: str) -> None:
        for key, upload in self.uploads(bucket):
            self.request("DELETE", f"{_path(bucket, key)}?uploadId={upload}")
        for key in self.keys(bucket):
            self.request("DELETE", _path(bucket, key))
        self.request("DELETE", f"/{bucket}")

    def put(self, bucket: str, key: str, body: bytes) -> None:
        """Store an object."""
        answer = self.request("PUT", _path(bucket, key), body)
        assert answer.status == 200, answer

    def get(self, bucket: str, key: str) -> bytes:
        """Return an object."""
        answer = self.request("GET", _path(bucket, key))
        assert answer.status == 200, answer
        return answer.body

    def keys(self, bucket: str) -> list[str]:
        """Return the keys of the first thousand objects."""
        return _texts("Key", self.request("GET", f"/{bucket}?list-type=2").body)

    def uploads(self, bucket: str) -> list[tuple[str, str]]:
        """Return key and id of the uploads that were begun and neither completed nor aborted."""
        answer = self.request("GET", f"/{bucket}?uploads=")
        return list(zip(_texts("Key", answer.body), _texts("UploadId", answer.body), strict=True))


def _path(bucket: str, key: str) -> str:
    return urllib.parse.quote(f"/{bucket}/{key}")


def _texts(element: str, document: bytes) -> list[str]:
    found = re.findall(rf"<{element}>([^<]*)</{element}>".encode(), document)
    return [text.decode() for text in found]
