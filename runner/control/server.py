"""The daemon's end of the control socket: a misbehaving client never hurts anybody else."""

from __future__ import annotations

import select
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
from anyio.abc import SocketAttribute, SocketListener, SocketStream, TaskStatus

from runner.control.address import socket_address
from runner.control.protocol import (
    BadLine,
    Done,
    Item,
    Problem,
    end_line,
    item_line,
    parse_request,
)
from runner.errors import Misconfigured, RunnerError
from runner.log import get_logger

Handler = Callable[[Item], AsyncIterator[Item]]

_LOG = get_logger(__name__)
#: A client that does not say in this time what it wants, or does not read, is dropped.
_PATIENCE = 10.0
#: How often we look whether a client that waits for news is still there.
_LOOK_EVERY = 1.0
_MOST_CLIENTS = 64
_LONGEST_REQUEST = 1 << 16


class _ClientGone(Exception):
    """Nobody reads our answer any more."""


class ControlServer:
    """Answers requests on a unix socket of mode 0600 through one handler per verb."""

    def __init__(self, path: Path, handlers: Mapping[str, Handler]) -> None:
        self._path = path
        self._handlers = dict(handlers)
        self._clients = 0

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Listen until cancelled; ``started`` once clients can connect.

        The socket of a dead daemon is replaced. Raises Misconfigured when a living daemon
        listens on it, or when the path cannot hold a socket.
        """
        async with self._listening() as listener, anyio.create_task_group() as clients:
            task_status.started()
            while True:
                try:
                    stream = await listener.accept()
                except anyio.BrokenResourceError as error:  # out of descriptors, most likely
                    _LOG.warning("a client of the control socket could not be let in", why=error)
                    await anyio.sleep(_LOOK_EVERY)
                    continue
                clients.start_soon(self._converse, stream)

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[SocketListener]:
        try:
            self._refuse_second()
            with socket_address(self._path) as address:
                listener = await anyio.create_unix_listener(address, mode=0o600)
        except OSError as error:
            raise Misconfigured(
                f"the control socket {self._path} cannot be opened: {error.strerror or error}"
            ) from error
        inode = self._path.stat().st_ino
        try:
            async with listener:
                yield listener
        finally:
            with suppress(FileNotFoundError):
                if self._path.stat().st_ino == inode:
                    self._path.unlink()

    def _refuse_second(self) -> None:
        with (
            suppress(FileNotFoundError, ConnectionRefusedError),
            socket.socket(socket.AF_UNIX) as probe,
            socket_address(self._path) as address,
        ):
            probe.connect(address)
            raise Misconfigured(f"another daemon listens on {self._path}")

    async def _converse(self, stream: SocketStream) -> None:
        self._clients += 1
        try:
            async with stream:
                with suppress(_ClientGone):
                    await self._answer(stream)
        finally:
            self._clients -= 1

    async def _answer(self, stream: SocketStream) -> None:
        try:
            verb, arguments = await self._request(stream)
        except BadLine as error:
            await _send(stream, end_line(Problem(str(error))))
            return
        gone = False
        async with anyio.create_task_group() as group:
            group.start_soon(_cancel_when_gone, stream, group.cancel_scope)
            try:
                await self._pour(stream, self._handlers[verb](arguments), verb)
            except _ClientGone:  # carried past the group, which would wrap it
                gone = True
            group.cancel_scope.cancel()
        if gone:
            raise _ClientGone

    async def _request(self, stream: SocketStream) -> tuple[str, Item]:
        """Return verb and arguments. Raises BadLine."""
        if self._clients > _MOST_CLIENTS:
            raise BadLine(f"more than {_MOST_CLIENTS} clients are being answered: try later")
        verb, arguments = parse_request(await _first_line(stream))
        if verb not in self._handlers:
            known = ", ".join(sorted(self._handlers))
            raise BadLine(f"there is no verb {verb!r}; known: {known}")
        return verb, arguments

    async def _pour(self, stream: SocketStream, items: AsyncIterator[Item], verb: str) -> None:
        end: Done | Problem = Done()
        try:
            async for item in items:
                await _send(stream, item_line(item))
        except RunnerError as error:
            end = Problem(str(error))
        except (_ClientGone, anyio.get_cancelled_exc_class()):
            raise
        except Exception:  # noqa: BLE001 - a defect in one handler must not stop the daemon
            _LOG.exception("a control verb failed", verb=verb)
            end = Problem(f"the daemon failed to answer {verb!r}; its log says why")
        finally:
            close = getattr(items, "aclose", None)
            if close is not None:
                with anyio.CancelScope(shield=True):
                    await close()
        await _send(stream, end_line(end))


async def _first_line(stream: SocketStream) -> bytes:
    """Return the first line, or what there is of it when the client stops sending.

    Raises BadLine for a line that is too long or too slow, _ClientGone.
    """
    line = bytearray()
    too_long = False
    try:
        with anyio.fail_after(_PATIENCE):
            while b"\n" not in line:
                # What is too long is read to its end all the same: a socket closed with unread
                # bytes takes our answer with it.
                if len(line) > _LONGEST_REQUEST:
                    too_long = True
                    line.clear()
                line += await stream.receive()
    except TimeoutError as error:
        raise BadLine(f"no request came within {_PATIENCE:.0f} seconds") from error
    except anyio.EndOfStream:
        pass
    except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
        raise _ClientGone from error
    if too_long:
        raise BadLine(f"the request has more than {_LONGEST_REQUEST} bytes")
    return bytes(line.partition(b"\n")[0])


async def _send(stream: SocketStream, line: bytes) -> None:
    try:
        with anyio.fail_after(_PATIENCE):
            await stream.send(line)
    except (TimeoutError, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
        raise _ClientGone from error


async def _cancel_when_gone(stream: SocketStream, scope: anyio.CancelScope) -> None:
    """Cancel the answer when the client has closed; one that only stopped sending still reads."""
    poll = select.poll()
    poll.register(stream.extra(SocketAttribute.raw_socket), 0)  # noqa: S610 - no Django here
    while not any(  # noqa: ASYNC110 - no event tells of it
        event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0)
    ):
        await anyio.sleep(_LOOK_EVERY)
    scope.cancel()
