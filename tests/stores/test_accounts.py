"""Endpoint, region and keys of an address: whose word counts, and what is refused."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import BadField, RequestError, Unsupported
from runner.model import Artifact, Credentials, Experiment, Location, Needs, Request, StoreConfig
from runner.redaction import Secret
from runner.stores.accounts import account_for, is_loopback
from runner.stores.base import Account, StoreOptions
from tests.request.sample import decoded, sample

OPTIONS = StoreOptions()
OWN = Credentials("own", Secret("own-secret"))
STORAGE = Credentials("storage", Secret("storage-secret"), region="eu-west-3")
ENV = {"AWS_ACCESS_KEY_ID": "env", "AWS_SECRET_ACCESS_KEY": "env-secret"}
QUEUE_KEY = Path("/certs/google/queue.json")
STORE_KEY = Path("/certs/store.json")


def request_of(
    endpoint: str = "",
    credentials: Credentials | None = None,
    env: dict[str, str] | None = None,
    database: StoreConfig | None = None,
) -> Request:
    """Make a request that says this of its stores."""
    return Request(
        Experiment("key", "train.py"),
        Needs(),
        {},
        env=MappingProxyType(env or {}),
        storage=StoreConfig("s3", endpoint, "b", credentials),
        database=database or StoreConfig(),
    )


def account(
    host: str = "minio.lan:9000",
    own: Credentials | None = None,
    request: Request | None = None,
    options: StoreOptions = OPTIONS,
    scheme: str = "s3",
    **queue: Any,
) -> Account:
    """Return the account of an artifact."""
    artifact = Artifact("output", Location(scheme, host, "b", "k"), True, True, own)  # noqa: FBT003 - mutable, unpack
    queue = {"queue_broker": "rabbitmq", **queue}
    return account_for(artifact, request or request_of(), options, **queue)


# ----------------------------------------------------------------------------- endpoints


@pytest.mark.parametrize(
    ("host", "storage", "endpoint"),
    [
        ("minio.lan:9000", "", "https://minio.lan:9000"),
        ("minio.lan:9000", "http://minio.lan:9000", "http://minio.lan:9000"),
        ("minio.lan:9000", "http://MINIO.lan:9000/", "http://minio.lan:9000"),
        ("minio.lan:9000", "https://minio.lan:9000", "https://minio.lan:9000"),
        ("minio.lan:9000", "minio.lan:9000", "https://minio.lan:9000"),
        ("minio.lan:9000", "http://other.lan:9000", "https://minio.lan:9000"),
        ("minio.lan:9000", "http://minio.lan:9001", "https://minio.lan:9000"),
        ("minio.lan", "http://minio.lan:80", "http://minio.lan"),
        ("minio.lan:443", "https://minio.lan", "https://minio.lan:443"),
        ("minio.lan", "http://minio.lan:bad", "https://minio.lan"),
        ("127.0.0.1:9000", "", "http://127.0.0.1:9000"),
        ("127.0.0.1:9000", "https://127.0.0.1:9000", "https://127.0.0.1:9000"),
        ("localhost:9000", "", "http://localhost:9000"),
        ("s3.localhost", "", "http://s3.localhost"),
        ("[::1]:9000", "", "http://[::1]:9000"),
        ("127.0.0.1.evil.net", "", "https://127.0.0.1.evil.net"),
        ("s3.amazonaws.com.evil.net", "", "https://s3.amazonaws.com.evil.net"),
        ("evilamazonaws.com", "", "https://evilamazonaws.com"),
    ],
)
def test_a_bare_endpoint_means_tls(host: str, storage: str, endpoint: str) -> None:
    """Clear text only where the client wrote it for this very host, or to this machine."""
    found = account(host, request=request_of(storage))
    assert (found.backend, found.endpoint, found.region) == ("minio", endpoint, "us-east-1")


def test_the_endpoint_of_the_database_counts_as_well() -> None:
    """Clients write two endpoints, and may keep artifacts of one host under either."""
    database = StoreConfig("s3", "http://minio.lan:9000", "meta")
    request = request_of("https://other.lan", database=database)
    assert account(request=request).endpoint == "http://minio.lan:9000"


@pytest.mark.parametrize(
    ("pattern", "protocol"),
    [("*.lan", "http"), ("*.LAN", "http"), ("minio.lan:9000", "http"), ("lan", "https")],
)
def test_the_operator_names_hosts_without_tls(pattern: str, protocol: str) -> None:
    """Patterns match the name, with its port or without; what the client wrote goes before."""
    options = StoreOptions(s3_http_hosts=(pattern,))
    assert account(options=options).endpoint == f"{protocol}://minio.lan:9000"
    written = request_of("https://minio.lan:9000")
    assert account(request=written, options=options).endpoint == "https://minio.lan:9000"


@pytest.mark.parametrize(
    ("host", "endpoint", "region"),
    [
        ("", "", "us-east-1"),
        ("s3.amazonaws.com", "", "us-east-1"),
        ("s3.amazonaws.com:443", "", "us-east-1"),
        ("s3.eu-central-1.amazonaws.com", "", "eu-central-1"),
        ("s3-eu-central-1.amazonaws.com", "", "eu-central-1"),
        ("s3.us-gov-west-1.amazonaws.com", "", "us-gov-west-1"),
        ("my.bucket.s3.amazonaws.com", "", "us-east-1"),
        ("my.bucket.s3.eu-central-1.amazonaws.com", "", "eu-central-1"),
        ("my.bucket.s3-eu-central-1.amazonaws.com", "", "eu-central-1"),
        ("s3.cn-northwest-1.amazonaws.com.cn", "", "cn-northwest-1"),
        ("s3.amazonaws.com.cn", "", "cn-north-1"),
        ("s3-accelerate.amazonaws.com", "", "us-east-1"),
        (
            "s3.dualstack.eu-west-1.amazonaws.com",
            "https://s3.dualstack.eu-west-1.amazonaws.com",
            "eu-west-1",
        ),
        (
            "b.s3.dualstack.eu-west-1.amazonaws.com",
            "https://s3.dualstack.eu-west-1.amazonaws.com",
            "eu-west-1",
        ),
        (
            "s3-fips.us-gov-west-1.amazonaws.com",
            "https://s3-fips.us-gov-west-1.amazonaws.com",
            "us-gov-west-1",
        ),
        (
            "bucket.vpce-0a1b-2c.s3.eu-west-1.vpce.amazonaws.com",
            "https://bucket.vpce-0a1b-2c.s3.eu-west-1.vpce.amazonaws.com",
            "eu-west-1",
        ),
    ],
)
def test_amazons_hosts_go_through_boto3(host: str, endpoint: str, region: str) -> None:
    """The region is in the host's name, and boto3 knows the usual hosts by it. Always TLS."""
    found = account(host, request=request_of(f"http://{host}" if host else ""))
    assert (found.backend, found.endpoint, found.region) == ("s3", endpoint, region)


# ----------------------------------------------------------------------------- regions


REGION = {"AWS_DEFAULT_REGION": "env-1", "AWS_REGION": "env-2"}


@pytest.mark.parametrize(
    ("host", "own", "env", "storage", "region"),
    [
        ("s3.eu-central-1.amazonaws.com", "own-1", REGION, STORAGE, "eu-central-1"),
        ("s3.amazonaws.com", "own-1", REGION, STORAGE, "own-1"),
        ("s3.amazonaws.com", None, REGION, STORAGE, "env-1"),
        ("s3.amazonaws.com", None, {"AWS_REGION": "env-2"}, STORAGE, "env-2"),
        ("s3.amazonaws.com", None, {"AWS_DEFAULT_REGION": ""}, STORAGE, "eu-west-3"),
        ("s3.amazonaws.com", None, {}, None, "us-east-1"),
        ("minio.lan", "own-1", REGION, STORAGE, "own-1"),
        ("minio.lan", None, REGION, STORAGE, "env-1"),
        ("minio.lan", None, {}, STORAGE, "eu-west-3"),
        ("minio.lan", None, {}, None, "us-east-1"),
    ],
)
def test_the_region_is_the_first_that_is_said(
    host: str, own: str | None, env: dict[str, str], storage: Credentials | None, region: str
) -> None:
    """By the host, the artifact, the environment, the store's configuration, in this order."""
    keys = Credentials("own", Secret("s"), region=own) if own else None
    assert account(host, keys, request_of("", storage, env)).region == region
    if own is None and storage is not None:
        with_keys = Credentials("own", Secret("s"))
        assert account(host, with_keys, request_of("", storage, env)).region == region


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("s3.amazonaws.com", "evil.net/"),
        ("s3.amazonaws.com", "a.b"),
        ("s3.amazonaws.com", "-"),
        ("minio.lan", "a b"),
        ("minio.lan", "r" * 65),
    ],
)
def test_a_region_that_is_none_is_refused(host: str, region: str) -> None:
    """At Amazon's it becomes part of a host name, which no message may choose so."""
    with pytest.raises(BadField, match="region"):
        account(host, Credentials("own", Secret("s"), region=region))


def test_other_stores_may_call_their_regions_anything() -> None:
    """Ceph has upper case, MinIO underscores."""
    assert account(own=Credentials("a", Secret("s"), region="Region_One.x")).region


# ----------------------------------------------------------------------------- keys


@pytest.mark.parametrize(
    ("own", "storage", "env", "access_key"),
    [
        (OWN, STORAGE, ENV, "own"),
        (None, STORAGE, ENV, "storage"),
        (None, None, ENV, "env"),
        (None, None, {"AWS_ACCESS_KEY": "old", "AWS_SECRET_KEY": "s"}, "old"),
        (Credentials(), STORAGE, ENV, ""),
        (None, Credentials(), ENV, ""),
        (None, None, {}, None),
        (None, None, {"AWS_ACCESS_KEY_ID": "half"}, None),
        (None, None, {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": ""}, None),
    ],
)
def test_the_keys_are_the_first_that_are_there(
    own: Credentials | None,
    storage: Credentials | None,
    env: dict[str, str],
    access_key: str | None,
) -> None:
    """The artifact's, its store's, the environment's; empty strings ask for anonymous access."""
    keys = account(own=own, request=request_of("", storage, env)).credentials
    assert (keys.access_key if keys else None) == access_key


def test_the_environments_keys_come_with_their_token() -> None:
    """Temporary keys are three."""
    env = {**ENV, "AWS_SESSION_TOKEN": "token"}
    assert account(request=request_of(env=env)).credentials == Credentials(
        "env", Secret("env-secret"), Secret("token")
    )


def test_the_operator_may_leave_the_environments_keys_alone() -> None:
    """``--allow-env-secrets=false``: they are the experiment's, not the store's."""
    options = StoreOptions(allow_env_secrets=False)
    assert account(request=request_of(env=ENV), options=options).credentials is None


def test_the_databases_keys_open_the_database() -> None:
    """The client's own object lies in another bucket, maybe of another host with other keys."""
    theirs = Credentials("database", Secret("s"))
    database = StoreConfig("s3", "http://minio.lan:9000", "meta", theirs)
    request = request_of("http://minio.lan:9000", STORAGE, database=database)

    def keys(bucket: str) -> str:
        location = Location("s3", "minio.lan:9000", bucket, "experiments/key")
        found = account_for(location, request, OPTIONS, queue_broker="sqs").credentials
        return found.access_key if found else ""

    assert (keys("meta"), keys("b"), keys("elsewhere")) == ("database", "storage", "storage")


def test_equal_keys_are_one_account_whatever_region_came_with_them() -> None:
    """The region is the account's; the runner's profiles are nothing beside keys."""
    keys = Credentials("own", Secret("own-secret"), region="us-east-1", profile="admin")
    assert account(own=keys) == account(own=OWN)


@pytest.mark.parametrize(
    "own",
    [Credentials("only-access"), Credentials("", Secret("only-secret"))],
)
def test_half_a_key_is_refused(own: Credentials) -> None:
    """It is a mistake of the sender, who is told of it without the secret."""
    with pytest.raises(BadField, match=r"half there") as caught:
        account(own=own)
    assert "only-" not in str(caught.value)


def test_a_bare_token_is_refused_by_s3() -> None:
    """What S3 calls a token comes with keys."""
    with pytest.raises(Unsupported, match="token without keys"):
        account(own=Credentials(session_token=Secret("t")))


def test_the_runners_profiles_are_the_operators_to_lend() -> None:
    """A message that names one is refused with the option that would allow it."""
    own = Credentials(profile="lab", region="eu-west-1")
    with pytest.raises(Unsupported, match=r"'lab'.*--allow-own-credentials"):
        account(own=own)
    options = StoreOptions(allow_own_credentials=True)
    found = account("s3.amazonaws.com", own, options=options)
    assert found == Account("s3", "", "eu-west-1", Credentials(profile="lab"))


def test_the_runners_own_keys_are_found_by_boto3_for_every_host() -> None:
    """It alone knows where this machine keeps them; what the message brings goes before."""
    options = StoreOptions(allow_own_credentials=True)
    assert account(options=options) == Account("s3", "https://minio.lan:9000", "us-east-1")
    for own in (OWN, Credentials()):
        assert account(own=own, options=options).backend == "minio"


# ----------------------------------------------------------------------------- other schemes


def test_a_file_has_one_account_whatever_the_message_brings() -> None:
    """The file system asks the daemon's user."""
    assert account("", OWN, scheme="file") == Account("file")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_web_has_one_account(scheme: str) -> None:
    """No keys go there."""
    assert account("h:8080", OWN, scheme=scheme) == Account("http")


@pytest.mark.parametrize(
    ("broker", "queue_key", "store_key", "key_file"),
    [
        ("pubsub", QUEUE_KEY, STORE_KEY, QUEUE_KEY),
        ("pubsub", None, STORE_KEY, STORE_KEY),
        ("sqs", QUEUE_KEY, STORE_KEY, STORE_KEY),
        ("sqs", QUEUE_KEY, None, None),
        ("local", None, None, None),
    ],
)
def test_google_takes_the_key_of_the_queue(
    broker: str, queue_key: Path | None, store_key: Path | None, key_file: Path | None
) -> None:
    """Of a Pub/Sub queue; messages of others get the operator's. The host is no endpoint."""
    options = StoreOptions(google_store_credentials=store_key)
    found = account(
        "evil.net",
        OWN,
        options=options,
        scheme="gs",
        queue_broker=broker,
        queue_credentials=queue_key,
    )
    assert found == Account("gs", key_file=key_file)


def test_google_takes_a_bearer_token_or_nothing() -> None:
    """``jwt`` brings a token; empty strings ask for anonymous access."""
    token = Credentials(session_token=Secret("jwt"))
    assert account("", token, scheme="gs").credentials == token
    anonymous = account("", Credentials(), scheme="gs", queue_broker="pubsub")
    assert anonymous == Account("gs", credentials=Credentials())


@pytest.mark.parametrize("scheme", ["ftp", "shub", ""])
def test_another_scheme_is_unsupported(scheme: str) -> None:
    """The known ones are named."""
    with pytest.raises(Unsupported, match="known: file, gs, http, https, s3"):
        account(scheme=scheme)


# ----------------------------------------------------------------------------- the whole way


def test_the_original_readmes_example_works() -> None:
    """Keys and region from ``config.env``, for artifacts that bring none."""
    document = sample()
    document["experiment"]["artifacts"]["workspace"]["qualified"] = (
        "s3://s3-us-west-2.amazonaws.com/bucket/workspace.tar"
    )
    document["config"] = {"env": {**ENV, "AWS_DEFAULT_REGION": "us-west-2"}}
    request = decoded(document)
    found = account_for(request.artifacts["workspace"], request, OPTIONS, queue_broker="rabbitmq")
    assert found == Account("s3", "", "us-west-2", Credentials("env", Secret("env-secret")))


def test_a_clients_message_works() -> None:
    """Its addresses have lost the protocol, which stands in ``config.storage.endpoint``."""
    document = sample()
    keys = {"access_key": "a", "secret_access_key": "s", "region": "us-west-2"}
    document["experiment"]["artifacts"]["workspace"] = {
        "qualified": "s3://minio.lan:9000/bucket/k",
        "bucket": "bucket",
        "key": "k",
        "credentials": {"aws": keys},
    }
    document["config"]["storage"] = {
        "type": "s3",
        "endpoint": "http://minio.lan:9000",
        "bucket": "bucket",
    }
    request = decoded(document)
    found = account_for(request.artifacts["workspace"], request, OPTIONS, queue_broker="sqs")
    assert found == Account(
        "minio", "http://minio.lan:9000", "us-west-2", Credentials("a", Secret("s"))
    )


_HOSTS = st.one_of(
    st.from_regex(r"[\w.\-\[\]:%]{0,40}", fullmatch=True),
    st.from_regex(r"(\w{1,5}\.)?s3[.-]?[\w.-]{0,15}\.amazonaws\.com(\.cn)?(:\d{1,6})?"),
)
_TEXTS = st.one_of(st.just(""), st.sampled_from(["key", "us-west-2"]), st.text(max_size=20))
_KEYS = st.none() | st.builds(
    Credentials,
    _TEXTS,
    st.builds(Secret, _TEXTS),
    st.builds(Secret, _TEXTS),
    st.none() | _TEXTS,
    st.none() | _TEXTS,
)


@given(
    _HOSTS,
    _HOSTS | st.text(max_size=30),
    _KEYS,
    _KEYS,
    st.dictionaries(st.sampled_from(sorted({*ENV, *REGION})), _TEXTS),
)
def test_whatever_a_message_says_it_has_an_account_or_is_refused(
    host: str,
    endpoint: str,
    own: Credentials | None,
    storage: Credentials | None,
    env: dict[str, str],
) -> None:
    """Never another error; remote hosts are in clear text only if written; keys are whole."""
    try:
        database = StoreConfig("s3", host, "b", storage)
        found = account(host.lower(), own, request_of(endpoint, storage, env, database))
    except RequestError:
        return
    assert found.backend in {"s3", "minio"}
    assert found.region
    if found.endpoint.startswith("http:") and not is_loopback(found.endpoint):
        assert endpoint.lower().startswith("http:")
    keys = found.credentials
    assert keys is None or bool(keys.access_key) == bool(keys.secret_key)
    assert keys is None or (keys.region, keys.profile) == (None, None)
