"""The connections of the SQS broker: whom they trust, which way they go, and that they end."""

from __future__ import annotations

import threading
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from runner.errors import QueueUnavailable
from tests.queues.sqs_case import sqs_broker
from tests.servers.certificates import self_signed
from tests.servers.moto_sqs import credential
from tests.servers.web import Asked, Reply, WebServer

pytestmark = pytest.mark.anyio

PATIENCE = 60.0
NOTHING = Reply(200, {}, b"{}")


async def test_an_authority_of_ones_own_is_trusted_where_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``AWS_CA_BUNDLE``, as all AWS tools read it; nobody else is trusted."""
    context, authority = self_signed(tmp_path)
    with WebServer(lambda _: NOTHING, context).serving() as server:
        own = credential(server.url)
        async with sqs_broker(own, tmp_path) as broker:
            with pytest.raises(QueueUnavailable, match="certificate"):
                await anext(broker.discover())
        monkeypatch.setenv("AWS_CA_BUNDLE", str(authority))
        async with sqs_broker(own, tmp_path) as broker:
            assert await anext(broker.discover()) == frozenset()


async def test_an_authority_that_cannot_be_read_is_an_outage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence names the file."""
    missing = str(tmp_path / "missing.pem")
    monkeypatch.setenv("AWS_CA_BUNDLE", missing)
    async with sqs_broker(credential("https://127.0.0.1:1"), tmp_path) as broker:
        with pytest.raises(QueueUnavailable, match=r"missing\.pem"):
            await anext(broker.discover())


@pytest.mark.parametrize("endpoint", ["junk", "ftp://x", "http://", "http://a b/"])
async def test_an_endpoint_that_is_none_is_said(tmp_path: Path, endpoint: str) -> None:
    """It comes from a file that somebody dropped, and stops nobody else."""
    async with sqs_broker(credential(endpoint), tmp_path) as broker:
        with pytest.raises(QueueUnavailable):
            await anext(broker.discover())


async def test_a_proxy_is_used_where_the_environment_names_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not for the hosts that it excepts."""
    asked: list[str] = []

    def answer(one: Asked) -> Reply:
        asked.append(one.target)
        return NOTHING

    with WebServer(answer).serving() as server:
        monkeypatch.setenv("http_proxy", server.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        for endpoint in ("http://sqs.example.invalid", server.url):
            async with sqs_broker(credential(endpoint), tmp_path) as broker:
                await anext(broker.discover())
    assert asked == ["http://sqs.example.invalid/", "/"]


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_call_that_hangs_ends_with_its_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """Its connection is cut, in clear text and over TLS, long before any timeout."""
    context, authority = self_signed(tmp_path)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(authority))
    goes_on, hangs = threading.Event(), threading.Event()

    def answer(_: Asked) -> Reply:
        hangs.set()
        goes_on.wait(PATIENCE)
        return NOTHING

    with WebServer(answer, context if scheme == "https" else None).serving() as server:
        try:
            async with (
                sqs_broker(credential(server.url), tmp_path, timeout=3600) as broker,
                anyio.create_task_group() as group,
            ):
                group.start_soon(broker.exists, "sqs_a")
                await anyio.to_thread.run_sync(hangs.wait, PATIENCE)
                group.cancel_scope.cancel()
        finally:
            goes_on.set()
