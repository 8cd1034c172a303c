"""The headers of requests to S3 hosts, and their signature by the minio SDK."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

from minio.credentials.credentials import Credentials as Keys
from minio.signer import sign_v4_s3

from runner.model import Credentials, Location, Span

#: What of the request's body is signed: nothing, ``Content-MD5`` says what it is.
_BODY = "UNSIGNED-PAYLOAD"


def copy_headers(location: Location, span: Span, version: str) -> dict[str, str]:
    """Say what to copy: bytes of this version of an object. Pure."""
    return {
        "x-amz-copy-source": quote(f"/{location.bucket}/{location.key}"),
        "x-amz-copy-source-range": f"bytes={span.start}-{span.end - 1}",
        "x-amz-copy-source-if-match": f'"{version}"',
    }


def signed(
    method: str, url: str, headers: Mapping[str, str], keys: Credentials, region: str
) -> dict[str, str]:
    """Return the headers with a signature of them and of the address; anonymous ones have none.

    A signed address would do for most requests, and take a quarter more of the processor for small
    objects: its long query is encoded over and over again.
    """
    if not keys.access_key:
        return dict(headers)
    parts = urlsplit(url)
    now = datetime.now(UTC)
    token = keys.session_token.reveal()
    complete: dict[str, str | list[str] | tuple[str]] = {
        **headers,
        "Host": parts.netloc,
        "x-amz-date": now.strftime("%Y%m%dT%H%M%SZ"),
        "x-amz-content-sha256": _BODY,
        **({"X-Amz-Security-Token": token} if token else {}),
    }
    found = sign_v4_s3(
        method=method,
        url=parts,
        region=region,
        headers=complete,
        credentials=Keys(keys.access_key, keys.secret_key.reveal(), session_token=token or None),
        content_sha256=_BODY,
        date=now,
    )
    return {name: str(value) for name, value in found.items()}
