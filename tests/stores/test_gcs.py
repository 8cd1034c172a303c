"""Google Cloud Storage: the contract against a server of its API, and the rest against our own."""

from __future__ import annotations

import base64
import json
import traceback
import urllib.parse
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

import google_crc32c
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from runner.errors import StoreUnavailable
from runner.model import Credentials, Location
from runner.redaction import Secret
from runner.stores import STORES
from runner.stores.base import AccessDenied, Account, Checksum, Conflict, NotFound, StoreOptions
from runner.stores.gcs.client import GcsClient
from runner.stores.gcs.identity import NOBODY, identity_of
from runner.stores.gcs.store import GcsStore
from runner.stores.remote.client import Busy, Lasting
from tests.contracts.stores import StoreContract, everything
from tests.servers.fake_gcs import GcsServer
from tests.servers.web import Asked, Reply, WebServer

pytestmark = pytest.mark.anyio

real = pytest.mark.service("gcs")
OBJECT = Location("gs", "", "bucket", "key.tar")
BODY = b"the content"
TOKEN = "the-token-that-google-gave"
UNIT = GcsClient.part_unit


def opened(endpoint: str, account: Account | None = None, **options: object) -> GcsStore:
    """Make a store; nobody's, if no account is given."""
    found = account or Account("gs")
    made = Account("gs", endpoint, credentials=found.credentials, key_file=found.key_file)
    return GcsStore.for_account(made, StoreOptions(**options))  # type: ignore[arg-type]


def crc32c(body: bytes) -> str:
    """Compute the digest that Google tells."""
    return f"{google_crc32c.value(body):08x}"


def in_base64(body: bytes) -> str:
    """Compute the digest as it is sent."""
    return base64.b64encode(google_crc32c.value(body).to_bytes(4, "big")).decode()


def content(_: Asked) -> Reply:
    """Answer as Google does to whoever asks for the bytes of an object."""
    headers = {"X-Goog-Generation": "17", "X-Goog-Hash": f"crc32c={in_base64(BODY)},md5=?"}
    return Reply(headers=headers, body=BODY)


def error(status: int, message: str, reason: str = "", **headers: str) -> Reply:
    """Answer as Google refuses."""
    told = {"error": {"code": status, "message": message, "errors": [{"reason": reason}]}}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, {"Content-Type": "application/json", **named}, json.dumps(told).encode())


@contextmanager
def front(answer: Callable[[Asked], Reply]) -> Iterator[WebServer]:
    """Serve an API that answers to the test's liking, and gives tokens for keys."""

    def answered(asked: Asked) -> Reply:
        if asked.target == "/token":
            given = {"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"}
            return Reply(200, {"Content-Type": "application/json"}, json.dumps(given).encode())
        return answer(asked)

    with WebServer(answered).serving() as server:
        yield server


@pytest.fixture(scope="session")
def private_key() -> str:
    """Return a new private key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


@pytest.fixture
def key_file(tmp_path: Path, private_key: str) -> Callable[[str], Path]:
    """Return what makes a service account's key whose tokens come from a server."""

    def make(token_server: str) -> Path:
        path = tmp_path / "key.json"
        key = {
            "type": "service_account",
            "project_id": "project",
            "private_key_id": "id",
            "private_key": private_key,
            "client_email": "runner@project.iam.gserviceaccount.com",
            "token_uri": f"{token_server}/token",
        }
        path.write_text(json.dumps(key))
        return path

    return make


@pytest.fixture
async def store(gcs_server: GcsServer) -> AsyncIterator[GcsStore]:
    """Return a store of the real server."""
    async with opened(gcs_server.endpoint) as made:
        yield made


@real
class TestGcs(StoreContract):
    """The contract, with requests over the network."""

    @pytest.fixture
    def minds_conditions_of_parts(self) -> Collection[str]:
        """Google minds them with the last part; this server does not."""
        return ()

    @pytest.fixture
    async def store(self, gcs_server: GcsServer) -> AsyncIterator[GcsStore]:
        """Return a store."""
        async with opened(gcs_server.endpoint) as made:
            yield made

    @pytest.fixture
    async def other(self, gcs_server: GcsServer) -> AsyncIterator[GcsStore]:
        """Return a store with connections of its own."""
        async with opened(gcs_server.endpoint) as made:
            yield made

    @pytest.fixture
    def location(self, gcs_server: GcsServer, gcs_bucket: str) -> Location:
        """Return a key with what has to be quoted in it."""
        return gcs_server.location(gcs_bucket, "experiments/a b+c%d/ü?.tar")


# ------------------------------------------------------------------------- what Google tells


@real
async def test_version_and_checksum_are_googles(store: GcsStore, gcs_bucket: str) -> None:
    """The generation is the version, and the CRC-32C comes in hexadecimal."""
    location = GcsServer.location(gcs_bucket, "key")
    written = await store.put_if(location, BODY, None)
    found = await store.stat(location)
    assert found.version.isdecimal()
    assert found.checksum == written.checksum == Checksum("crc32c", crc32c(BODY))


@real
async def test_a_large_upload_has_a_checksum_too(store: GcsStore, gcs_bucket: str) -> None:
    """What came in parts is whole, and its digest is that of all parts."""
    location, piece = GcsServer.location(gcs_bucket, "large"), bytes(range(256)) * 4096

    def produce(stream: BinaryIO) -> None:
        stream.writelines(piece for _ in range(19))
        stream.write(b"the tail")

    info = await store.write(location, produce)
    assert info.checksum == Checksum("crc32c", crc32c(piece * 19 + b"the tail"))
    assert info.size == 19 * len(piece) + 8


@real
def test_a_range_is_of_one_generation(gcs_server: GcsServer, gcs_bucket: str) -> None:
    """An object that was replaced is a Conflict, never a mixture."""
    client = GcsClient(NOBODY, gcs_server.endpoint)
    location = gcs_server.location(gcs_bucket, "key")
    old = client.put(location, BODY)
    new = client.put(location, BODY)
    body = client.get(location, start=4, length=3, version=new.version)
    buffer = bytearray(10)
    assert (body.readinto(memoryview(buffer)), bytes(buffer[:3])) == (3, BODY[4:7])
    assert (body.info, body.end) == (new, 7)
    body.close()
    with pytest.raises(Conflict, match="replaced"):
        client.get(location, start=4, length=3, version=old.version)
    client.close()


@real
def test_an_aborted_upload_is_gone(gcs_server: GcsServer, gcs_bucket: str) -> None:
    """Nothing becomes visible, and aborting twice is no error."""
    client = GcsClient(NOBODY, gcs_server.endpoint)
    location = gcs_server.location(gcs_bucket, "key")
    upload = client.begin(location)
    client.put_part(location, upload, 1, b"x" * UNIT, start=0, last=False)
    assert client.abort(location, upload)
    assert client.abort(location, upload)
    assert gcs_server.keys(gcs_bucket) == []
    client.close()


@real
async def test_a_missing_bucket_is_named(store: GcsStore) -> None:
    """Whoever writes reads that it is the bucket that is not there."""
    location = Location("gs", "", "no-such-bucket", "key")
    with pytest.raises(NotFound, match="bucket 'no-such-bucket'"):
        await store.put_if(location, BODY, None)
    with pytest.raises(NotFound, match="no-such-bucket"):
        await store.stat(location)


async def test_a_version_of_another_store_is_a_conflict() -> None:
    """An ETag is no generation: the object is not the one that was known."""
    client = GcsClient(NOBODY, "http://127.0.0.1:1")
    with pytest.raises(Conflict):
        client.put(OBJECT, BODY, only_if='"etag"')
    client.close()


# ------------------------------------------------------------------------- resumable uploads


class Session:
    """A resumable upload as Google documents it; keeps ``keeps`` bytes of each request at most."""

    def __init__(self, keeps: int = 1 << 30) -> None:
        self.content = b""
        self.keeps = keeps
        self.hashes: list[str] = []
        self.is_corrupt = False

    def __call__(self, asked: Asked) -> Reply:
        """Begin, or take what comes; bytes that are there already are ignored."""
        if asked.method == "POST":
            return Reply(200, {"Location": f"http://{asked.headers['host']}/session?secret=1"})
        span, _, total = asked.headers["content-range"].removeprefix("bytes ").partition("/")
        if span != "*":
            start = int(span.partition("-")[0])
            fresh = asked.body[len(self.content) - start :]
            self.content += fresh if total != "*" else fresh[: self.keeps]
        if total != "*" and len(self.content) == int(total):
            self.hashes.append(asked.headers.get("x-goog-hash", ""))
            return self._finished()
        return Reply(308, {"Range": f"bytes=0-{len(self.content) - 1}"} if self.content else {})

    def _finished(self) -> Reply:
        digest = in_base64(b"else" if self.is_corrupt else self.content)
        resource = {
            "size": str(len(self.content)),
            "generation": "5",
            "crc32c": digest,
        }
        return Reply(200, {"Content-Type": "application/json"}, json.dumps(resource).encode())


def uploaded(server: WebServer, *parts: bytes, again: int = 0) -> str:
    """Upload parts in their order, part ``again`` twice; return the version."""
    client = GcsClient(NOBODY, server.url)
    try:
        upload, place = client.begin(OBJECT), 0
        for number, part in enumerate(parts, 1):
            send = partial(
                client.put_part,
                OBJECT,
                upload,
                number,
                part,
                start=place,
                last=number == len(parts),
            )
            send()
            if number == again:
                send()
            place += len(part)
        return client.complete(OBJECT, upload, [], size=place).version
    finally:
        client.close()


@pytest.mark.parametrize("again", [0, 1, 2, 3])
def test_a_part_may_be_sent_again(again: int) -> None:
    """An answer that was lost does no harm, and the digest sent is that of the whole."""
    session, parts = Session(), (b"a" * UNIT, b"b" * UNIT, b"tail")
    with front(session) as server:
        assert uploaded(server, *parts, again=again) == "5"
    assert session.content == b"".join(parts)
    assert set(session.hashes) == {f"crc32c={in_base64(b''.join(parts))}"}


async def test_the_condition_of_an_upload_holds_for_its_last_part() -> None:
    """Google notes it as the session begins, and minds it when the object is to appear."""
    begun = list[str]()
    session = Session()

    def answer(asked: Asked) -> Reply:
        if asked.method == "GET":
            resource = {"size": "6", "generation": "41", "crc32c": in_base64(b"before")}
            return Reply(200, {"Content-Type": "application/json"}, json.dumps(resource).encode())
        if asked.method == "POST":
            begun.append(asked.target)
        if asked.headers.get("content-range", "/*").endswith("/*"):
            return session(asked)
        return error(412, "At least one of the pre-conditions you specified did not hold.")

    def produce(stream: BinaryIO) -> None:
        stream.write(b"x" * (9 << 20))

    asked = list[int]()
    with front(answer) as server:
        async with opened(server.url) as store:
            with pytest.raises(StoreUnavailable, match="replaced by somebody else"):
                await store.write(OBJECT, produce, permitted=lambda: asked.append(len(begun)))
    assert [urllib.parse.parse_qs(one)["ifGenerationMatch"] for one in begun] == [["41"]]
    assert asked == [1]


def test_what_google_did_not_keep_is_sent_again() -> None:
    """Google may take less than was sent; the rest follows."""
    session, parts = Session(keeps=UNIT), (b"a" * 3 * UNIT, b"b" * 5)
    with front(session) as server:
        uploaded(server, *parts)
    assert session.content == b"".join(parts)


def test_google_keeping_nothing_is_unavailable() -> None:
    """No progress is an error that may pass, not a loop for ever."""
    with front(Session(keeps=0)) as server, pytest.raises(StoreUnavailable, match="0 bytes of"):
        uploaded(server, b"a" * UNIT, b"b")


def test_an_object_that_is_not_what_was_sent_is_damaged() -> None:
    """The digest in Google's answer is compared."""
    session = Session()
    session.is_corrupt = True
    with front(session) as server, pytest.raises(StoreUnavailable, match="damaged"):
        uploaded(server, b"content")


def test_no_error_shows_the_address_of_an_upload() -> None:
    """Whoever has it may write: it is a secret."""

    def answer(asked: Asked) -> Reply:
        return Session()(asked) if asked.method == "POST" else Reply(500, {}, b"no")

    with front(answer) as server, pytest.raises(StoreUnavailable) as caught:
        uploaded(server, b"content")
    assert "secret" not in str(caught.value)
    assert "gs://bucket/key.tar" in str(caught.value)


# ------------------------------------------------------------------------- as whom


async def read_by(server: WebServer, account: Account, **options: object) -> bytes:
    """Read the object as an account."""
    async with opened(server.url, account, **options) as made:
        return await made.read(OBJECT, everything)


def authorizations(server: WebServer) -> list[str | None]:
    """Return what the requests for the object brought."""
    return [one.headers["authorization"] for one in server.asked if one.target != "/token"]


async def test_nobody_reads_public_objects(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without an account no identity is searched, whatever the runner's environment has."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with front(content) as server:
        assert await read_by(server, Account("gs")) == BODY
        assert authorizations(server) == [None]


async def test_a_key_file_is_exchanged_for_a_token(key_file: Callable[[str], Path]) -> None:
    """The signed assertion goes to the token server of the file, once, and the token to Google."""
    with front(content) as server:
        account = Account("gs", key_file=key_file(server.url))
        async with opened(server.url, account) as made:
            for _ in range(3):
                assert await made.read(OBJECT, everything) == BODY
        assert authorizations(server) == [f"Bearer {TOKEN}"] * 3
        (asked,) = (one for one in server.asked if one.target == "/token")
        form = urllib.parse.parse_qs(asked.body.decode())
        assert form["assertion"][0].count(".") == 2


async def test_a_key_that_is_rotated_under_a_run_goes_on(
    key_file: Callable[[str], Path],
) -> None:
    """The old key is deleted while a store is held open: the file's new one gets the token."""
    valid = "id"

    def answer(asked: Asked) -> Reply:
        if asked.target == "/token":
            form = urllib.parse.parse_qs(asked.body.decode())
            head = form["assertion"][0].partition(".")[0]
            key = json.loads(base64.urlsafe_b64decode(head + "=="))["kid"]
            if key != valid:
                refusal = {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
                return Reply(
                    400, {"Content-Type": "application/json"}, json.dumps(refusal).encode()
                )
            given = {"access_token": f"of-{key}", "expires_in": 3600, "token_type": "Bearer"}
            return Reply(200, {"Content-Type": "application/json"}, json.dumps(given).encode())
        if asked.headers.get("authorization") != f"Bearer of-{valid}":
            return error(401, "Invalid Credentials", "authError")
        return content(asked)

    with WebServer(answer).serving() as server:
        path = key_file(server.url)
        async with opened(server.url, Account("gs", key_file=path)) as made:
            assert await made.read(OBJECT, everything) == BODY
            valid = "id2"
            written = path.read_text().replace('"private_key_id": "id"', '"private_key_id": "id2"')
            path.write_text(
                written[:100]
            )  # half a file is no key: the old one is tried, and denied
            with pytest.raises(AccessDenied, match="deleted or revoked"):
                await made.stat(OBJECT)
            path.write_text(written)
            assert await made.read(OBJECT, everything) == BODY


async def test_the_artifacts_token_is_used(key_file: Callable[[str], Path]) -> None:
    """What the message brings goes before the operator's key file."""
    with front(content) as server:
        own = Credentials(session_token=Secret("from-the-message"))
        account = Account("gs", credentials=own, key_file=key_file(server.url))
        assert await read_by(server, account) == BODY
        assert authorizations(server) == ["Bearer from-the-message"]


async def test_anonymous_access_is_no_key_file(key_file: Callable[[str], Path]) -> None:
    """Empty credentials ask for nobody's rights."""
    with front(content) as server:
        account = Account("gs", credentials=Credentials(), key_file=key_file(server.url))
        assert await read_by(server, account) == BODY
        assert authorizations(server) == [None]


async def test_the_machines_identity_only_where_it_is_allowed(
    monkeypatch: pytest.MonkeyPatch, key_file: Callable[[str], Path]
) -> None:
    """``--allow-own-credentials`` is what makes Google's own search happen."""
    with front(content) as server:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key_file(server.url)))
        await read_by(server, Account("gs"))
        await read_by(server, Account("gs"), allow_own_credentials=True)
        assert authorizations(server) == [None, f"Bearer {TOKEN}"]


async def test_an_expired_token_hides_no_public_object() -> None:
    """What everybody may read is read as nobody."""

    def answer(asked: Asked) -> Reply:
        if asked.headers["authorization"]:
            return error(401, "Invalid Credentials", "authError")
        return content(asked)

    account = Account("gs", credentials=Credentials(session_token=Secret("expired")))
    with front(answer) as server:
        assert await read_by(server, account) == BODY


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no json, private", "is no Google key file"),
        ("{}", "is no Google key file"),
        ("[]", "is no Google key file"),
        ('{"type": "external_account"}', "of the type 'external_account'"),
        ('{"type": "service_account", "private_key": "secret"}', "is damaged"),
    ],
)
def test_a_bad_key_file_is_named_and_not_shown(tmp_path: Path, text: str, said: str) -> None:
    """The operator reads which file and what to do, and the log has nothing of it."""
    path = tmp_path / "key.json"
    path.write_text(text)
    with pytest.raises(AccessDenied, match=said) as caught:
        identity_of(Account("gs", key_file=path), StoreOptions())
    assert str(path) in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "secret" not in "".join(traceback.format_exception(caught.value))


def test_a_missing_key_file_is_named(tmp_path: Path) -> None:
    """A file that is gone is said to be gone."""
    path = tmp_path / "gone.json"
    with pytest.raises(AccessDenied, match=r"gone\.json cannot be read: No such file"):
        identity_of(Account("gs", key_file=path), StoreOptions())


def test_access_keys_are_no_google_credentials() -> None:
    """S3 keys on a gs:// artifact: the sender reads what to write instead."""
    with pytest.raises(AccessDenied, match="take no access keys"):
        identity_of(Account("gs", credentials=Credentials("user", Secret("pw"))), StoreOptions())


@pytest.mark.parametrize(
    ("description", "kind", "said"),
    [
        ("Invalid JWT Signature.", AccessDenied, r"invalid_grant.*deleted or revoked"),
        (
            "Invalid JWT: Token must be in a reasonable timeframe. Check your iat and exp values.",
            Lasting,
            "clock is wrong",
        ),
    ],
)
async def test_what_the_token_server_refuses_has_a_name(
    key_file: Callable[[str], Path], description: str, kind: type[Exception], said: str
) -> None:
    """A revoked key is the operator's to replace; a wrong clock is no fault of the experiment."""

    def answer(_: Asked) -> Reply:
        told = {"error": "invalid_grant", "error_description": description}
        return Reply(400, {"Content-Type": "application/json"}, json.dumps(told).encode())

    with WebServer(answer).serving() as tokens, front(lambda _: error(401, "denied")) as server:
        account = Account("gs", key_file=key_file(tokens.url))
        with pytest.raises(kind, match=said):
            await read_by(server, account)


def test_no_token_goes_to_a_stranger(key_file: Callable[[str], Path]) -> None:
    """An endpoint that is neither Google's nor this machine is asked as nobody."""
    identity = identity_of(Account("gs", key_file=key_file("http://127.0.0.1:1")), StoreOptions())
    for endpoint, sees in (
        ("https://storage.example.com", False),
        ("http://storage.googleapis.com", False),
        ("https://evilgoogleapis.com", False),
        ("https://storage.googleapis.com", True),
        ("https://storage-mine.p.googleapis.com", True),
        ("http://127.0.0.1:4443", True),
    ):
        client = GcsClient(identity, endpoint)
        assert client._identity.is_nobody is not sees
        client.close()


def test_an_emulator_is_asked_without_any_token(
    monkeypatch: pytest.MonkeyPatch, key_file: Callable[[str], Path]
) -> None:
    """The SDK's own variable moves all requests, and the key stays at home."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://emulator.example.com:4443")
    identity = identity_of(Account("gs", key_file=key_file("http://127.0.0.1:1")), StoreOptions())
    client = GcsClient(identity)
    assert client._identity.is_nobody
    assert client._google.api_endpoint == "http://emulator.example.com:4443"
    client.close()


# ------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("reply", "kind", "said"),
    [
        (error(403, "no storage.objects.get access", "forbidden"), AccessDenied, "objects.get"),
        (error(401, "Anonymous caller", "required"), AccessDenied, "--google-store-credentials"),
        (error(404, "No such object: bucket/key.tar", "notFound"), NotFound, "gs://bucket/key.tar"),
        (error(404, "The specified bucket does not exist."), NotFound, "the bucket 'bucket'"),
        (error(400, "Bucket is a requester pays bucket"), AccessDenied, "requester pays"),
        (error(403, "kept", "retentionPolicyNotMet"), AccessDenied, "without such a rule"),
        (error(403, "under hold", "objectUnderActiveHold"), AccessDenied, "without such a rule"),
        (error(410, "Gone", "backendError"), Lasting, "upload"),
        (error(412, "conditionNotMet"), Conflict, "changed"),
        (error(503, "Backend Error"), StoreUnavailable, "503: Backend Error"),
        (error(403, "slow down", "userRateLimitExceeded"), StoreUnavailable, "slow down"),
        (error(429, "too many", retry_after="7"), Busy, "429"),
        (Reply(502, {}, b"<html><b>Bad</b> Gateway"), StoreUnavailable, "502: Bad Gateway"),
    ],
)
def test_refusals_have_names(reply: Reply, kind: type[Exception], said: str) -> None:
    """One table says who must act, for the SDK's calls and for ours."""
    with front(lambda _: reply) as server:
        client = GcsClient(NOBODY, server.url)
        for call in (
            partial(client.head, OBJECT),
            partial(client.get, OBJECT, start=0, length=5, version=None),
        ):
            with pytest.raises(kind, match=said) as caught:
                call()
            assert type(caught.value) is kind
            assert len(server.asked) == 1  # the SDK repeats nothing
            server.asked.clear()
        client.close()


def test_busy_says_when_to_come_back() -> None:
    """Retry-After reaches the engine."""
    with front(lambda _: error(429, "too many", retry_after="7")) as server:
        client = GcsClient(NOBODY, server.url)
        with pytest.raises(Busy) as caught:
            client.head(OBJECT)
        client.close()
    assert caught.value.after == 7


def test_an_upload_that_google_found_damaged_is_tried_again() -> None:
    """A digest that does not match is the network's fault, not the request's."""
    refused = error(400, "Provided CRC32C 1 doesn't match calculated CRC32C 2.", "invalid")
    with front(lambda _: refused) as server:
        client = GcsClient(NOBODY, server.url)
        with pytest.raises(StoreUnavailable, match="CRC32C"):
            client.put(OBJECT, BODY)
        client.close()


def test_nobody_listening_is_unavailable() -> None:
    """A refused connection and a name that means nothing may pass."""
    for endpoint in ("http://127.0.0.1:1", "https://no-such-host.invalid"):
        client = GcsClient(NOBODY, endpoint)
        with pytest.raises(StoreUnavailable, match=r"gs://bucket/key\.tar"):
            client.head(OBJECT)
        client.close()


@pytest.mark.parametrize("host", ["storage.googleapis.com", ""])
async def test_googles_own_host_may_be_written(host: str) -> None:
    """``gs://storage.googleapis.com/bucket/key`` is the same place."""
    with front(content) as server:
        async with opened(server.url) as made:
            location = Location("gs", host, "bucket", "key.tar")
            assert await made.read(location, everything) == BODY


async def test_another_host_is_refused() -> None:
    """A message does not choose where the key's tokens go."""
    with front(content) as server:
        async with opened(server.url) as made:
            with pytest.raises(AccessDenied, match="is not at Google"):
                await made.stat(Location("gs", "evil.example.com", "bucket", "key"))
        assert server.asked == []


async def test_what_is_stored_as_gzip_stays_as_it_is() -> None:
    """Google unpacks for those who do not take gzip, and then no digest is right."""
    with front(content) as server:
        await read_by(server, Account("gs"))
        assert server.asked[0].headers["accept-encoding"] == "gzip"


def test_the_registry_has_the_store() -> None:
    """``gs`` is what artifacts say."""
    assert STORES.load("gs") is GcsStore
