"""boto3's store keeps the contract against SeaweedFS and moto, and says what is wrong with keys."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from runner.errors import Misconfigured, StoreUnavailable
from runner.model import Artifact, Credentials, Location
from runner.redaction import Secret
from runner.stores.base import AccessDenied, Account, NotFound, Store, StoreOptions
from runner.stores.pool import StorePool
from runner.stores.remote.client import Lasting
from runner.stores.remote.retrying import Plan
from runner.stores.remote.s3_answers import error_of
from runner.stores.s3 import S3Client, S3Store
from tests.contracts.stores import StoreContract, everything
from tests.request.sample import decoded, sample
from tests.servers import moto
from tests.servers.canned import Canned, Says, answering
from tests.servers.certificates import self_signed
from tests.servers.proxy import Proxy
from tests.servers.s3 import ANONYMOUS, S3Server
from tests.servers.seaweed import ADMIN, ALICE, READER
from tests.servers.web import Asked, Reply, WebServer

pytestmark = pytest.mark.anyio
seaweed = pytest.mark.service("s3")


def opened(
    server: S3Server, credentials: Credentials | None, options: StoreOptions | None = None
) -> S3Store:
    """Make a store of the server."""
    account = Account("s3", server.endpoint, "us-east-1", credentials)
    return S3Store.for_account(account, options or StoreOptions())


@pytest.mark.service("s3")
class TestSeaweed(StoreContract):
    """The contract, with a server that checks signatures."""

    @pytest.fixture
    def versions_tell_rewrites(self) -> bool:
        """An ETag is the digest of the content."""
        return False

    @pytest.fixture
    async def store(self, seaweed_server: S3Server) -> AsyncIterator[S3Store]:
        """Return the admin's store."""
        async with opened(seaweed_server, ADMIN) as store:
            yield store

    @pytest.fixture
    async def other(self, seaweed_server: S3Server) -> AsyncIterator[S3Store]:
        """Return a store with connections of its own."""
        async with opened(seaweed_server, ADMIN) as store:
            yield store

    @pytest.fixture
    def location(self, seaweed_server: S3Server, seaweed_bucket: str) -> Location:
        """Return a key with what has to be quoted in it."""
        return seaweed_server.location(seaweed_bucket, "experiments/a b+c%d/ü.tar")


@pytest.mark.service("sqs")
class TestMoto(StoreContract):
    """The contract, with a server that follows Amazon's answers closely."""

    @pytest.fixture
    def minds_conditions_of_parts(self) -> Collection[str]:
        """Amazon minds ``If-Match`` there as well; moto does not."""
        return ("nothing before",)

    @pytest.fixture
    def versions_tell_rewrites(self) -> bool:
        """An ETag is the digest of the content."""
        return False

    @pytest.fixture
    async def store(self, moto_server: S3Server) -> AsyncIterator[S3Store]:
        """Return the store."""
        async with opened(moto_server, moto_server.admin) as store:
            yield store

    @pytest.fixture
    async def other(self, moto_server: S3Server) -> AsyncIterator[S3Store]:
        """Return a store with connections of its own."""
        async with opened(moto_server, moto_server.admin) as store:
            yield store

    @pytest.fixture
    def location(self, moto_server: S3Server, moto_bucket: str) -> Location:
        """Return a key with what has to be quoted in it."""
        return moto_server.location(moto_bucket, "experiments/a b+c%d/ü.tar")


async def test_amazon_is_told_what_an_object_of_parts_must_still_be() -> None:
    """Of the servers that the contract is tried with only SeaweedFS minds it."""
    completed = list[str]()

    def answer(asked: Asked) -> Reply:
        if asked.method == "HEAD":
            return Reply(200, {"ETag": '"before"'})
        if asked.method == "POST" and "uploads" in asked.target:
            return Reply(200, body=b"<R><UploadId>one</UploadId></R>")
        if asked.method == "POST":
            completed.append(asked.headers["if-match"])
            return Reply(412, body=b"<Error><Code>PreconditionFailed</Code></Error>")
        return Reply(404 if asked.method == "GET" else 200, {"ETag": '"part"'})

    def produce(stream: BinaryIO) -> None:
        stream.write(b"x" * (9 << 20))

    with WebServer(answer).serving() as server:
        account = Account("s3", server.url, "us-east-1", ADMIN)
        location = Location("s3", server.url.partition("//")[2], "bucket", "key")
        async with S3Store.for_account(account, StoreOptions()) as store:
            with pytest.raises(StoreUnavailable, match="replaced by somebody else"):
                await store.write(location, produce, permitted=lambda: None)
    assert completed == ['"before"']


# ----------------------------------------------------------------------------- keys and rights


def test_a_refusal_without_a_word_has_a_remedy() -> None:
    """The answer to a HEAD has no body: what is probably wrong is said all the same."""
    location = Location("s3", "minio.lan", "bucket", "key")
    for status in (401, 403):
        error = error_of(location, status, "", "", None)
        assert isinstance(error, AccessDenied)
        assert str(error) == (
            f"{location}: these credentials have no right to it, or none are given ({status})"
        )


@pytest.mark.parametrize(
    ("status", "code", "kind", "words"),
    [
        (400, "ThrottlingException", StoreUnavailable, "400 ThrottlingException"),
        (400, "KMS.ThrottlingException", StoreUnavailable, "400 KMS"),
        (403, "RequestLimitExceeded", StoreUnavailable, "403 Request"),
        (503, "SlowDown", StoreUnavailable, "503 SlowDown"),
        (403, "QuotaExceeded", Lasting, "make room"),
        (400, "XMinioAdminBucketQuotaExceeded", Lasting, "make room"),
        (400, "InvalidPart", Lasting, "lost a part"),
        (403, "InvalidObjectState", AccessDenied, "restore it"),
        (403, "RequestTimeTooSkewed", Lasting, "clocks"),
        (400, "ExpiredToken", AccessDenied, "submit with a new one"),
        (400, "SomethingNew", AccessDenied, "400 SomethingNew"),
    ],
)
def test_what_a_store_may_do_later_is_no_refusal(
    status: int, code: str, kind: type[Exception], words: str
) -> None:
    """Results that are refused are lost; those that their store cannot take now wait for it."""
    error = error_of(Location("s3", "minio.lan", "bucket", "key"), status, code, "", None)
    assert type(error) is kind
    assert words in str(error)


@seaweed
@pytest.mark.parametrize(
    ("credentials", "remedy"),
    [
        (dataclasses.replace(ALICE, secret_key=Secret("no-secret")), "the secret key is wrong"),
        (Credentials("nobody", Secret("knows-him")), "the access key is not known"),
        (ALICE, "have no right to it"),
        (READER, "have no right to it"),
        (ANONYMOUS, "have no right to it"),
        (None, "have no right to it"),
    ],
    ids=["wrong secret", "unknown key", "other bucket", "reader", "anonymous", "none"],
)
async def test_keys_that_do_not_open_are_denied_with_the_reason(
    seaweed_server: S3Server,
    seaweed_bucket: str,
    credentials: Credentials | None,
    remedy: str,
) -> None:
    """Whoever submitted can mend what is wrong, and no secret is shown to anybody."""
    seaweed_server.put(seaweed_bucket, "key", b"content")
    location = seaweed_server.location(seaweed_bucket, "key")
    async with opened(seaweed_server, credentials) as store:
        for act in (
            store.stat(location),
            store.read(location, everything),
            store.put_if(location, b"body", None),
            store.write(location, large),
        ):
            with pytest.raises(AccessDenied, match=remedy) as caught:
                await act
            assert str(location) in str(caught.value)
            assert "secret-key" not in str(caught.value)
            assert "knows-him" not in str(caught.value)
    assert seaweed_server.uploads(seaweed_bucket) == []


@seaweed
async def test_a_reader_may_not_write(seaweed_server: S3Server, alice_bucket: str) -> None:
    """Rights are per bucket and per kind of access."""
    location = seaweed_server.location(alice_bucket, "key")
    async with opened(seaweed_server, ALICE) as alice, opened(seaweed_server, READER) as reader:
        info = await alice.put_if(location, b"hers", None)
        assert await reader.read(location, everything) == b"hers"
        for act in (reader.put_if(location, b"his", info.version), reader.delete(location)):
            with pytest.raises(AccessDenied):
                await act
        assert await alice.stat(location) == info


@seaweed
@pytest.mark.parametrize("credentials", [ANONYMOUS, None, ALICE], ids=["anonymous", "none", "no"])
async def test_public_objects_need_no_keys(
    seaweed_server: S3Server, public_bucket: str, credentials: Credentials | None
) -> None:
    """Neither where none are given, nor where those given are for something else."""
    seaweed_server.put(public_bucket, "key", b"public")
    location = seaweed_server.location(public_bucket, "key")
    async with opened(seaweed_server, credentials) as store:
        assert (await store.stat(location)).size == 6
        assert await store.read(location, everything) == b"public"


@seaweed
async def test_a_missing_bucket_is_named(seaweed_server: S3Server) -> None:
    """The one who reads must see that it is not the key that is wrong."""
    location = seaweed_server.location("no-such-bucket", "key")
    async with opened(seaweed_server, ADMIN) as store:
        for act in (store.stat(location), store.read(location, everything)):
            with pytest.raises(NotFound, match="there is no such bucket"):
                await act


@pytest.mark.service("sqs")
async def test_a_bucket_that_cannot_be_is_not_found(moto_server: S3Server) -> None:
    """The SDK refuses the name; nothing is sent."""
    async with opened(moto_server, ADMIN) as store:
        with pytest.raises(NotFound, match="cannot exist"):
            await store.stat(moto_server.location("no bucket?", "key"))


@pytest.mark.service("sqs")
async def test_temporary_keys_need_their_token(tmp_path: Path) -> None:
    """Keys of an assumed role open the bucket with the right session token and no other."""
    with moto.running(tmp_path) as server, server.bucket() as bucket:
        server.put(bucket, "key", b"content")
        location = server.location(bucket, "key")
        keys = moto.assumed_role(server)
        with moto.checking_keys(server):
            async with opened(server, keys) as store:
                assert await store.read(location, everything) == b"content"
            wrong = dataclasses.replace(keys, session_token=Secret("another-token"))
            async with opened(server, wrong) as store:
                with pytest.raises(AccessDenied, match="the session token is wrong") as caught:
                    await store.read(location, everything)
            assert "another-token" not in str(caught.value)


@seaweed
async def test_the_runners_own_keys_are_lent_only_where_that_is_allowed(
    seaweed_server: S3Server, alice_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files and variables of this machine are nothing to a message, unless the operator says so."""
    seaweed_server.put(alice_bucket, "key", b"hers")
    location = seaweed_server.location(alice_bucket, "key")
    secret = ALICE.secret_key.reveal()
    pair = f"aws_access_key_id = {ALICE.access_key}\naws_secret_access_key = {secret}\n"
    shared = tmp_path / "credentials"
    shared.write_text(f"[default]\n{pair}[lab]\n{pair}")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(shared))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    allowed = StoreOptions(allow_own_credentials=True)
    for keys in (None, Credentials(profile="lab")):
        async with opened(seaweed_server, keys, allowed) as store:
            assert await store.read(location, everything) == b"hers"
    async with opened(seaweed_server, Credentials(profile="none"), allowed) as store:
        with pytest.raises(AccessDenied, match=r"profile \(none\) could not be found"):
            await store.stat(location)
    for keys, options in ((None, StoreOptions()), (ANONYMOUS, allowed)):
        async with opened(seaweed_server, keys, options) as store:
            with pytest.raises(AccessDenied, match="have no right"):
                await store.stat(location)


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Return a machine without keys of its own."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    return monkeypatch


async def own_keys(server: S3Server) -> None:
    """Look at an object with the runner's own keys, once."""
    account = Account("s3", server.endpoint, "us-east-1", None)
    options = StoreOptions(allow_own_credentials=True)
    async with Impatient.for_account(account, options) as store:
        await store.stat(server.location("bucket", "key"))


@pytest.mark.parametrize("missing", ["token", "process"])
async def test_own_keys_that_cannot_be_had_now_are_an_outage(
    bare_machine: pytest.MonkeyPatch, tmp_path: Path, missing: str
) -> None:
    """No experiment has failed because a token is being mounted, or who gives keys is away."""
    with answering(lambda *_: (500, {}, b"")) as (server, asked):
        if missing == "token":
            bare_machine.setenv("AWS_ROLE_ARN", "arn:aws:iam::210987654321:role/runner")
            bare_machine.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
        else:
            (tmp_path / "none").write_text("[default]\ncredential_process = false\n")
        with pytest.raises(StoreUnavailable, match="own AWS keys"):
            await own_keys(server)
    assert not asked


async def test_own_keys_that_are_over_before_they_come_are_a_matter_of_the_clock(
    bare_machine: pytest.MonkeyPatch,
) -> None:
    """The SDK says so in an exception of no kind of its own."""
    keys = {"AccessKeyId": "A", "SecretAccessKey": "s", "Token": "t"}
    told = json.dumps({**keys, "Expiration": "2020-01-01T00:00:00Z"}).encode()
    with answering(lambda *_: (200, {"ETag": '"x"'}, told)) as (server, _):
        bare_machine.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{server.endpoint}/keys")
        with pytest.raises(Lasting, match="clock"):
            await own_keys(server)


async def test_a_metadata_service_may_answer_the_second_time(
    bare_machine: pytest.MonkeyPatch,
) -> None:
    """Whoever asks only once is nobody then, and is denied everything."""
    told = {"AccessKeyId": "OFMACHINE", "SecretAccessKey": "s", "Token": "t", "Code": "Success"}
    document = json.dumps({**told, "Expiration": "2999-01-01T00:00:00Z"}).encode()
    asked: list[str] = []

    def answer(method: str, path: str, headers: dict[str, str]) -> Canned:
        asked.append(headers.get("authorization", ""))
        if len(asked) == 2:  # the first is for a token
            return 503, {}, b""
        if method == "HEAD":
            return 200, {"ETag": '"5d41402abc4b2a76b9719d911017c592"'}, b""
        if path.endswith("/security-credentials/role"):
            return 200, {}, document
        return 200, {}, b"token" if method == "PUT" else b"role"

    with answering(answer) as (server, _):
        bare_machine.setenv("AWS_EC2_METADATA_DISABLED", "false")
        bare_machine.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.endpoint)
        await own_keys(server)
    assert "OFMACHINE" in asked[-1]


@seaweed
@pytest.mark.parametrize("credentials", [None, ANONYMOUS, ALICE])
async def test_nothing_of_this_machine_is_asked(
    seaweed_server: S3Server,
    public_bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    credentials: Credentials | None,
) -> None:
    """No profile, no endpoint of the environment, and never the instance's metadata."""
    seaweed_server.put(public_bucket, "key", b"public")
    location = seaweed_server.location(public_bucket, "key")
    with answering(lambda *_: (404, {}, b"")) as (metadata, asked):
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.endpoint)
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{metadata.endpoint}/keys")
        monkeypatch.setenv("AWS_ENDPOINT_URL", metadata.endpoint)
        monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-this-machine")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-this-machine")
        async with opened(seaweed_server, credentials) as store:
            assert await store.read(location, everything) == b"public"
    assert asked == []


# ----------------------------------------------------------------------------- regions


@pytest.mark.parametrize("method", ["stat", "read", "put_if"])
async def test_a_bucket_is_followed_to_its_region(method: str) -> None:
    """Amazon says where it is; the request is signed anew for there, and later ones at once."""
    with answering(regional("eu-central-1")) as (server, asked):
        location = server.location("bucket", "key")
        async with opened(server, ALICE) as store:
            for _ in range(2):
                await call(store, method, location)
    regions = [region_of(headers) for _, headers in asked]
    assert regions == ["us-east-1", "eu-central-1", "eu-central-1"]


async def test_a_region_that_nobody_names_is_the_senders_to_mend() -> None:
    """It is not tried again: the region of the request does not change by itself."""
    body = b"<Error><Code>PermanentRedirect</Code><Message>not here</Message></Error>"
    with answering(lambda *_: (301, {}, body)) as (server, _):
        async with opened(server, ALICE) as store:
            with pytest.raises(AccessDenied, match="the region is wrong"):
                await store.read(server.location("bucket", "key"), everything)


# ----------------------------------------------------------------------------- checksums, TLS


@seaweed
async def test_a_large_object_is_verified_by_its_parts(
    seaweed_server: S3Server, seaweed_bucket: str
) -> None:
    """The store gives a digest of parts, and tells how large the first one was."""
    location = seaweed_server.location(seaweed_bucket, "large")
    async with opened(seaweed_server, ADMIN) as store:
        written = await store.write(location, large)
        info = await store.stat(location)
        assert info == written
        assert info.checksum == written.checksum
        assert info.checksum is not None
        assert info.checksum.algorithm == "md5-parts"
        assert len(await store.read(location, everything)) == 20 << 20


async def test_an_encrypted_object_is_verified_by_the_digest_beside_it() -> None:
    """Its ETag is none; HEAD tells another one, and a body that does not match is not used."""
    digest = "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="  # of "hello"
    headers = {
        "ETag": '"0123456789abcdef0123456789abcdef"',
        "x-amz-server-side-encryption": "aws:kms",
    }
    told = {**headers, "x-amz-checksum-sha256": digest, "x-amz-checksum-type": "FULL_OBJECT"}

    def answer(method: str, path: str, _: dict[str, str]) -> Canned:
        return 200, told if method == "HEAD" else headers, b"hello" if "good" in path else b"other"

    with answering(answer) as (server, _):
        account = Account("s3", server.endpoint, "us-east-1", ALICE)
        async with Impatient.for_account(account, StoreOptions()) as store:
            info = await store.stat(server.location("bucket", "good"))
            assert info.checksum is not None
            assert info.checksum.digest == base64.b64decode(digest).hex()
            assert await store.read(server.location("bucket", "good"), everything) == b"hello"
            with pytest.raises(StoreUnavailable):
                await store.read(server.location("bucket", "bad"), everything)


@seaweed
async def test_a_certificate_of_our_own_is_trusted_where_it_is_named(
    seaweed_server: S3Server, public_bucket: str, tmp_path: Path
) -> None:
    """``--s3-ca`` opens it; without it the error names the option. Uploads are not hashed twice."""
    context, authority = self_signed(tmp_path)
    seaweed_server.put(public_bucket, "key", b"public")
    with Proxy(("127.0.0.1", seaweed_server.port), tls=context) as proxy:
        account = Account("s3", proxy.url, "us-east-1", ADMIN)
        location = Location("s3", proxy.host, public_bucket, "key")
        async with S3Store.for_account(account, StoreOptions(s3_ca=authority)) as store:
            assert await store.read(location, everything) == b"public"
            assert (await store.write(location, large)).size == 20 << 20
            assert len(await store.read(location, everything)) == 20 << 20
        async with S3Store.for_account(account, StoreOptions()) as store:
            with pytest.raises(StoreUnavailable, match=r"not trusted.*--s3-ca"):
                await store.stat(location)


async def test_an_authority_that_is_none_names_its_option(tmp_path: Path) -> None:
    """The operator reads which file it is."""
    (tmp_path / "ca.pem").write_text("nothing")
    account = Account("s3", "https://127.0.0.1:1", "us-east-1", ALICE)
    with pytest.raises(Misconfigured, match=r"--s3-ca .*ca\.pem"):
        S3Client(account, StoreOptions(s3_ca=tmp_path / "ca.pem"), own=False)


def test_amazons_own_endpoints_are_spoken_to_with_tls_and_the_buckets_name() -> None:
    """What has no endpoint of its own goes where boto3 knows its region is."""
    client = S3Client(Account("s3", "", "eu-central-1", ALICE), StoreOptions(), own=False)
    asked: list[str] = []

    def stop(request: Any, **_: object) -> None:
        asked.append(request.url)
        raise LookupError

    client._sdk.meta.events.register_first("before-send.s3", stop)
    with pytest.raises(LookupError):
        client.head(Location("s3", "s3.eu-central-1.amazonaws.com", "b-1", "k"))
    client.close()
    assert asked == ["https://b-1.s3.eu-central-1.amazonaws.com/k"]


# ----------------------------------------------------------------------------- the whole way


@seaweed
async def test_a_clients_message_reaches_its_objects(
    seaweed_server: S3Server, alice_bucket: str
) -> None:
    """From the message's JSON to the bytes: own keys, those of the store, public ones."""
    seaweed_server.put(alice_bucket, "blobstore/ws.tar", b"workspace")
    keys = {
        "access_key": ALICE.access_key,
        "secret_access_key": ALICE.secret_key.reveal(),
        "region": "us-west-2",
    }
    document = sample()
    document["experiment"]["artifacts"]["workspace"] = {
        "qualified": f"s3://{seaweed_server.host}/{alice_bucket}/blobstore/ws.tar",
        "bucket": alice_bucket,
        "key": "blobstore/ws.tar",
        "mutable": False,
    }
    document["experiment"]["artifacts"]["output"] = {
        "qualified": f"s3://{seaweed_server.host}/{alice_bucket}/output.tar",
        "bucket": alice_bucket,
        "key": "output.tar",
        "mutable": True,
        "credentials": {"aws": keys},
    }
    document["config"]["storage"] = {
        "type": "s3",
        "endpoint": seaweed_server.endpoint,
        "bucket": alice_bucket,
        "credentials": {"aws": keys},
    }
    request = decoded(document)
    async with StorePool(StoreOptions()) as pool:

        async def store_for(artifact: Artifact) -> Store:
            return await pool.store_for(artifact, request, queue_broker="rabbitmq")

        workspace, output = (request.artifacts[label] for label in ("workspace", "output"))
        store = await store_for(workspace)
        assert store is await store_for(output)
        assert await store.read(workspace.location, everything) == b"workspace"
        await store.write(output.location, large)
    assert seaweed_server.get(alice_bucket, "output.tar")[-1] == 19


# ----------------------------------------------------------------------------- what it takes


class Impatient(S3Store):
    """A store that tries nothing again."""

    plan = Plan(patience=0.0)


def large(stream: BinaryIO) -> None:
    """Produce 20 MiB."""
    stream.writelines(bytes([number]) * (1 << 20) for number in range(20))


async def call(store: Store, method: str, location: Location) -> None:
    """Call a method of the store for an object."""
    if method == "stat":
        await store.stat(location)
    elif method == "read":
        await store.read(location, everything)
    else:
        await store.put_if(location, b"body", None)


def region_of(headers: dict[str, str]) -> str:
    """Return the region that a request is signed for."""
    found = re.search(r"Credential=[^/]+/\d+/([^/]+)/", headers["authorization"])
    assert found
    return found[1]


def regional(region: str) -> Says:
    """Return a server of one region, which tells others where it is, as Amazon's do."""

    def answer(method: str, _: str, headers: dict[str, str]) -> Canned:
        if region_of(headers) == region:
            told = {"ETag": '"5d41402abc4b2a76b9719d911017c592"'}
            return 200, told, b"" if method == "PUT" else b"hello"
        body = f"<Error><Code>AuthorizationHeaderMalformed</Code><Region>{region}</Region></Error>"
        told = {"x-amz-bucket-region": region} if method == "HEAD" else {}
        return 400, told, body.encode()

    return answer
