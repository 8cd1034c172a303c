"""What an AMQP credential says: where the broker is, who we are, where its management answers."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote, urlsplit

from yarl import URL

from runner.errors import Misconfigured, QueueUnavailable
from runner.queues.addresses import server_of
from runner.queues.credential import AmqpCredential
from runner.redaction import Secret

_PORTS = {"amqp": 5672, "amqps": 5671}
#: Where the management interface listens beside a broker at a port that was written down.
_BESIDE = 10_000
#: Seconds between two heartbeats; the broker gives up on us after two that are missing.
HEARTBEAT = 20


@dataclass(frozen=True, slots=True)
class Account:
    """A user of one virtual host."""

    #: ``amqp[s]://HOST:PORT/VHOST``, one text for one virtual host.
    server: str
    host: str
    port: int
    virtual_host: str
    user: str
    password: Secret
    #: Speaks TLS, and so does the management interface unless its URL says otherwise.
    is_secure: bool
    #: ``http[s]://HOST:PORT[/PREFIX]``.
    management: str
    management_user: str
    management_password: Secret
    ca: Path | None = field(default=None)

    def url(self) -> URL:
        """Return what the SDK takes: it reads user, password and options from a URL."""
        return URL.build(
            scheme="amqps" if self.is_secure else "amqp",
            user=self.user,
            password=self.password.reveal(),
            host=self.host,
            port=self.port,
            query={"heartbeat": str(HEARTBEAT)},
        )

    def tls(self) -> ssl.SSLContext:
        """Make a context for the broker and its management. Raises QueueUnavailable."""
        try:
            return ssl.create_default_context(cafile=self.ca)
        except OSError as error:
            raise QueueUnavailable(
                f"the authorities for {self.server} in {self.ca} cannot be used: {error}"
            ) from error

    def address_of(self, queue: str) -> str:
        """Say which queue of the world it is."""
        return f"{self.server}?{quote(queue, safe='')}"


def account_of(credential: AmqpCredential) -> Account:
    """Read a credential (protocol section 3.4). Raises Misconfigured, which shows no password.

    The user of the management interface is the one in its URL, or the broker's own.
    """
    try:
        server = server_of(credential.url.reveal())
        parts = urlsplit(credential.url.reveal())
        management = _management(credential)
    except ValueError:
        raise Misconfigured(
            f"{credential.origin} is no URL of a RabbitMQ broker: "
            "write amqp[s]://USER:PASSWORD@HOST[:PORT]/VHOST, and http[s]://HOST:PORT for its "
            "management interface"
        ) from None
    user, password = _login(parts.netloc) or ("guest", "guest")
    over_there = _login(management.netloc) or (user, password)
    return Account(
        server=server,
        host=parts.hostname or "",
        port=parts.port or _PORTS[parts.scheme],
        virtual_host=unquote(parts.path[1:]) or "/",
        user=user,
        password=Secret(password),
        is_secure=parts.scheme == "amqps",
        management=f"{management.scheme}://{management.netloc.rpartition('@')[2]}"
        + management.path.rstrip("/"),
        management_user=over_there[0],
        management_password=Secret(over_there[1]),
        ca=credential.ca,
    )


def _management(credential: AmqpCredential) -> SplitResult:
    """Return the URL that was given, or the one that belongs to the broker's."""
    if credential.management_url:
        given = urlsplit(credential.management_url.reveal())
        if given.scheme not in {"http", "https"} or not given.hostname:
            raise ValueError
        return given
    parts = urlsplit(credential.url.reveal())
    scheme = "https" if parts.scheme == "amqps" else "http"
    port = (parts.port or _PORTS[parts.scheme]) + _BESIDE
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return urlsplit(f"{scheme}://{host}:{port}")


def _login(netloc: str) -> tuple[str, str] | None:
    login, at, _ = netloc.rpartition("@")
    if not at:
        return None
    user, _, password = login.partition(":")
    return unquote(user), unquote(password)
