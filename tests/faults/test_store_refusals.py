"""Stores that say no, or that nobody hears: whose fault it is, and what to do about it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from runner.errors import RunnerError, StoreUnavailable
from runner.model import Credentials
from runner.redaction import Secret
from runner.stores.base import AccessDenied, NotFound, Store, StoreOptions
from tests.faults.stage import BACKENDS, Producer, Stage, content, everything, staged
from tests.servers.certificates import self_signed
from tests.servers.faults import Alter, Fault, Refuse, s3_error
from tests.servers.proxy import Proxy
from tests.servers.s3 import S3Server
from tests.servers.seaweed import ADMIN, READER

pytestmark = [pytest.mark.anyio, pytest.mark.service("s3")]

SMALL = content(100_000)
WRONG_SECRET = replace(ADMIN, secret_key=Secret("not-the-secret-key"))
STRANGER = Credentials("stranger-access-key", Secret("stranger-secret-key"))


@pytest.fixture(params=BACKENDS)
def stage(request: pytest.FixtureRequest, seaweed_server: S3Server) -> Iterator[Stage]:
    """Return a bucket with one small object, called ``key``."""
    with staged(request.param, seaweed_server) as stage:
        stage.server.put(stage.bucket, "key", SMALL)
        yield stage


Act = Callable[[Store, Stage], Awaitable[object]]
ACTS: dict[str, Act] = {
    "stat": lambda store, stage: store.stat(stage.location("key")),
    "read": lambda store, stage: store.read(stage.location("key"), everything),
    "write": lambda store, stage: store.write(stage.location("key"), Producer(SMALL)),
    "put_if": lambda store, stage: store.put_if(stage.location("key"), b"x", None),
    "delete": lambda store, stage: store.delete(stage.location("key")),
}


async def refused(
    stage: Stage,
    act: str,
    kind: type[RunnerError],
    by: Credentials | None = None,
    *,
    endpoint: str = "",
) -> str:
    """Act, and return the sentence of the one kind of error that must come of it."""
    async with stage.store(by, endpoint=endpoint) as store:
        with pytest.raises(kind) as raised:
            await ACTS[act](store, stage)
    assert type(raised.value).__module__.startswith("runner.")
    assert ADMIN.secret_key.reveal() not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("who", ["wrong secret", "stranger"])
async def test_keys_that_are_wrong_are_denied(stage: Stage, act: str, who: str) -> None:
    """At once, by the object's name, and without another try."""
    by = WRONG_SECRET if who == "wrong secret" else STRANGER
    sentence = await refused(stage, act, AccessDenied, by)
    assert "key" in sentence
    assert len(stage.proxy.exchanges) <= 4
    assert stage.server.get(stage.bucket, "key") == SMALL


@pytest.mark.parametrize("act", ["stat", "read", "write", "put_if", "delete"])
async def test_keys_without_the_right_are_denied(stage: Stage, act: str) -> None:
    """A reader of other buckets may do nothing here."""
    await refused(stage, act, AccessDenied, READER)
    assert stage.server.get(stage.bucket, "key") == SMALL


@pytest.mark.parametrize("act", ["stat", "read"])
async def test_a_missing_bucket_is_named(stage: Stage, act: str) -> None:
    """It is not the object that is looked for in vain."""
    elsewhere = replace(stage, bucket="no-such-bucket")
    assert "no-such-bucket" in await refused(elsewhere, act, NotFound)


#: What the store says, and words that the sentence has where there is a body to say it in.
DENIALS: dict[str, tuple[Fault, str]] = {
    "expired": (s3_error("ExpiredToken", 400, "The provided token has expired."), "expired"),
    "invalid": (s3_error("InvalidToken", 400, "The token is malformed."), "token"),
    "unknown-key": (s3_error("InvalidAccessKeyId", 403, "No such key in our records."), "key"),
    "disabled": (s3_error("AccountProblem", 403, "There is a problem."), "problem"),
    "region": (
        s3_error("AuthorizationHeaderMalformed", 400, "the region 'x' is wrong; expecting 'y'"),
        "region",
    ),
    "elsewhere": (
        s3_error("PermanentRedirect", 301, "use another endpoint", x_amz_bucket_region="y-1"),
        "region",
    ),
}


@pytest.mark.parametrize("act", ["stat", "read", "write"])
@pytest.mark.parametrize("denial", DENIALS)
async def test_what_no_second_try_mends_is_denied(stage: Stage, act: str, denial: str) -> None:
    """Expired tokens, disabled accounts, wrong regions: not repeated, and said so."""
    fault, word = DENIALS[denial]
    stage.proxy.inject(fault, path="/key", times=None)
    sentence = await refused(stage, act, AccessDenied)
    assert len(stage.proxy.asked(path="/key")) <= 8
    if act != "stat":  # an answer to HEAD has no words
        assert word in sentence.lower()


@pytest.mark.parametrize("act", ["stat", "read", "write"])
async def test_a_clock_that_is_wrong_is_nobodys_missing_right(stage: Stage, act: str) -> None:
    """The runner's clock is the operator's business: the experiment waits."""
    skewed = s3_error(
        "RequestTimeTooSkewed",
        403,
        "The difference between the request time and the current time is too large.",
        date="Thu, 01 Jan 2015 00:00:00 GMT",
    )
    stage.proxy.inject(skewed, path="/key", times=None)
    assert "clock" in (await refused(stage, act, StoreUnavailable)).lower()


async def test_a_server_whose_clock_is_wrong_is_used(stage: Stage) -> None:
    """It takes our signatures: its ``Date`` is its own business."""
    stage.proxy.inject(Alter({"date": "Thu, 01 Jan 2015 00:00:00 GMT"}), times=None)
    async with stage.store() as store:
        assert await store.read(stage.location("key"), everything) == SMALL


TROUBLES: dict[str, Fault] = {
    "a-proxy's-page": Refuse(502, {"Content-Type": "text/html"}, b"<html>Bad Gateway</html>"),
    "no-words": Refuse(500),
    "throttled": Refuse(429, {}, b"slow down"),
    "timeout": s3_error("RequestTimeout", 400, "Your socket connection was not read from."),
    "maintenance": s3_error("ServiceUnavailable", 503),
}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("trouble", TROUBLES)
async def test_trouble_of_the_store_is_tried_again_and_then_unavailable(
    stage: Stage, act: str, trouble: str
) -> None:
    """One storm is weathered, an endless one is the store's fault."""
    stage.proxy.inject(TROUBLES[trouble], path="/key", times=2)
    async with stage.store() as store:
        if (act, trouble) != ("stat", "timeout") and act != "put_if":
            await ACTS[act](store, stage)
    stage.proxy.clear()
    stage.proxy.inject(TROUBLES[trouble], path="/key", times=None)
    if (act, trouble) != ("stat", "timeout"):  # 400 without words: it is the request
        await refused(stage, act, StoreUnavailable)


@pytest.mark.parametrize("act", ACTS)
async def test_nobody_at_the_address(stage: Stage, act: str) -> None:
    """Refused connections: the store is unavailable."""
    stage.proxy.down()
    sentence = await refused(stage, act, StoreUnavailable)
    assert any(word in sentence.lower() for word in ("refused", "reach", "connect")), sentence


async def test_a_name_that_nobody_knows(stage: Stage) -> None:
    """The sentence names the host."""
    endpoint = "http://no-such-host.invalid:9000"
    sentence = await refused(stage, "stat", StoreUnavailable, endpoint=endpoint)
    assert "no-such-host.invalid" in sentence


@contextmanager
def secured(stage: Stage, folder: Path) -> Iterator[tuple[Stage, Path]]:
    """Have the same bucket behind TLS, and the authority that vouches for it."""
    context, authority = self_signed(folder)
    with Proxy(("127.0.0.1", stage.server.port), tls=context) as proxy:
        yield replace(stage, proxy=proxy), authority


@pytest.mark.parametrize("act", ACTS)
async def test_a_certificate_nobody_trusts(stage: Stage, tmp_path: Path, act: str) -> None:
    """No second try, and the option that helps; nothing was said to the stranger."""
    with secured(stage, tmp_path) as (behind, _):
        sentence = await refused(behind, act, StoreUnavailable)
        assert "certificate" in sentence
        assert "--s3-ca" in sentence
        assert behind.proxy.exchanges == []


async def test_a_certificate_the_operator_trusts(stage: Stage, tmp_path: Path) -> None:
    """With ``--s3-ca`` all is as without TLS."""
    with secured(stage, tmp_path) as (behind, authority):
        trusting = replace(behind, options=StoreOptions(s3_ca=authority))
        async with trusting.store() as store:
            body = content(20 << 20)
            await store.write(trusting.location("key"), Producer(body))
            assert await store.read(trusting.location("key"), everything) == body


async def test_clear_text_where_tls_is_expected(stage: Stage) -> None:
    """The store's port speaks no TLS: unavailable, and nothing of the keys was sent."""
    with Proxy(("127.0.0.1", stage.server.port)) as proxy:
        behind = replace(stage, proxy=proxy)
        endpoint = proxy.url.replace("http:", "https:")
        await refused(behind, "stat", StoreUnavailable, endpoint=endpoint)
        assert proxy.exchanges == []
