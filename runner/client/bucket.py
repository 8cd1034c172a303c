"""A bucket of an S3 store, as a person names it and as a message tells runners of it. Pure."""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from runner.errors import Misconfigured
from runner.model import Credentials, Location, StoreConfig
from runner.redaction import Secret
from runner.stores.accounts import DEFAULT_REGION, is_loopback

_SCHEME = "s3://"
_FORM = "write s3://HOST[:PORT]/BUCKET, or s3:///BUCKET for Amazon's"


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where a submission's objects lie, and what runners need to get at them."""

    #: ``https://host:port``.
    endpoint: str
    name: str
    #: The bucket of the experiments' records; empty: there are none.
    records: str = ""
    #: They travel in the message; ``None``: the runner's own, or a public bucket.
    keys: Credentials | None = None

    def __str__(self) -> str:
        """Write the address as it was given."""
        return f"{_SCHEME}{self._host}/{self.name}"

    @property
    def _host(self) -> str:
        return urlsplit(self.endpoint).netloc

    def location(self, key: str, *, is_record: bool = False) -> Location:
        """Return where an object lies."""
        return Location("s3", self._host, self.records if is_record else self.name, key)

    @property
    def config(self) -> StoreConfig:
        """What decides how a runner speaks to the store."""
        return StoreConfig("s3", self.endpoint, self.name, self.keys)

    def in_message(self, bucket: str) -> dict[str, Any]:
        """Return ``config.storage``, or with the other bucket ``config.database``."""
        described = {"type": "s3", "endpoint": self.endpoint, "bucket": bucket}
        return described | self.credentials()

    def credentials(self) -> dict[str, Any]:
        """Return the member ``credentials``, where there are any."""
        if self.keys is None:
            return {}
        named = {
            "access_key": self.keys.access_key,
            "secret_access_key": self.keys.secret_key.reveal(),
            "session_token": self.keys.session_token.reveal(),
            "region": self.keys.region,
        }
        return {"credentials": {"aws": {name: text for name, text in named.items() if text}}}


def is_bucket(text: str) -> bool:
    """Tell whether ``--store`` names a bucket, not a directory."""
    return "://" in text


def bucket_of(
    text: str,
    environ: Mapping[str, str],
    *,
    keys_file: Path | None,
    records: str,
    clear_text: tuple[str, ...],
) -> Bucket:
    """Read ``--store``. Keys come from the file, else from the environment. Raises Misconfigured.

    Spoken to in clear text are loopback and the hosts that the patterns ``clear_text`` match.
    """
    if not text.startswith(_SCHEME):
        raise Misconfigured(f"--store is {text!r}: name a directory, or {_FORM}")
    host, _, name = text[len(_SCHEME) :].partition("/")
    name = name.rstrip("/")
    if "@" in host:  # what stands before it may be a secret
        raise Misconfigured(
            f"--store has an @ before {host.rpartition('@')[2]!r}: {_FORM}; keys come from "
            "--store-keys or the environment"
        )
    if not name or "/" in name or not _is_host(host):
        raise Misconfigured(f"--store is {text!r}: {_FORM}")
    region = environ.get("AWS_DEFAULT_REGION") or environ.get("AWS_REGION") or None
    host = host or f"s3.{region or DEFAULT_REGION}.amazonaws.com"
    bare = (urlsplit(f"//{host}").hostname or "", host)
    is_clear = any(fnmatchcase(one, pattern) for one in bare for pattern in clear_text)
    protocol = "http" if is_clear or is_loopback(f"//{host}") else "https"
    keys = _keys_in(keys_file, region) if keys_file else _keys_from(environ, region)
    return Bucket(f"{protocol}://{host}", name, records, keys)


def _is_host(text: str) -> bool:
    try:
        parts, _ = urlsplit(f"//{text}"), urlsplit(f"//{text}").port
    except ValueError:  # half an IPv6 address, or a port that is none
        return False
    return parts.netloc == text


def _keys_from(environ: Mapping[str, str], region: str | None) -> Credentials | None:
    access, secret, token = (
        environ.get(name, "")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    )
    if not access and not secret:
        return None
    if not (access and secret):
        raise Misconfigured("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or neither")
    return Credentials(access, Secret(secret), Secret(token), region)


def _keys_in(path: Path, region: str | None) -> Credentials:
    """Read a file in the form of ``~/.aws/credentials``: its default section, else its first."""
    parser = configparser.ConfigParser(default_section="", interpolation=None)
    try:
        parser.read_string(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"--store-keys {path} cannot be read: {error}") from error
    except configparser.Error as error:  # its text may show what is in the file
        raise Misconfigured(
            f"--store-keys {path} has not the form of ~/.aws/credentials: a section, and below it "
            "aws_access_key_id and aws_secret_access_key"
        ) from error
    names = parser.sections()
    section = parser["default"] if "default" in names else parser[names[0]] if names else {}
    access = section.get("aws_access_key_id", "")
    secret = section.get("aws_secret_access_key", "")
    if not (access and secret):
        raise Misconfigured(f"--store-keys {path} lacks aws_access_key_id or aws_secret_access_key")
    token = section.get("aws_session_token", "")
    return Credentials(access, Secret(secret), Secret(token), section.get("region") or region)
