"""One credential's client: calls that can be cut, long polls on connections of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import urllib3
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError, NameResolutionError

from runner.blocking import Interrupted, Stop
from runner.errors import QueueUnavailable
from runner.queues.credential import AwsCredential
from runner.queues.sqs.identity import make_client
from runner.queues.sqs.pools import CONNECT, pool
from runner.queues.sqs.trouble import Asked, translated, without_keys
from runner.wires import Wire, close

#: Connections that are kept for the next call; polls have one each, as long as they are open.
CALLS, POLLS = 16, 1000
#: What an answer to a poll may take beyond the time that the poll waits.
_BEYOND = 10.0
_OK = 200


class Client:
    """botocore's client with our own connections; every method blocks, from any thread.

    Made at the first call. Retired, it closes as soon as nobody is using it.
    """

    def __init__(self, credential: AwsCredential, timeout: float) -> None:
        """``timeout``: seconds for the answer of one call."""
        self.credential = credential
        self._timeout = timeout
        self._changing = threading.Lock()
        self._making = threading.Lock()
        self._users = 0
        self._is_retired = False
        self._sdk: Any = None
        self._close_more: Callable[[], None] = lambda: None
        self._pools: tuple[urllib3.PoolManager, urllib3.PoolManager] | None = None
        self._here = threading.local()

    @contextmanager
    def used(self) -> Iterator[None]:
        """Keep it open during the block."""
        with self._changing:
            self._users += 1
        try:
            yield
        finally:
            with self._changing:
                self._users -= 1
            self._close_when_done()

    def retire(self) -> None:
        """Close after the last call that is under way; what comes later is closed after itself."""
        with self._changing:
            self._is_retired = True
        self._close_when_done()

    def call(
        self, stop: Stop, operation: str, asked: Mapping[str, Any], wait: int | None = None
    ) -> dict[str, Any]:
        """Make one call; ``wait``: it is a poll that the service answers after so many seconds.

        Raises QueueUnavailable and its kin, LeaseLost, Unsupported; Interrupted when stopped.
        """
        queue = str(asked.get("QueueUrl") or asked.get("QueueName") or "")
        what = Asked(operation, self.credential.origin, self.credential.region, queue)
        try:
            with Wire.of(stop) as wire:
                return self._call(wire, operation, asked, wait)
        except (ClientError, BotoCoreError) as error:
            raise translated(what, error) from error
        except (HTTPError, ResponseParserError) as error:
            raise QueueUnavailable(f"{what.action} in {what.region}: {_reason(error)}") from error
        except (OSError, RuntimeError) as error:
            if (found := without_keys(what, error)) is None:
                raise
            raise found from error

    def _call(
        self, wire: Wire, operation: str, asked: Mapping[str, Any], wait: int | None
    ) -> dict[str, Any]:
        sdk = self._made()
        self._here.wire = wire
        self._here.wait = wait
        answer: dict[str, Any] = getattr(sdk, operation)(**asked)
        return answer

    def _made(self) -> Any:
        with self._making:
            if self._sdk is None:
                sdk, self._close_more = self._new()
                endpoint = sdk.meta.endpoint_url
                self._pools = pool(endpoint, CALLS), pool(endpoint, POLLS)
                sdk.meta.events.register("before-send.sqs", self._send)
                self._sdk = sdk
            return self._sdk

    def _new(self) -> tuple[Any, Callable[[], None]]:
        try:
            return make_client(self.credential, self._timeout)
        except ValueError as error:
            origin, endpoint = self.credential.origin, self.credential.endpoint
            raise QueueUnavailable(
                f"{origin}: endpoint_url {endpoint!r} cannot be used: {error}"
            ) from error

    def _send(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        """Send in botocore's place, which takes what a handler returns for the answer."""
        wire: Wire = self._here.wire
        wait: int | None = self._here.wait
        try:
            return self._sent(request, wait)
        except HTTPError:
            if wire.is_cut:
                raise Interrupted from None
            raise

    def _sent(self, request: AWSPreparedRequest, wait: int | None) -> AWSResponse:
        calls, polls = self._pools or (None, None)
        connections = calls if wait is None else polls
        if connections is None:
            raise QueueUnavailable("the client is closed")
        read = self._timeout if wait is None else wait + _BEYOND
        answer = connections.urlopen(
            request.method,
            request.url,
            body=request.body,
            headers={name: _text(value) for name, value in request.headers.items()},
            timeout=urllib3.Timeout(connect=CONNECT, read=read),
            preload_content=False,
            redirect=False,
        )
        headers: Any = answer.headers
        made = AWSResponse(request.url, answer.status, headers, answer)
        try:
            made.content  # noqa: B018 - read, and kept
        except BaseException:
            answer.close()
            raise
        answer.release_conn()
        if answer.status == _OK and made.content[:1] not in {b"", b"{"}:
            raise QueueUnavailable(
                f"{request.url} answers, but not as SQS does: {made.content[:60]!r}"
            )
        return made

    def _close_when_done(self) -> None:
        with self._changing:
            if self._users or not self._is_retired:
                return
            sdk, pools = self._sdk, self._pools
            self._sdk = self._pools = None
        for one in pools or ():
            close(one)
        if sdk is not None:
            sdk.close()
            self._close_more()


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    if isinstance(reason, NameResolutionError):
        return f"{reason}; check the region, and whether this machine can resolve names"
    return str(reason)
