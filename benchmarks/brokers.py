"""From a message on a remote queue to user code, against the broker's own round trip.

python benchmarks/brokers.py [--rounds N] [--waiting N]

Each broker that is installed here (Amazon's as moto plays it, Google's emulator, RabbitMQ) is asked
first by a bare client: publish to received. Then a real daemon with a warm environment gets its
credential, and the script says when it began. At the end a number of experiments wait on every
broker at once, and are drained.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import aiormq
import anyio
from aiormq.abc import DeliveredMessage
from rich.console import Console
from rich.table import Table

from tests import services
from tests.acceptance.accounts import Account, PubsubAccount, RabbitAccount, SqsAccount
from tests.acceptance.box import Box
from tests.acceptance.operators_day import Operator
from tests.servers import moto, pubsub, rabbitmq
from tests.servers.pubsub import subscription_path

_SCRIPT = "import pathlib, time; pathlib.Path({path!r}).write_text(repr(time.time()))"
_GOAL = 300.0


def main(rounds: int, waiting: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        root = Path(directory)
        accounts = {
            name: stack.enter_context(opened(root / name))
            for name, (service, opened) in KINDS.items()
            if not services.absence(service)
        }
        trips = {name: _trips(account, rounds) for name, account in accounts.items()}
        variables = {
            key: value for account in accounts.values() for key, value in account.variables.items()
        }
        box = stack.enter_context(Box(root / "box"))
        operator = Operator(box, variables)
        assert box.outcome(box.submit("print('warm')"))["cause"] == "completed"
        pickups = {"local": [_pickup(box, box.publish) for _ in range(rounds)]}
        for name, account in accounts.items():
            operator.put(account, name)
            _pickup(box, _sender(account))
            pickups[name] = [_pickup(box, _sender(account)) for _ in range(rounds)]
            operator.take(name)
            operator.sees("broker closed", len(pickups) - 1)
        rates = {"local alone": _drained(box, [box.publish], waiting)}
        senders = [_sender(account) for account in accounts.values()]
        started = [partial(operator.put, account, name) for name, account in accounts.items()]
        rates[f"all {len(senders) + 1}"] = _drained(
            box, [box.publish, *senders], waiting, begin=started
        )
    _print(trips, pickups, rates, waiting)


def _sender(account: Account) -> Callable[[dict[str, object]], object]:
    return lambda message: account.send(json.dumps(message))


def _trips(account: Account, rounds: int) -> list[float]:
    """Measure publish to received, with a receive that waits already."""
    receive, found = RECEIVERS[type(account)], list[float]()
    for _ in range(rounds):
        ended: list[float] = []

        def wait(ended: list[float] = ended) -> None:
            receive(account)
            ended.append(time.perf_counter())

        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.5)
        begun = time.perf_counter()
        account.send("{}")
        thread.join()
        found.append(ended[0] - begun)
    return found


def _pickup(box: Box, send: Callable[[dict[str, object]], object]) -> float:
    """Measure publish to the first line of the script."""
    path = box.root / f"at-{time.monotonic_ns()}"
    message = box.message(_SCRIPT.format(path=str(path)))
    before = len(box.settled())
    time.sleep(1)  # the daemon is idle again, its long polls are open
    begun = time.time()
    send(message)
    while len(box.settled()) == before:
        time.sleep(0.005)
    return float(path.read_text()) - begun


def _drained(
    box: Box,
    senders: Sequence[Callable[[dict[str, object]], object]],
    waiting: int,
    begin: Sequence[Callable[[], None]] = (),
) -> float:
    """Return experiments a second, of ``waiting`` on each queue."""
    messages = [box.message("print('x')") for _ in range(waiting)]
    before = len(box.settled())
    for send in senders[1:]:
        for _ in range(waiting):
            send(box.message("print('x')"))
    begun = time.perf_counter()
    for message in messages:
        senders[0](message)
    for start in begin:
        start()
    count = waiting * len(senders)
    while len(box.settled()) < before + count:
        time.sleep(0.02)
    return count / (time.perf_counter() - begun)


def _print(
    trips: dict[str, list[float]],
    pickups: dict[str, list[float]],
    rates: dict[str, float],
    waiting: int,
) -> None:
    table = Table("broker", "its round trip, ms", "publish to user code, ms", "above it", "goal")
    for name, found in pickups.items():
        trip = statistics.median(trips.get(name, [0.0])) * 1000
        pickup = statistics.median(found) * 1000
        goal = f"<= {_GOAL:.0f}"
        table.add_row(name, f"{trip:.1f}", f"{pickup:.1f}", f"{pickup - trip:.1f}", goal)
    console = Console(width=110)
    console.print(table)
    for name, rate in rates.items():
        console.print(f"{waiting} waiting, {name}: {rate:.1f} experiments a second")


# ----------------------------------------------------------------------------- the brokers


@contextmanager
def _sqs(directory: Path) -> Iterator[Account]:
    directory.mkdir()
    with moto.running(directory) as server:
        yield SqsAccount(server)


@contextmanager
def _pubsub(directory: Path) -> Iterator[Account]:
    directory.mkdir()
    with pubsub.emulator(directory) as server:
        yield PubsubAccount(server)


@contextmanager
def _rabbit(directory: Path) -> Iterator[Account]:
    directory.mkdir()
    server = rabbitmq.RabbitServer(directory)
    with server.running():
        yield RabbitAccount(server)


def _from_sqs(account: SqsAccount) -> None:
    url = account.sqs.url(account.queue)
    while True:
        found = account.sqs.ask("receive_message", QueueUrl=url, WaitTimeSeconds=20)
        for one in found.get("Messages", []):
            account.sqs.ask("delete_message", QueueUrl=url, ReceiptHandle=one["ReceiptHandle"])
            return


def _from_pubsub(account: PubsubAccount) -> None:
    path = subscription_path(account.project, account.queue)
    while True:
        found = account.server.ask("POST", f"{path}:pull", {"maxMessages": 1})
        for one in found.get("receivedMessages", []):
            account.server.ask("POST", f"{path}:acknowledge", {"ackIds": [one["ackId"]]})
            return


def _from_rabbit(account: RabbitAccount) -> None:
    async def receive() -> None:
        connection = await aiormq.connect(account.server.url)
        channel, came = await connection.channel(), anyio.Event()

        async def take(message: DeliveredMessage) -> None:
            await channel.basic_ack(message.delivery_tag or 0)
            came.set()

        await channel.basic_consume(account.queue, take)
        await came.wait()
        await connection.close()

    anyio.run(receive)


#: Service of the tests, and what opens an account.
KINDS = {
    "sqs": ("sqs", _sqs),
    "pubsub": ("pubsub", _pubsub),
    "rabbitmq": ("rabbitmq", _rabbit),
}
RECEIVERS: dict[type, Callable[..., None]] = {
    SqsAccount: _from_sqs,
    PubsubAccount: _from_pubsub,
    RabbitAccount: _from_rabbit,
}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--waiting", type=int, default=100)
    given = parser.parse_args()
    main(given.rounds, given.waiting)
