"""A daemon's parts in one test process: a queue in memory, a store that can be told to fail."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, Self, TypeVar

import anyio
import anyio.abc

from runner.environments.base import Attachment, Environment, Environments, EnvironmentSpec
from runner.errors import LeaseLost
from runner.lifecycle.board import Board, Entry
from runner.lifecycle.claiming.admission import choose_gpus
from runner.lifecycle.claiming.intake import Intake
from runner.lifecycle.claiming.rules import Rules
from runner.lifecycle.disposition import RetryPolicy
from runner.lifecycle.handling import Handling
from runner.lifecycle.history import History
from runner.lifecycle.ownership.claim import Observations
from runner.lifecycle.ownership.keeper import Held, Keeper
from runner.lifecycle.parts import Options, Parts
from runner.lifecycle.recovery import recover
from runner.lifecycle.resumption import Resumption
from runner.lifecycle.runs.record import Records
from runner.lifecycle.sources.pulling import fresh_record
from runner.lifecycle.sources.source import Complain, Source
from runner.lifecycle.sources.supply import Supply
from runner.model import (
    Artifact,
    Bytes,
    Capacity,
    Location,
    Message,
    News,
    Outcome,
    Report,
    Request,
)
from runner.queues.base import Broker, Delivery, Queue
from runner.queues.credential import Credential
from runner.redaction import Redactor
from runner.resources.ledger import Ledger
from runner.sandboxes.plain import PlainSandbox
from runner.stores.base import ObjectInfo, unasked
from runner.stores.local import LocalStore
from tests.acceptance.box import Box

T = TypeVar("T")
Json = dict[str, Any]
Act = Callable[[], Awaitable[None]]

#: Seconds for anything that must happen.
PATIENCE = 60.0
TOTAL = Capacity(cores=2, memory=Bytes(1 << 40), disk=Bytes(1 << 40))


class Points:
    """Named moments in the seams; a test may act there, and sees afterwards what was passed."""

    def __init__(self) -> None:
        self.passed: list[str] = []
        self.acts: dict[str, Act] = {}

    async def reach(self, name: str) -> None:
        """Do what the test wants here, then go on."""
        if name in self.acts:
            await self.acts[name]()
        self.passed.append(name)

    def raises(self, name: str, *errors: Exception) -> None:
        """Have the first passes of this moment fail."""
        left = list(errors)

        async def fail() -> None:
            if left:
                raise left.pop(0)

        self.acts[name] = fail

    def holds(self, name: str) -> anyio.Event:
        """Have whoever comes here wait for ever; the event tells that somebody did."""
        reached = anyio.Event()

        async def wait() -> None:
            reached.set()
            await anyio.sleep_forever()

        self.acts[name] = wait
        return reached

    def until(self, *names: str) -> list[str]:
        """Return those moments of ``names`` that were passed, in their order."""
        return [name for name in self.passed if name in names]


class Shop(LocalStore):
    """The local store, with a moment before and after everything it does."""

    def __init__(self, root: Path, points: Points) -> None:
        super().__init__((root,))
        self._points = points

    async def stat(self, location: Location) -> ObjectInfo:
        """Describe an object."""
        await self._points.reach(f"stat {_name(location)}")
        return await super().stat(location)

    async def read(
        self, location: Location, consume: Callable[[BinaryIO], T], *, version: str | None = None
    ) -> T:
        """Stream an object."""
        await self._points.reach(f"read {_name(location)}")
        return await super().read(location, consume, version=version)

    async def write(
        self,
        location: Location,
        produce: Callable[[BinaryIO], None],
        *,
        permitted: Callable[[], None] = unasked,
    ) -> ObjectInfo:
        """Store an object."""
        await self._points.reach(f"store {_name(location)}")
        info = await super().write(location, produce, permitted=permitted)
        await self._points.reach(f"stored {_name(location)}")
        return info

    async def put_if(
        self, location: Location, body: bytes, version: str | None, *, durable: bool = True
    ) -> ObjectInfo:
        """Store a small object; a claim's moment is named after the state that it tells."""
        name = _name(location)
        if name == "claim":
            record = json.loads(body)
            name = f"claim {record['state']}" if record["beat"] == 0 else "claim again"
            name = name if record["state"] == "running" else f"claim {record['state']}"
        await self._points.reach(f"put {name}")
        info = await super().put_if(location, body, version, durable=durable)
        await self._points.reach(f"put {name} done")
        return info


def _name(location: Location) -> str:
    path = Path(location.key)
    if path.name.startswith("_claim."):
        return "claim"
    if path.parent.name == "blobstore":
        return "workspace"
    return path.stem if path.suffix else "status"


class Letter(Delivery):
    """A message of a queue in memory, in hand."""

    def __init__(self, message: Message, queue: Line, lease: timedelta) -> None:
        super().__init__(message, token=message.id, lease=lease)
        self.settled: list[str] = []
        self.delay: timedelta | None = None
        self.is_lost = False
        self._queue = queue

    async def extend(self) -> None:
        """Renew."""
        await self._queue.points.reach("extend")
        self._check()

    async def ack(self) -> None:
        """Forget the message."""
        await self._settle("ack")

    async def release(self, delay: timedelta) -> None:
        """Give it back; delays are noted, not waited for."""
        await self._settle("release")
        self.delay = delay
        self._queue.put(self.message)

    async def bury(self, reason: str) -> None:
        """Bury it."""
        del reason
        await self._settle("bury")

    async def _settle(self, word: str) -> None:
        await self._queue.points.reach(word)
        self._check()
        self._queue.held.pop(self.message.id)
        self.settled.append(word)
        await self._queue.points.reach(f"{word} done")

    def _check(self) -> None:
        if self.is_lost or self._queue.held.get(self.message.id) is not self:
            raise LeaseLost("somebody else has the message")


class Line(Queue):
    """A queue in memory; what is given back comes back at once, whatever the delay."""

    patience = PATIENCE
    tells = True

    def __init__(
        self, name: str, points: Points, *, broker: str = "local", project: str = "memory"
    ) -> None:
        super().__init__(name, broker=broker, project=project)
        self.points = points
        self.held: dict[str, Letter] = {}
        #: Every letter that was ever handed out.
        self.letters: list[Letter] = []
        self.lease = timedelta(minutes=1)
        self.waiting: list[Message] = []
        self._news = anyio.Event()
        self._loop = asyncio.get_running_loop()
        self._received: dict[str, int] = {}

    def put(self, message: Message) -> None:
        """Add a message, from any thread."""
        self.waiting.append(message)
        self._loop.call_soon_threadsafe(self._ring)

    def send(self, body: bytes | Json) -> None:
        """Add a message as a client would."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.put(Message(f"m{len(self._received) + len(self.waiting)}", data, self.name))

    async def ready(self) -> None:
        """Wait for a message, unless only receiving ``tells``."""
        while self.tells and not self.waiting:
            await self._news.wait()

    async def receive(self) -> Letter:
        """Hand out the oldest."""
        await self.points.reach("receive")
        while not self.waiting:
            await self._news.wait()
        message = self.waiting.pop(0)
        times = self._received[message.id] = self._received.get(message.id, 0) + 1
        return self._hand_out(replace(message, receive_count=times))

    async def adopt(self, message: Message, token: str) -> Letter:
        """Hand out again what a daemon before this one had."""
        del token
        if message.id not in self.held:
            raise LeaseLost("somebody else has the message")
        return self._hand_out(message)

    def expire(self) -> None:
        """Let every lease end."""
        for letter in list(self.held.values()):
            del self.held[letter.message.id]
            self.put(letter.message)

    @property
    def settlements(self) -> list[str]:
        """Everything that the broker was told."""
        return [word for letter in self.letters for word in letter.settled]

    def _hand_out(self, message: Message) -> Letter:
        letter = self.held[message.id] = Letter(message, self, self.lease)
        self.letters.append(letter)
        return letter

    def _ring(self) -> None:
        self._news.set()
        self._news = anyio.Event()


class Switchboard(Broker):
    """A broker whose set of queues a test changes."""

    name = "local"
    project = "memory"

    def __init__(self, *queues: Line) -> None:
        self.lines = {queue.name: queue for queue in queues}
        self.trouble: list[Exception] = []
        #: What ``exists`` raises, as long as it is set.
        self.silence: Exception | None = None
        #: What was asked of ``exists``.
        self.asked: list[str] = []
        self.renewals: list[Credential] = []
        self.is_open = False
        self._news = anyio.Event()

    async def __aenter__(self) -> Self:
        """Open."""
        self.is_open = True
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        self.is_open = False

    async def renew(self, credential: Credential) -> None:
        """Remember it."""
        self.renewals.append(credential)

    async def discover(self) -> AsyncIterator[frozenset[str]]:
        """Tell the names, again after every change."""
        while True:
            if self.trouble:
                raise self.trouble.pop(0)
            news = self._news
            yield frozenset(self.lines)
            await news.wait()

    async def open(self, queue: str) -> Line:
        """Return the queue."""
        return self.lines[queue]

    async def exists(self, queue: str) -> bool:
        """Tell whether it is there."""
        self.asked.append(queue)
        if self.silence is not None:
            raise self.silence
        return queue in self.lines

    def change(self, *queues: Line) -> None:
        """Have these queues from now on."""
        self.lines = {queue.name: queue for queue in queues}
        self._news.set()
        self._news = anyio.Event()


class Bare(Environments):
    """This interpreter, whatever is asked for."""

    def __init__(self, points: Points) -> None:
        self._points = points

    async def __aexit__(self, *_: object) -> None:
        """Nothing is open."""

    @asynccontextmanager
    async def lease(self, spec: EnvironmentSpec) -> AsyncIterator[Environment]:
        """Prepare nothing."""
        del spec
        await self._points.reach("build")
        yield Environment("bare", Path(sys.prefix), 0.0, reused=True)
        await self._points.reach("built given back")

    @asynccontextmanager
    async def pin(self, key: str) -> AsyncIterator[None]:
        """Keep nothing."""
        del key
        await self._points.reach("pin")
        yield

    async def attach(self, environment: Environment, into: Path) -> Attachment:
        """Return this interpreter."""
        del environment, into
        await self._points.reach("attach")
        return Attachment(Path(sys.executable))


class CountingKeeper(Keeper):
    """A keeper that knows what it was not told to let go."""

    def __init__(self) -> None:
        super().__init__()
        self.open: set[Held] = set()

    async def hold(self, name: str, beat: Any, **others: Any) -> Held:
        """Hold and count."""
        held = await super().hold(name, beat, **others)
        self.open.add(held)
        return held

    async def release(self, held: Held) -> None:
        """Let go and count."""
        await super().release(held)
        self.open.discard(held)


OPTIONS = Options(
    duration_cap=timedelta(hours=1),
    kill_grace=timedelta(seconds=5),
    orphan_timeout=timedelta(minutes=1),
    output_limit=Bytes(1 << 20),
    checkpoint_interval=None,
    default_disk=Bytes(1 << 30),
    claim_lease=timedelta(minutes=1),
    retry=RetryPolicy(base_delay=timedelta(seconds=7)),
    upload_patience=timedelta(minutes=1),
    base_variables={"PATH": "/usr/bin:/bin"},
)


@dataclass
class Machine:
    """One daemon's parts over a box's store; several of one box are daemons one after another."""

    box: Box
    points: Points
    parts: Parts
    keeper: CountingKeeper
    queue: Line
    reports: list[Report]
    ledger: Ledger
    #: Of one broker with this queue.
    supply: Supply

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        box: Box,
        *,
        points: Points | None = None,
        queue: Line | None = None,
        total: Capacity = TOTAL,
        rules: Rules = Rules(),  # noqa: B008 - frozen
        **options: Any,
    ) -> AsyncIterator[Machine]:
        """Start without taking anything over."""
        points = points or Points()
        queue = queue or Line("local_test", points)
        store = Shop(box.root / "store", points)
        reports: list[Report] = []
        ledger = Ledger(total, choose_gpus)
        box.state.mkdir(exist_ok=True)
        async with AsyncExitStack() as stack:
            keeper = CountingKeeper()
            await stack.enter_async_context(keeper)
            background = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(background.cancel_scope.cancel)

            async def store_for(
                wanted: Artifact | Location, request: Request, account: tuple[str, str]
            ) -> Shop:
                del wanted, request, account
                return store

            async def report(news: Report) -> None:
                await points.reach(f"report {news.news.value}")
                reports.append(news)

            parts = Parts(
                owner="owner",
                host="host",
                working_dir=box.state / "work",
                keeper=keeper,
                intake=Intake(ledger, rules=rules),
                records=Records(box.state / "runs"),
                history=History(box.state / "recent.jsonl"),
                board=Board(),
                observations=Observations(),
                environments=Bare(points),
                sandbox=PlainSandbox(),
                store_for=store_for,
                report=report,
                redactor=Redactor(),
                options=replace(OPTIONS, **options),
                background=lambda work: started(background, work),
            )
            supply = Supply(keeper, complaining(report), fixed=[(Switchboard(queue), "memory")])
            await stack.enter_async_context(supply)
            yield cls(box, points, parts, keeper, queue, reports, ledger, supply)

    async def handling(self, body: bytes | Json | None = None) -> tuple[Handling, Letter]:
        """Send a message, receive it, and return what is to handle it."""
        if body is not None:
            self.queue.send(body)
        if isinstance(body, dict) and "experiment" in body:
            key = body["experiment"]["key"]
            status = self.box.root / "store" / "meta" / "experiments" / key
            status.write_text(json.dumps(body["experiment"]))
        letter = await self.queue.receive()
        return Handling(self.parts, letter, Entry(fresh_record(self.queue, letter))), letter

    @asynccontextmanager
    async def handled(
        self, body: Json, reached: Callable[[], Awaitable[object]]
    ) -> AsyncIterator[Letter]:
        """Handle a message; the block runs when it has come so far, and ends with the settling."""
        handling, letter = await self.handling(body)
        slot = await self.parts.intake.slot()
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as group:
                group.start_soon(handling.perform, slot)
                await reached()
                yield letter

    async def handle(self, body: bytes | Json | None = None) -> Letter:
        """Handle one message to its end, as the loop does; return its delivery."""
        handling, letter = await self.handling(body)
        with anyio.fail_after(PATIENCE):
            await handling.perform(await self.parts.intake.slot())
        return letter

    async def adopted(self) -> Sequence[Resumption]:
        """Take over what an earlier machine of the box left."""
        return await recover(self.parts, self.supply)

    def supplied(self, *brokers: Broker, **more: Any) -> Supply:
        """Return what gives these brokers, to be opened."""
        fixed = [(broker, "memory") for broker in brokers]
        return Supply(self.keeper, complaining(self.parts.report), fixed=fixed, **more)

    async def take_over(self) -> list[Outcome]:
        """Take over and see all of it through."""
        with anyio.fail_after(PATIENCE):
            return [await handling.resume() for handling in await self.adopted()]

    async def check_clean(self) -> None:
        """See that nothing is left of any attempt; what is swept in the background may take it."""
        assert self.ledger.free == self.ledger.total
        assert len(self.parts.board) == 0
        assert self.keeper.open == set()
        assert list(self.parts.records.directory.iterdir()) == []
        experiments = self.parts.working_dir / "experiments"
        await seen(lambda: not experiments.exists() or not any(experiments.iterdir()))

    @property
    def ends(self) -> list[str]:
        """The causes that were reported."""
        return [str(one.cause) for one in self.reports if one.news is News.ENDED]


def complaining(report: Callable[[Report], Awaitable[None]]) -> Complain:
    """Report what keeps a source from working."""

    async def complain(source: Source, text: str) -> None:
        await report(Report(News.WARNING, f"{source.origin}: {text}"))

    return complain


def started(group: anyio.abc.TaskGroup, work: Act) -> None:
    """Start what nobody waits for."""

    async def run() -> None:
        await work()

    group.start_soon(run)


async def seen(condition: Callable[[], object]) -> None:
    """Wait until something holds that no event of the test tells of."""
    with anyio.fail_after(PATIENCE):
        while not condition():  # noqa: ASYNC110 - other threads and processes set no event here
            await anyio.sleep(0.005)
