"""The control socket, over real sockets."""

from __future__ import annotations

import json
import socket
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketStream, TaskStatus

from runner.control.client import NoDaemon, Refusal, ask
from runner.control.protocol import LONGEST_LINE, BadLine, Item
from runner.control.server import ControlServer, Handler
from runner.errors import Misconfigured, QueueUnavailable

pytestmark = pytest.mark.anyio


async def _count(arguments: Item) -> AsyncIterator[Item]:
    for number in range(int(arguments["to"])):
        yield {"number": number}


async def _fail(_arguments: Item) -> AsyncIterator[Item]:
    yield {"number": 0}
    raise QueueUnavailable("the broker sleeps")


async def _defect(_arguments: Item) -> AsyncIterator[Item]:
    yield {"number": 1 // int(_arguments.get("zero", 0))}


@asynccontextmanager
async def _serving(path: Path, **more: Handler) -> AsyncIterator[Path]:
    handlers: Mapping[str, Handler] = {"count": _count, "fail": _fail, "defect": _defect, **more}
    async with anyio.create_task_group() as group:
        await group.start(ControlServer(path, handlers).serve)
        yield path
        group.cancel_scope.cancel()


async def _numbers(path: Path, to: int = 3) -> list[int]:
    return [item["number"] async for item in ask(path, "count", to=to)]


async def _raw(path: Path, data: bytes, *, half_close: bool = False) -> list[Item]:
    answer = b""
    async with await anyio.connect_unix(path) as stream:
        await stream.send(data)
        if half_close:
            await stream.send_eof()
        try:
            while True:
                answer += await stream.receive()
        except anyio.EndOfStream:
            return [json.loads(line) for line in answer.splitlines()]


async def test_items_arrive_in_order_and_end(tmp_path: Path) -> None:
    """A verb's items come one by one, in order, to several clients."""
    async with _serving(tmp_path / "control.sock") as path:
        assert await _numbers(path) == [0, 1, 2]
        assert await _numbers(path, 0) == []


async def test_a_long_answer_arrives_whole(tmp_path: Path) -> None:
    """A machine that tells of hundreds of long failures can still be asked how it does."""

    async def much(_: Item) -> AsyncIterator[Item]:
        yield {"text": "x" * 5 * LONGEST_LINE}

    async with _serving(tmp_path / "control.sock", much=much) as path:
        items = [item async for item in ask(path, "much")]
        assert [len(item["text"]) for item in items] == [5 * LONGEST_LINE]


async def test_an_answer_without_an_end_is_an_error(tmp_path: Path) -> None:
    """What listens there is no daemon of ours: one sentence, and no memory for all it sends."""
    gone = anyio.Event()

    async def flood(stream: SocketStream) -> None:
        async with stream:
            with suppress(anyio.BrokenResourceError):
                while True:
                    await stream.send(b"x" * LONGEST_LINE)
        gone.set()

    path = tmp_path / "control.sock"
    listener = await anyio.create_unix_listener(path)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, flood)
        with pytest.raises(BadLine, match="more than"):
            _ = [item async for item in ask(path, "count", to=1)]
        await gone.wait()
        group.cancel_scope.cancel()


async def test_only_the_owner_may_connect(tmp_path: Path) -> None:
    """The socket has mode 0600, and is gone when the daemon is."""
    async with _serving(tmp_path / "control.sock") as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


async def test_nobody_listens(tmp_path: Path) -> None:
    """Without a daemon the client says so and how to start one."""
    with pytest.raises(NoDaemon, match="studio-runner run"):
        await _numbers(tmp_path / "control.sock")


async def test_a_place_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """As a link that leads to itself."""
    (tmp_path / "state").symlink_to("state")
    with pytest.raises(NoDaemon, match=r"state/control.sock cannot be used: Too many levels"):
        await _numbers(tmp_path / "state" / "control.sock")


async def test_a_dead_daemons_socket_is_replaced(tmp_path: Path) -> None:
    """A socket file that nobody listens on is no obstacle."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "control.sock"))
    with pytest.raises(NoDaemon):
        await _numbers(tmp_path / "control.sock")
    async with _serving(tmp_path / "control.sock") as path:
        assert await _numbers(path) == [0, 1, 2]


async def test_a_living_daemons_socket_is_left_alone(tmp_path: Path) -> None:
    """A second daemon on the same socket is refused, and the first goes on."""
    async with _serving(tmp_path / "control.sock") as path:
        with pytest.raises(Misconfigured, match="another daemon"):
            await ControlServer(path, {}).serve()
        assert await _numbers(path) == [0, 1, 2]


async def test_a_long_path_works(tmp_path: Path) -> None:
    """A state directory beyond the kernel's 107 bytes can hold the socket."""
    deep = tmp_path / ("d" * 120) / ("e" * 120)
    deep.mkdir(parents=True)
    async with _serving(deep / "control.sock") as path:
        assert await _numbers(path) == [0, 1, 2]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


async def test_a_missing_directory_is_the_operators(tmp_path: Path) -> None:
    """A socket that cannot be made is one sentence with its path."""
    with pytest.raises(Misconfigured, match="absent"):
        await ControlServer(tmp_path / "absent" / "control.sock", {}).serve()


async def test_errors_are_sentences(tmp_path: Path) -> None:
    """A handler's own error is shown as its sentence, a defect points to the log."""
    async with _serving(tmp_path / "control.sock") as path:
        with pytest.raises(Refusal, match="the broker sleeps"):
            [item async for item in ask(path, "fail")]
        with pytest.raises(Refusal, match="its log says why"):
            [item async for item in ask(path, "defect")]
        with pytest.raises(Refusal, match="known: count, defect, fail"):
            [item async for item in ask(path, "dance")]


@pytest.mark.parametrize(
    "line",
    [
        b"garbage\n",
        b"[]\n",
        b'{"verb": 3}\n',
        b'{"verb": "count", "arguments": []}\n',
        b"\n",
        b"\xff\xfe\n",
        b"[" * 100_000 + b"\n",
        b"x" * LONGEST_LINE + b"\n",
    ],
    ids=lambda line: repr(line[:20]),
)
async def test_garbage_gets_an_error(tmp_path: Path, line: bytes) -> None:
    """Whatever is sent, the answer is one error and the daemon goes on."""
    async with _serving(tmp_path / "control.sock") as path:
        with_error = await _raw(path, line)
        assert [list(item) for item in with_error] == [["error"]]
        assert await _numbers(path) == [0, 1, 2]


async def test_a_client_may_stop_sending_and_read(tmp_path: Path) -> None:
    """Tools that close their sending side after the request get the whole answer."""
    async with _serving(tmp_path / "control.sock") as path:
        request = b'{"verb": "count", "arguments": {"to": 2}}'
        answer = await _raw(path, request, half_close=True)
        assert answer == [{"item": {"number": 0}}, {"item": {"number": 1}}, {"done": True}]


async def test_a_vanished_client_ends_its_handler(tmp_path: Path) -> None:
    """A follow whose client is gone ends, although nothing new happens."""
    ended = anyio.Event()

    async def follow(_arguments: Item) -> AsyncIterator[Item]:
        try:
            yield {"text": "first"}
            await anyio.sleep_forever()
        finally:
            ended.set()

    async with _serving(tmp_path / "control.sock", follow=follow) as path:
        async with aclosing(ask(path, "follow")) as items:  # type: ignore[type-var]  # a generator
            assert await anext(items) == {"text": "first"}
        with anyio.fail_after(60):
            await ended.wait()


async def test_a_client_that_connects_and_leaves_is_no_trouble(tmp_path: Path) -> None:
    """Clients that come and go without a word leave the daemon answering."""
    async with _serving(tmp_path / "control.sock") as path:
        for _ in range(20):
            async with await anyio.connect_unix(path):
                pass
        assert await _numbers(path) == [0, 1, 2]


async def test_a_slow_reader_delays_nobody_else(tmp_path: Path) -> None:
    """A client that does not read its long answer leaves others unharmed."""

    async def flood(_arguments: Item) -> AsyncIterator[Item]:
        for _ in range(200):
            yield {"text": "x" * 60_000}

    async with _serving(tmp_path / "control.sock", flood=flood) as path:
        slow = await anyio.connect_unix(path)
        await slow.send(b'{"verb": "flood", "arguments": {}}\n')
        assert await _numbers(path) == [0, 1, 2]
    await slow.aclose()


async def test_a_daemon_that_goes_away_is_noticed(tmp_path: Path) -> None:
    """The end of the daemon in the middle of an answer is an error of its own."""

    async def never(_arguments: Item) -> AsyncIterator[Item]:
        yield {"text": "first"}
        await anyio.sleep_forever()

    path = tmp_path / "control.sock"
    alive = anyio.CancelScope()

    async def daemon(*, task_status: TaskStatus[None]) -> None:
        with alive:
            await ControlServer(path, {"never": never}).serve(task_status=task_status)

    async with anyio.create_task_group() as group:
        await group.start(daemon)
        items = ask(path, "never")
        assert await anext(items) == {"text": "first"}
        alive.cancel()
        with pytest.raises(NoDaemon, match="went away"):
            await anext(items)
