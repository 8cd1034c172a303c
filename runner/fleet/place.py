"""Where the runners of a fleet tell of themselves, as a person names it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from runner.errors import Misconfigured, RunnerError
from runner.model import Experiment, Location, Needs, Request
from runner.stores.boundary import OPTION

#: Below what the operator names, so that a bucket may hold other things as well.
FOLDER = "fleet"
_FORMS = (
    "write file:///DIRECTORY, s3://HOST/BUCKET/PREFIX, s3:///BUCKET/PREFIX for Amazon's, or "
    "gs://BUCKET/PREFIX; the prefix may be left out"
)
_HOST = re.compile(r"[A-Za-z0-9.-]+(:\d{1,5})?|\[[0-9a-fA-F:.]+\](:\d{1,5})?")
_BUCKET = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class FleetPlace:
    """A folder of a store."""

    folder: Location
    #: The directory that a local one lies in, and never leaves.
    root: Path | None = None

    def __str__(self) -> str:
        """Write the folder's address."""
        return str(self.folder)

    def location(self, name: str) -> Location:
        """Return where an object of the folder lies."""
        return replace(self.folder, key=f"{self.folder.key}/{name}")

    @staticmethod
    def explained(error: RunnerError) -> str:
        """Say what a store said of ours, with the option that names it."""
        return str(error).replace(OPTION, "--fleet-store")

    def request(self, environ: Mapping[str, str]) -> Request:
        """Return what has the pool open the store as ourselves: a request that brings no keys."""
        region = environ.get("AWS_DEFAULT_REGION") or environ.get("AWS_REGION") or ""
        env = {"AWS_REGION": region} if region else {}
        return Request(Experiment(FOLDER, FOLDER), Needs(), {}, env=env)


def place_of(text: str) -> FleetPlace:
    """Read ``--fleet-store``. Raises Misconfigured."""
    try:
        split = urlsplit(text.strip())
    except ValueError:
        raise _bad(text) from None
    match split.scheme:
        case "" | "file":
            return _directory(text, split.netloc, unquote(split.path))
        case "s3" if not split.netloc or _HOST.fullmatch(split.netloc):
            bucket, _, prefix = split.path.lstrip("/").partition("/")
            return _bucket(text, "s3", split.netloc, bucket, prefix)
        case "gs":
            return _bucket(text, "gs", "", split.netloc, split.path)
    raise _bad(text)


def _directory(text: str, host: str, path: str) -> FleetPlace:
    if host or not path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise _bad(text)
    root = Path(path)
    return FleetPlace(Location("file", "", "", str(root / FOLDER)), root)


def _bucket(text: str, scheme: str, host: str, bucket: str, prefix: str) -> FleetPlace:
    parts = [part for part in prefix.split("/") if part]
    is_plain = all(part.isprintable() and part not in {".", ".."} for part in parts)
    if not _BUCKET.fullmatch(bucket) or not is_plain or set("?#") & set(text):
        raise _bad(text)
    return FleetPlace(Location(scheme, host, bucket, "/".join([*parts, FOLDER])))


def _bad(text: str) -> Misconfigured:
    # Not the value itself where somebody wrote a password or a signature into it.
    has_secret = set("@?") & set(text)
    shown = "an address with a user or a query in it" if has_secret else repr(text)
    return Misconfigured(f"--fleet-store is {shown}: {_FORMS}")
