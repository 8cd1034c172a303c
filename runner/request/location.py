"""Where an artifact lies: the four ways in which clients say it, to one normal form."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

from runner.errors import BadField, Unsupported
from runner.model import Location, StoreConfig
from runner.request.fields import Fields
from runner.request.names import FILE_PATH_BYTES, component, relative, visible

#: Schemes of object stores; another one is no request for this runner.
STORE_SCHEMES = ("file", "gs", "http", "https", "s3")
#: Schemes of container images, for the label ``_singularity`` alone.
IMAGE_SCHEMES = ("docker", "dockerhub", "library", "oras", "shub")
IMAGE_LABEL = "_singularity"

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_GOOGLE = frozenset({"storage.googleapis.com", "www.googleapis.com"})
_HOST = re.compile(r"[\w.\-\[\]:%]{1,255}", re.ASCII)


def decode_location(label: str, artifact: Fields, storage: StoreConfig) -> Location:
    """Return the address of an artifact, without touching any store.

    ``url`` and ``qualified`` say it whole; ``bucket`` and ``key`` go before what ``qualified``
    says of them; what is missing comes from ``config.storage``. Raises BadField, Unsupported.
    """
    name = "url" if artifact.text("url") else "qualified"
    address = artifact.text(name).strip()
    path = artifact.at(name)
    if not address:
        return _from_storage(artifact, storage)
    match = _SCHEME.match(address)
    scheme = match[1].lower() if match else ""
    if scheme == "file" or (label == IMAGE_LABEL and address.startswith("/")):
        return _file(path, address[match.end() if match else 0 :])
    if scheme in {"s3", "gs"}:
        return _bucket(scheme, path, address, artifact, storage)
    if scheme in {"http", "https"}:
        return _web(path, address)
    if label == IMAGE_LABEL and scheme in IMAGE_SCHEMES:
        return Location(scheme, "", "", relative(path, address[len(scheme) + 1 :].lstrip("/")))
    known = ", ".join(STORE_SCHEMES)
    raise Unsupported(
        f"the artifact {label!r} has the storage scheme {(scheme or address)[:80]!r} in {path}; "
        f"known: {known}"
    )


def _from_storage(artifact: Fields, storage: StoreConfig) -> Location:
    if not artifact.text("key"):
        raise artifact.bad("qualified", "say where the artifact lies, such as s3://host/bucket/key")
    kind = storage.type.lower()
    if kind == "local":
        root = storage.endpoint.removeprefix("file://")
        if not root.startswith("/"):
            raise BadField(
                "config.storage.endpoint", storage.endpoint, "write an absolute directory"
            )
        bucket = artifact.text("bucket") or storage.bucket
        parts = (root, bucket, _key(artifact.at("key"), artifact.text("key")))
        return _file(artifact.at("key"), "/".join(part for part in parts if part))
    if kind in {"s3", "gs"}:
        return _bucket(kind, artifact.at("qualified"), "", artifact, storage)
    raise artifact.bad("qualified", "say where the artifact lies, such as s3://host/bucket/key")


def _file(path: str, address: str) -> Location:
    """Read ``///abs``, ``/abs`` and the client's ``//home/x``, which means ``/home/x``."""
    address = address.removeprefix("//localhost/")
    relative(path, address.lstrip("/"), FILE_PATH_BYTES)
    parts = [part for part in address.split("/") if part not in {"", "."}]
    if not parts:
        raise BadField(path, f"file:{address}", "name a file, such as file:///store/data.tar")
    return Location("file", "", "", "/" + "/".join(parts))


def _bucket(
    scheme: str, path: str, address: str, artifact: Fields, storage: StoreConfig
) -> Location:
    """Read ``s3://host[:port]/bucket/key``, also ``s3://host//bucket/key`` and ``s3://b/k``."""
    bucket, key = artifact.text("bucket"), artifact.text("key")
    rest = address[len(scheme) + 1 :].lstrip("/")
    if rest == f"{bucket}/{key}":  # no host at all: the store's own
        rest = ""
    if scheme == "gs":
        rest = _without_google(rest, bucket, key)
    host, _, tail = rest.partition("/")
    first, _, last = tail.lstrip("/").partition("/")
    bucket = bucket or first or storage.bucket
    key = key or last
    if not host and scheme == "s3":
        host = _netloc(storage.endpoint)
    if host and _HOST.fullmatch(host) is None:
        remedy = (
            f"write an address such as {scheme}://host:9000/bucket/key, without user or password"
        )
        raise BadField(path, f"{scheme}://…", remedy)
    component(artifact.at("bucket") if not first else path, bucket)
    return Location(scheme, host.lower(), bucket, _key(artifact.at("key"), key))


def _without_google(rest: str, bucket: str, key: str) -> str:
    """Take Google's own host away: ``gs://`` addresses have none, and some write it all the same.

    Another host stays where bucket and key follow it, so that the store can refuse it.
    """
    first, _, tail = rest.partition("/")
    if first.lower() in _GOOGLE:
        return "/" + tail
    has_host = bool(bucket and key) and tail.lstrip("/") == f"{bucket}/{key}"
    return rest if has_host or not rest else "/" + rest


def _web(path: str, address: str) -> Location:
    remedy = "write an address such as https://host/data.tar, without user and password"
    shown = address.partition("?")[0].rpartition("@")[2]  # no password and no signature
    try:
        split: SplitResult = urlsplit(address)
        host, _ = split.netloc, split.port
    except ValueError:
        raise BadField(path, shown, remedy) from None
    if _HOST.fullmatch(host) is None:
        raise BadField(path, f"{split.scheme}://…", remedy)
    key = relative(path, split.path.lstrip("/"), FILE_PATH_BYTES)
    try:
        query = visible(path, split.query)  # a signed one is longer than any name
    except BadField:
        raise BadField(path, f"{shown}?…", "its query has control characters") from None
    return Location(split.scheme, host.lower(), "", f"{key}?{query}" if query else key)


def _key(path: str, key: str) -> str:
    return relative(path, key)


def _netloc(endpoint: str) -> str:
    return urlsplit(endpoint if "//" in endpoint else f"//{endpoint}").netloc
