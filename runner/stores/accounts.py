"""Which account of which store an address means: its endpoint, region and keys, decided purely.

Follows protocol section 4.2 where it is safe: whoever wrote the message chose the endpoint and the
keys, so both are the sender's to combine; what is the runner's own is used only where the operator
says so.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from runner.errors import BadField, Unsupported
from runner.model import Artifact, Credentials, Location, Request, StoreConfig
from runner.redaction import Secret
from runner.stores.base import Account, StoreOptions

#: Schemes of artifacts.
SCHEMES = ("file", "gs", "http", "https", "s3")

#: Where nobody says anything: also what MinIO and Ceph are set up with.
DEFAULT_REGION = "us-east-1"
_CHINA = "cn-north-1"
_DEFAULT_PORTS = {"http": 80, "https": 443}

_AMAZON = re.compile(r"(?:.+\.)?amazonaws\.com(?P<china>\.cn)?")
#: A bucket before the host is dropped: requests name it in their path.
_AMAZON_S3 = re.compile(
    r"(?:.+\.)??"
    r"(?P<host>s3(?P<special>-fips|-accelerate)?(?:[.-](?P<dualstack>dualstack))?"
    r"(?:[.-](?P<region>[a-z]{2,4}(?:-[a-z]+)+-[0-9]+))?"
    r"\.amazonaws\.com(?:\.cn)?)"
)
_AMAZON_REGION = re.compile(r"[.-](?P<region>[a-z]{2,4}(?:-[a-z]+)+-[0-9]+)\.")
#: Amazon's regions become part of a host name.
_AMAZON_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_REGION = re.compile(r"[\w.-]{1,64}", re.ASCII)

_ENV_KEYS = (
    ("AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY"),
    ("AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY"),
    ("AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"),
)
_ENV_REGION = ("AWS_DEFAULT_REGION", "AWS_REGION")


def account_for(
    wanted: Artifact | Location,
    request: Request,
    options: StoreOptions,
    *,
    queue_broker: str,
    queue_credentials: Path | None = None,
) -> Account:
    """Return the account of an artifact, or of a location beside the artifacts.

    ``queue_credentials`` is the key file that brought the message. Raises BadField and Unsupported;
    no error shows a secret.
    """
    location = wanted.location if isinstance(wanted, Artifact) else wanted
    own = wanted.credentials if isinstance(wanted, Artifact) else None
    match location.scheme:
        case "file":  # the file system asks the daemon's user, not the message
            return Account("file")
        case "s3":
            return _s3(location, own, request, options)
        case "gs":
            key_file = queue_credentials if queue_broker == "pubsub" else None
            return _google(own, key_file or options.google_store_credentials)
        case "http" | "https":
            return Account("http")
    known = ", ".join(SCHEMES)
    raise Unsupported(
        f"{location} has the unknown storage scheme {location.scheme!r}; known: {known}"
    )


def is_loopback(endpoint: str) -> bool:
    """Tell whether ``http://host:port`` is this machine, as far as its name says."""
    name = urlsplit(endpoint).hostname or ""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


# ----------------------------------------------------------------------------- Google


def _google(own: Credentials | None, key_file: Path | None) -> Account:
    """Return the account of a bearer token, of anybody, or of a key file.

    The message's host is no endpoint here: whoever has the requests has their bearer token.
    """
    if own is not None and not own.access_key:
        return Account("gs", credentials=Credentials(session_token=own.session_token))
    return Account("gs", key_file=key_file)


# ----------------------------------------------------------------------------- S3


@dataclass(frozen=True, slots=True)
class _Amazon:
    """What a host of Amazon's says."""

    #: Empty: boto3 knows it by the region.
    endpoint: str
    region: str | None
    default_region: str


def _s3(
    location: Location, own: Credentials | None, request: Request, options: StoreOptions
) -> Account:
    split = _split(location)
    config = _config_of(location, request)
    keys = _keys(own, config, request.env, options)
    bare = _bare(keys, location, options)
    said = [own.region if own else None, _first(request.env, _ENV_REGION)]
    said += [one.region for one in (keys, config.credentials) if one]
    amazon = _amazon(split.hostname or "")
    if amazon is not None:
        region = _checked_region([amazon.region, *said], _AMAZON_LABEL)
        return Account("s3", amazon.endpoint, region or amazon.default_region, bare)
    # This machine's own keys, where they may be used, are found by boto3 alone.
    is_own = options.allow_own_credentials and (bare is None or bare.profile)
    endpoint = f"{_protocol(split, request, options)}://{location.host}"
    region = _checked_region(said, _REGION)
    return Account("s3" if is_own else "minio", endpoint, region or DEFAULT_REGION, bare)


def _split(location: Location) -> SplitResult:
    try:
        split = urlsplit(f"//{location.host}")
        _ = split.port
    except ValueError:
        raise BadField(
            "qualified", str(location), "write an address such as s3://host:9000/bucket/key"
        ) from None
    return split


def _amazon(name: str) -> _Amazon | None:
    """Read one of Amazon's hosts; without any host it is Amazon as well."""
    if not name:
        return _Amazon("", None, DEFAULT_REGION)
    found = _AMAZON.fullmatch(name)
    if found is None:
        return None
    default = _CHINA if found["china"] else DEFAULT_REGION
    usual = _AMAZON_S3.fullmatch(name)
    if usual is None:  # a private endpoint, say: it is spoken to as it stands there
        region = _AMAZON_REGION.search(name)
        return _Amazon(f"https://{name}", region["region"] if region else None, default)
    special = usual["special"] == "-fips" or (usual["dualstack"] and usual["region"])
    return _Amazon(f"https://{usual['host']}" if special else "", usual["region"], default)


def _protocol(split: SplitResult, request: Request, options: StoreOptions) -> str:
    """Return ``https``, or ``http`` where it is written, for this machine, or for named hosts."""
    for config in (request.storage, request.database):
        if written := _written(config.endpoint, split):
            return written
    names = (split.hostname or "", split.netloc)
    patterns = [pattern.lower() for pattern in options.s3_http_hosts]
    is_named = any(fnmatchcase(name, pattern) for name in names for pattern in patterns)
    return "http" if is_named or is_loopback(f"//{split.netloc}") else "https"


def _written(endpoint: str, host: SplitResult) -> str | None:
    """Return the protocol that an endpoint names, if it is that host's."""
    try:
        found = urlsplit(endpoint)
        default = _DEFAULT_PORTS.get(found.scheme)
        if default is None or (found.hostname, found.port or default) != (
            host.hostname,
            host.port or default,
        ):
            return None
    except ValueError:
        return None
    return found.scheme


def _config_of(location: Location, request: Request) -> StoreConfig:
    """Return the configuration of the store that holds the location: the client has two."""
    database, storage = request.database, request.storage
    if (
        database.type == "s3"
        and _is_of(location, database)
        and not (_is_of(location, storage) and location.bucket == storage.bucket)
    ):
        return database
    return storage


def _is_of(location: Location, config: StoreConfig) -> bool:
    endpoint = config.endpoint.lower()
    try:
        netloc = urlsplit(endpoint if "//" in endpoint else f"//{endpoint}").netloc
    except ValueError:
        return False
    host = netloc.rpartition("@")[2]
    return (host, config.bucket) == (location.host, location.bucket)


# ----------------------------------------------------------------------------- keys


def _keys(
    own: Credentials | None, config: StoreConfig, env: Mapping[str, str], options: StoreOptions
) -> Credentials | None:
    """Return the first of the artifact's, its store's and the environment's keys."""
    if own is not None:
        return own
    if config.credentials is not None:
        return config.credentials
    if not options.allow_env_secrets:
        return None
    access, secret, token = (_first(env, names) for names in _ENV_KEYS)
    if not (access and secret):
        return None
    return Credentials(access, Secret(secret), Secret(token))


def _bare(
    keys: Credentials | None, location: Location, options: StoreOptions
) -> Credentials | None:
    """Return the keys without what the account says elsewhere, or raise what is wrong with them."""
    if keys is None:
        return None
    if bool(keys.access_key) != bool(keys.secret_key):
        raise BadField(
            "credentials.aws",
            Secret(),
            f"the keys of {location} are half there: write access_key and secret_access_key, or "
            "leave both empty for anonymous access",
        )
    if keys.access_key:
        return replace(keys, region=None, profile=None)
    if keys.session_token:
        raise Unsupported(f"{location} brings a token without keys, which no S3 store takes")
    if keys.profile and not options.allow_own_credentials:
        raise Unsupported(
            f"{location} asks for the AWS profile {keys.profile!r} of the runner's machine, which "
            "messages may use only where --allow-own-credentials is set"
        )
    return Credentials(profile=keys.profile or None)


def _checked_region(said: Iterable[str | None], form: re.Pattern[str]) -> str | None:
    """Return the first region that is said."""
    region = next((one for one in said if one), None)
    if region and form.fullmatch(region) is None:
        raise BadField("region", region, "write a region such as us-west-2")
    return region


def _first(env: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((env[name] for name in names if env.get(name)), "")
