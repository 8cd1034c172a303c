"""No exception of the AMQP library crosses this line: one table, one context manager."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import aiormq.exceptions as sdk
from pamqp.exceptions import PAMQPException

from runner.errors import QueueDenied, QueueGone, QueueUnavailable, RunnerError

#: Reply code of a refused virtual host, and of limits.
_NOT_ALLOWED = 530

# What it has to say arrives here as exceptions; its log would say it again, and at odd moments.
logging.getLogger("aiormq").setLevel(logging.CRITICAL)


class NoSuchQueue(QueueGone):
    """The broker says that the queue does not exist."""


class Forbidden(QueueDenied):
    """The broker refuses one action, by one user, on one thing."""


class Impossible(QueueUnavailable):
    """The broker refuses one action, whoever asks: a limit, a lock, another declaration."""


#: It exists, and answers no more than one that does not: its node is down, or its process.
_AWAY = ("is down or inaccessible", "stopped by supervisor", "failed to restart", "due to timeout")

#: Most specific first.
_TABLE: Final[tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], type], ...]] = (
    (sdk.ChannelNotFoundEntity, NoSuchQueue),
    (sdk.ChannelAccessRefused, Forbidden),
    ((sdk.ChannelPreconditionFailed, sdk.ChannelLockedResource), Impossible),
    ((sdk.ProbableAuthenticationError, sdk.AuthenticationError), QueueDenied),
    (sdk.ConnectionNotAllowed, QueueDenied),
    ((sdk.AMQPError, sdk.ChannelInvalidStateError, PAMQPException), QueueUnavailable),
    ((OSError, EOFError, TimeoutError, RuntimeError), QueueUnavailable),
)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Say ``what`` failed, as one of ours.

    A connection that ends cancels everything that waits for it, by the library's own doing: that
    is no cancellation of ours, and must not end the task as if it were.
    """
    try:
        yield
    except RunnerError:
        raise
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise QueueUnavailable(f"{what}: the connection has ended") from error
    except Exception as error:
        raise _ours(what, error) from error


def _ours(what: str, error: Exception) -> Exception:
    if isinstance(error, sdk.ConnectionClosed) and _NOT_ALLOWED in error.args:
        return QueueDenied(f"{what}: {_said(error)}")
    if isinstance(error, sdk.ChannelNotFoundEntity) and any(map(_said(error).count, _AWAY)):
        return QueueUnavailable(f"{what}: {_said(error)}")
    for theirs, ours in _TABLE:
        if isinstance(error, theirs):
            found: Exception = ours(f"{what}: {_said(error)}")
            return found
    return error


def _said(error: Exception) -> str:
    """Return what the broker said, or what the system did."""
    if isinstance(error, TimeoutError) and not str(error):
        return "no answer in time"
    words = [str(word) for word in error.args if not isinstance(word, int)]
    return " ".join(words) or type(error).__name__
