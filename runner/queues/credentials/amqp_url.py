"""RabbitMQ credentials: a small file, or an option, that holds a broker's URL."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from runner.queues.addresses import server_of
from runner.queues.credential import AmqpCredential
from runner.queues.credentials.finding import BadCredential, Found, marked
from runner.redaction import Secret

_FORM = "amqp://USER:PASSWORD@HOST:PORT/VHOST, special characters percent-encoded"


def read(
    url: str,
    origin: str,
    *,
    management_url: str = "",
    authorities: tuple[str, str] | None = None,
    files: frozenset[str] = frozenset(),
) -> Found:
    """Return the credential of a URL; ``authorities``: path and text of a PEM file.

    Raises BadCredential, which shows nothing of the URL.
    """
    try:
        scope = server_of(url)
        parts = urlsplit(url)
        login = (parts.username, parts.password)
    except ValueError:
        raise BadCredential(f"has no broker's URL: write {_FORM}") from None
    if not all(login):
        raise BadCredential(f"has a URL without user or password: write {_FORM}")
    passwords = _passwords(url)
    if management_url:
        passwords += _management(management_url)
    credential = AmqpCredential(
        broker="rabbitmq",
        scope=scope,
        origin=origin,
        fingerprint="",
        url=Secret(url),
        management_url=Secret(management_url),
        ca=Path(authorities[0]) if authorities else None,
    )
    secrets = tuple(Secret(one) for one in dict.fromkeys(passwords))
    return Found(marked(credential, authorities[1] if authorities else ""), secrets, files)


def lines_of(text: str) -> list[str]:
    """Return the lines that say something."""
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _management(url: str) -> list[str]:
    try:
        parts = urlsplit(url)
        is_one = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        is_one = False
    if not is_one:
        raise BadCredential(
            "has a management URL that is none: write http[s]://[USER:PASSWORD@]HOST:PORT"
        )
    return _passwords(url)


def _passwords(url: str) -> list[str]:
    password = urlsplit(url).password or ""
    return [one for one in (password, unquote(password)) if one]
