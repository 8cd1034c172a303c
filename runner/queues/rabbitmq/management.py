"""The management interface, asked for what AMQP does not tell: who is bound, and dead letters."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec
import urllib3

from runner import blocking, wires
from runner.errors import QueueDenied, QueueUnavailable
from runner.queues.rabbitmq.account import Account

#: What StudioML clients bind their queues to, and the beginning of their keys.
EXCHANGE, KEYS = "StudioML.topic", "StudioML."

_OK, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 200, 401, 403, 404
_LONGEST_ANSWER = 64 << 20
_LIMIT = blocking.Limit(4)


class Management:
    """Asks as one user; usable from any event loop. Raises QueueUnavailable, QueueDenied."""

    def __init__(self, account: Account, *, timeout: float) -> None:
        self._account = account
        self._timeout = timeout
        self._pool: urllib3.PoolManager | None = None

    async def bound(self) -> frozenset[str]:
        """Return the queues that are bound to StudioML's exchange."""
        # An exchange that is not there is one that nobody is bound to: it goes with its last queue.
        found = await self._get("exchanges", EXCHANGE, "/bindings/source") or []
        return frozenset(
            str(binding["destination"])
            for binding in found
            if binding.get("destination_type") == "queue"
            and str(binding.get("routing_key", "")).startswith(KEYS)
        )

    async def dead_letters_of(self, queue: str) -> tuple[str, str] | None:
        """Return exchange and routing key that the owner has set for dead letters, if any."""
        found = await self._get("queues", queue)
        if not isinstance(found, dict):
            return None
        arguments = found.get("arguments") or {}
        policy = found.get("effective_policy_definition") or {}
        exchange = arguments.get("x-dead-letter-exchange", policy.get("dead-letter-exchange"))
        if exchange is None:
            return None
        key = arguments.get("x-dead-letter-routing-key", policy.get("dead-letter-routing-key"))
        return str(exchange), str(key) if key else f"{KEYS}{queue}"

    def close(self) -> None:
        """Close idle connections."""
        if self._pool is not None:
            wires.close(self._pool)

    async def _get(self, kind: str, name: str, what: str = "") -> Any:
        virtual_host = quote(self._account.virtual_host, safe="")
        path = f"{kind}/{virtual_host}/{quote(name, safe='')}{what}"
        return await blocking.call(lambda _: self._ask(path), limit=_LIMIT)

    def _ask(self, path: str) -> Any:
        account = self._account
        url = f"{account.management}/api/{path}"
        login = f"{account.management_user}:{account.management_password.reveal()}"
        try:
            answer = self._open().request(
                "GET",
                url,
                headers=urllib3.make_headers(basic_auth=login),
                redirect=False,
                preload_content=False,
            )
            body = answer.read(_LONGEST_ANSWER, decode_content=True)
            answer.release_conn()
        except urllib3.exceptions.HTTPError as error:
            raise QueueUnavailable(
                f"the management interface {account.management} of {account.server} does not "
                f"answer: {_reason(error)}; name queues with --queue to do without it"
            ) from error
        if answer.status == _NOT_FOUND:
            return None
        self._check(answer.status, body)
        try:
            return msgspec.json.decode(body)
        except msgspec.DecodeError as error:
            raise QueueUnavailable(
                f"{account.management} is no management interface of RabbitMQ: {error}"
            ) from error

    def _check(self, status: int, body: bytes) -> None:
        account = self._account
        if status in {_UNAUTHORIZED, _FORBIDDEN}:
            raise QueueDenied(
                f"the management interface {account.management} refuses the user "
                f"{account.management_user!r} ({_said(body)}): it needs the tag 'management' "
                f"and rights on the virtual host {account.virtual_host!r}; "
                "or name queues with --queue, for which nobody has to be asked"
            )
        if status != _OK:
            raise QueueUnavailable(
                f"the management interface {account.management} answers {status}: {_said(body)}"
            )

    def _open(self) -> urllib3.PoolManager:
        if self._pool is None:
            secure = self._account.management.startswith("https:")
            self._pool = urllib3.PoolManager(
                timeout=urllib3.Timeout(self._timeout, connect=self._timeout, read=self._timeout),
                retries=urllib3.Retry(0, redirect=False),
                maxsize=4,
                ssl_context=self._account.tls() if secure else None,
            )
        return self._pool


def _said(body: bytes) -> str:
    """Return the broker's reason, or the beginning of whatever it is."""
    try:
        found = msgspec.json.decode(body)
        return str(found["reason"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return body[:200].decode("ascii", "replace") or "nothing said"


def _reason(error: urllib3.exceptions.HTTPError) -> str:
    inner = getattr(error, "reason", None) or error
    return f"{type(inner).__name__}: {inner}"[:300]
