"""The command line's end of the control socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from runner.control.address import socket_address
from runner.control.protocol import (
    LONGEST_LINE,
    BadLine,
    Done,
    Item,
    Problem,
    parse_answer,
    request_line,
)
from runner.errors import RunnerError, Unavailable

#: Bytes of one line; the status of a busy machine has megabytes of reasons in it.
_LONGEST_ANSWER = 64 * LONGEST_LINE


class NoDaemon(Unavailable):
    """No daemon listens on the control socket."""


class Refusal(RunnerError):
    """The daemon answered with an error; the message is its sentence."""


async def ask(path: Path, verb: str, **arguments: Any) -> AsyncIterator[Item]:
    """Ask the daemon and yield the items of its answer.

    Raises NoDaemon when nobody listens or the daemon goes away before the answer is complete,
    Refusal with the daemon's sentence.
    """
    async with _connected(path) as stream:
        lines = BufferedByteReceiveStream(stream)
        try:
            await stream.send(request_line(verb, arguments))
            while True:
                answer = parse_answer(await lines.receive_until(b"\n", _LONGEST_ANSWER))
                if isinstance(answer, Done):
                    return
                if isinstance(answer, Problem):
                    raise Refusal(answer.sentence)
                yield answer
        except anyio.DelimiterNotFound as error:
            raise BadLine(f"the daemon's answer has more than {_LONGEST_ANSWER} bytes") from error
        except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError) as error:
            raise NoDaemon(f"the daemon on {path} went away before it had answered") from error


@asynccontextmanager
async def _connected(path: Path) -> AsyncIterator[SocketStream]:
    try:
        with socket_address(path) as address:
            stream = await anyio.connect_unix(address)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as error:
        raise NoDaemon(f"no daemon listens on {path}: start one with studio-runner run") from error
    except PermissionError as error:
        raise NoDaemon(f"the daemon on {path} belongs to another user") from error
    except OSError as error:
        raise NoDaemon(f"{path} cannot be used: {error.strerror or error}") from error
    async with stream:
        yield stream
