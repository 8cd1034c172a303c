"""The brokers that the harness hurts: each as a sender, an operator and a fault see it."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import psutil

from tests.acceptance.accounts import PubsubAccount, RabbitAccount, SqsAccount
from tests.servers import moto, pubsub
from tests.servers.rabbitmq import RabbitServer

_PERSISTENT = 2


class Broker(Protocol):
    """One queue of one broker."""

    name: str
    queue: str
    #: What the daemon's environment needs.
    variables: Mapping[str, str]
    #: Seconds for which a message may lie there that ``left`` cannot see.
    hidden: float

    def write(self, directory: Path) -> None:
        """Write a credential."""

    def send(self, body: str) -> None:
        """Send a message as a client does, so that it outlives the broker's process."""

    def is_holding(self) -> bool | None:
        """Tell whether somebody holds a message; ``None`` where nobody can know."""

    def left(self) -> list[str]:
        """Name what lies in the queue or beside it, whoever holds it."""

    def outage(self) -> AbstractContextManager[None]:
        """Have the broker away for as long as the block takes; it keeps what it has."""


class LocalQueue:
    """A directory of this machine: there is nothing that could be away."""

    variables: Mapping[str, str] = MappingProxyType({})
    name = "local"
    hidden = 0.0
    queue = "local_test"

    def __init__(self, queues: Path) -> None:
        """``queues`` is the daemon's ``--queue-root``."""
        self._place = queues / self.queue
        self._own = queues / ".studio-runner"

    def write(self, directory: Path) -> None:
        """See ``Broker``: it takes none."""

    def send(self, body: str) -> None:
        """See ``Broker``."""
        name = str(uuid.uuid4())
        draft = self._place.parent.parent / f"{name}.draft"
        draft.write_text(body)
        draft.rename(self._place / name)

    def is_holding(self) -> bool | None:
        """See ``Broker``."""
        return any(self._own.glob("*/claims/*"))

    def left(self) -> list[str]:
        """See ``Broker``."""
        files = [*self._place.iterdir(), *self._own.glob("*/claims/*")]
        files += [*self._own.glob("*/delayed/*"), *self._own.glob("*/dead/*")]
        return [str(file) for file in files]

    def outage(self) -> AbstractContextManager[None]:
        """See ``Broker``."""
        return nullcontext()


class RabbitQueue(RabbitAccount):
    """A durable queue; in an outage the broker is killed, and begins again with its data."""

    name = "rabbitmq"
    hidden = 0.0

    def __init__(self, server: RabbitServer) -> None:
        super().__init__(server)
        server.delete(self.queue)
        server.declare(self.queue, durable=True)

    def send(self, body: str) -> None:
        """See ``Broker``."""
        properties = {"delivery_mode": _PERSISTENT}
        what = {"payload": body, "payload_encoding": "string", "properties": properties}
        key = {"routing_key": f"StudioML.{self.queue}"}
        told = self.server.ask("POST", "exchanges/%2F/StudioML.topic/publish", {**what, **key})
        assert told == {"routed": True}

    def is_holding(self) -> bool | None:
        """See ``Broker``: it is parked in a queue of its own."""
        found = self.server.ask("GET", "queues/%2F?columns=name")
        return any(self._is_beside(one["name"]) and ".held." in one["name"] for one in found)

    def left(self) -> list[str]:
        """See ``Broker``: the management interface tells late, so the broker itself is asked."""
        listed = self.server.control("list_queues", "--no-table-headers", "name", "messages")
        rows = [line.split("\t") for line in listed.splitlines() if line.count("\t") == 1]
        ours = [row for row in rows if row[0] == self.queue or self._is_beside(row[0])]
        return [f"{count} in {name}" for name, count in ours if count != "0"]

    def outage(self) -> AbstractContextManager[None]:
        """See ``Broker``."""
        return self.server.killed()

    def _is_beside(self, name: str) -> bool:
        return name.startswith("studio-runner.") and self.queue in name


class SqsQueue(SqsAccount):
    """moto keeps everything in memory, so in an outage it hangs."""

    name = "sqs"
    hidden = 0.0

    def is_holding(self) -> bool | None:
        """See ``Broker``."""
        return self._count("ApproximateNumberOfMessagesNotVisible") > 0

    def left(self) -> list[str]:
        """See ``Broker``."""
        names = ("", "NotVisible", "Delayed")
        counts = {name: self._count(f"ApproximateNumberOfMessages{name}") for name in names}
        return [f"{count} {name or 'visible'}" for name, count in counts.items() if count]

    def outage(self) -> AbstractContextManager[None]:
        """See ``Broker``."""
        return frozen(listener_on(int(self.sqs.endpoint.rpartition(":")[2])))


class PubsubSubscription(PubsubAccount):
    """Google's emulator keeps everything in memory, so in an outage it hangs."""

    name = "pubsub"
    hidden = 12.0

    def is_holding(self) -> bool | None:
        """See ``Broker``: whoever looked would take it."""
        return None

    def left(self) -> list[str]:
        """See ``Broker``: what somebody held is seen when that has ended."""
        return [f"a message of {len(one.body)} bytes" for one in self.look()]

    def outage(self) -> AbstractContextManager[None]:
        """See ``Broker``."""
        return frozen(listener_on(self.server.port))


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Stop a process where it is: connections stay, and nothing answers."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def listener_on(port: int) -> int:
    """Return the pid of the process that listens on a port."""
    listening = [one for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
    return next(one.pid for one in listening if one.pid and one.laddr[1:] == (port,))


Maker = Callable[[], Broker]
"""Makes a queue that nobody else has."""


@contextmanager
def makers(names: Iterable[str], directory: Path) -> Iterator[dict[str, Maker]]:
    """Run the servers of these names (``local`` takes none), and yield what makes queues there."""
    with ExitStack() as stack:
        found: dict[str, Maker] = {}
        for name in names:
            if name in _SERVERS:
                place = directory / name
                place.mkdir()
                found[name] = _SERVERS[name](stack, place)
        yield found


def _rabbit(stack: ExitStack, directory: Path) -> Maker:
    server = RabbitServer(directory)
    stack.enter_context(server.running())
    return lambda: RabbitQueue(server)


def _sqs(stack: ExitStack, directory: Path) -> Maker:
    server = stack.enter_context(moto.running(directory))
    return lambda: SqsQueue(server)


def _pubsub(stack: ExitStack, directory: Path) -> Maker:
    server = stack.enter_context(pubsub.emulator(directory))
    return lambda: PubsubSubscription(server)


_SERVERS: Mapping[str, Callable[[ExitStack, Path], Maker]] = {
    "rabbitmq": _rabbit,
    "sqs": _sqs,
    "pubsub": _pubsub,
}
