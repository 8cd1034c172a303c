"""Queues of ours beside the source, and what a message looks like in them. Pure.

A message that is held lies in a parking queue of its own, whose time to live is the lease and which
sends what is older back to the source. One that is released with a delay lies in a queue of that
delay, which does the same.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pamqp.commands import Basic
from pamqp.header import ContentHeader

from runner.request.trace import TRACEPARENT

PREFIX = "studio-runner."
#: How often the message was handed out, in all; what the broker itself counts, it soon forgets.
RECEIVES = f"{PREFIX}receives"
#: Properties of the original that would do something to a copy.
ASIDE = f"{PREFIX}aside"
REASON = f"{PREFIX}reason"

#: Milliseconds that a queue of ours outlives its last message.
_AFTERGLOW = 60_000
#: Milliseconds, about three weeks: more than that RabbitMQ takes for no time at all.
_LONGEST = 2_000_000_000
_LONGEST_NAME = 120
_MILLISECOND = timedelta(milliseconds=1)
_MOST_RECEIVES = 1_000_000
_HELD = re.compile(r"studio-runner\.held\.(\d{1,10})\.(.+)\.([0-9a-f]{16})", re.DOTALL)
_PLAIN_ID = re.compile(r"[!-~]{1,128}")
#: Make the broker send copies elsewhere.
_ROUTES = ("CC", "BCC")
_PERSISTENT = 2
_NUMBER = f"{PREFIX}number"
_DELIVERIES = "x-delivery-count"
#: Say something about one copy, or about one queue's handling of it.
_OF_ONE_COPY = frozenset({_NUMBER, _DELIVERIES})


def place_for(source: str, lease: timedelta) -> str:
    """Return the name of a parking queue that nobody has; it tells its lease."""
    return f"{PREFIX}held.{_milliseconds(lease)}.{_short(source)}.{secrets.token_hex(8)}"


def lease_of(place: str, source: str) -> timedelta | None:
    """Return the lease of a parking queue; ``None`` for what is none of this source's."""
    found = _HELD.fullmatch(place)
    if found is None or found[2] != _short(source):
        return None
    return timedelta(milliseconds=int(found[1]))


def waiting_room(source: str, delay: timedelta) -> str:
    """Return the name of the queue for this delay; all runners use the same."""
    return f"{PREFIX}later.{_milliseconds(delay)}.{_short(source)}"


def returning_to(source: str, after: timedelta) -> Mapping[str, Any]:
    """Return the arguments of a queue that sends everything back to ``source`` ``after`` a time.

    It goes away by itself, and only when its last message has left.
    """
    milliseconds = _milliseconds(after)
    return {
        "x-queue-type": "classic",
        "x-message-ttl": milliseconds,
        "x-expires": milliseconds + _AFTERGLOW,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": source,
    }


def id_of(properties: Basic.Properties, body: bytes) -> str:
    """Return the message's own id, or one made of what it is: StudioML clients give none.

    Two messages without an id that are the same in every byte have the same.
    """
    found = properties.message_id or ""
    if _PLAIN_ID.fullmatch(found):
        return found
    return hashlib.sha256(f"{found}\0{properties.timestamp}\0".encode() + body).hexdigest()[:32]


def receives_of(properties: Basic.Properties) -> int:
    """Return how often the message was handed out before."""
    return min(max(_number(properties, RECEIVES), 0), _MOST_RECEIVES)


def deliveries_of(properties: Basic.Properties) -> int:
    """Return how often a quorum queue has handed out the message before, without our doing."""
    return min(max(_number(properties, _DELIVERIES), 0), _MOST_RECEIVES)


def number_of(properties: Basic.Properties) -> int:
    """Return which of the copies this is."""
    return _number(properties, _NUMBER)


def copy_of(
    properties: Basic.Properties, message_id: str, receives: int, **further: str | int
) -> Basic.Properties:
    """Return the properties of a copy: the original's, but for what would have an effect.

    ``expiration`` would end the copy, ``user_id`` must be the publisher's own, ``CC`` and ``BCC``
    would multiply it: they are kept in a header. The broker's history of our own queues is dropped,
    and so is everything where something cannot be written: a body is never held up by it.
    """
    headers = {k: v for k, v in (properties.headers or {}).items() if k not in _OF_ONE_COPY}
    if str(headers.get("x-first-death-queue", "")).startswith(PREFIX):
        headers = {name: value for name, value in headers.items() if not _is_death(name)}
    aside = dict(_table(headers.pop(ASIDE, None)))
    aside |= {name: headers.pop(name) for name in _ROUTES if name in headers}
    effective = {"expiration": properties.expiration, "user_id": properties.user_id}
    aside |= {name: value for name, value in effective.items() if value}
    if aside:
        headers[ASIDE] = aside
    ours = {RECEIVES: receives} | {f"{PREFIX}{name}": value for name, value in further.items()}
    copied = Basic.Properties(
        content_type=properties.content_type,
        content_encoding=properties.content_encoding,
        headers=_writable(headers) | ours,
        delivery_mode=properties.delivery_mode,
        priority=properties.priority,
        correlation_id=properties.correlation_id,
        reply_to=properties.reply_to,
        message_id=message_id,
        timestamp=properties.timestamp,
        message_type=properties.message_type,
        app_id=properties.app_id,
    )
    if _can_be_written(copied):
        return copied
    return Basic.Properties(headers={**ours}, delivery_mode=_PERSISTENT, message_id=message_id)


def _writable(value: Any) -> Any:
    """Return a header as the SDK writes it: text that is no UTF-8 it reads, but does not write."""
    if isinstance(value, dict):
        return {name: _writable(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_writable(inner) for inner in value]
    return bytearray(value) if isinstance(value, bytes) else value


def _can_be_written(properties: Basic.Properties) -> bool:
    """Tell whether the SDK finds an encoding for everything that it has read."""
    try:
        ContentHeader(properties=properties).marshal()
    except Exception:  # noqa: BLE001 - whatever it is, the body must not depend on it
        return False
    return True


def traceparent_of(properties: Basic.Properties) -> str:
    """Return the trace that its sender names in a header; empty where it is no text."""
    found = (properties.headers or {}).get(TRACEPARENT)
    return found if isinstance(found, str) else ""


def _number(properties: Basic.Properties, header: str) -> int:
    found = (properties.headers or {}).get(header)
    return found if isinstance(found, int) and not isinstance(found, bool) else 0


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_death(name: str) -> bool:
    return name == "x-death" or name.startswith(("x-first-death-", "x-last-death-"))


def _milliseconds(span: timedelta) -> int:
    return min(max(1, -(-span // _MILLISECOND)), _LONGEST)


def _short(source: str) -> str:
    """Return the name, or its beginning with a mark of the rest: 255 bytes are allowed in all."""
    if len(source.encode()) <= _LONGEST_NAME:
        return source
    return f"{source[: _LONGEST_NAME // 4]}-{hashlib.sha256(source.encode()).hexdigest()[:16]}"
