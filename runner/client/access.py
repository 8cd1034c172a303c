"""Queues of every broker, opened without a daemon, to write into them and look into them."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import cast

from runner.app import choosing
from runner.client.identities import is_meant, opening
from runner.client.telling import SILENT, Telling
from runner.errors import Misconfigured, QueueUnavailable
from runner.queues import BROKERS
from runner.queues.addresses import LocalAddress, QueueAddress, SqsAddress, parse
from runner.queues.base import Broker, BrokerOptions, Inspectable, Queue
from runner.queues.choice import Choice
from runner.queues.credential import Credential
from runner.queues.drawer import DEAD_LETTERS, Drawer
from runner.settings import Settings

#: The settings that are read here.
SETTINGS = (
    "state_dir",
    "queue_root",
    "queue_match",
    "queue_mismatch",
    "queue_poll",
    "lease",
    "dead_letter_limit",
    "certs_dir",
    "google_certs",
    "google_project",
    "pubsub_timeout",
    "sqs_certs",
    "aws_region",
    "sqs_prefix",
    "sqs_timeout",
    "amqp_url",
    "amqp_mgt_url",
    "ambient_credentials",
)
#: A command lists queues once.
_NEVER = timedelta(days=1)
#: Found in no name.
_NOTHING = re.compile("(?!)")


class AnyQueue(Queue, Inspectable):
    """What every backend's queue is: countable, and open to a look."""


@dataclass(frozen=True, slots=True)
class Configured:
    """What the daemon's options and its watched directory lead to."""

    credentials: Sequence[Credential]
    #: Sentences about files that are no credentials.
    troubles: Sequence[str]


@dataclass(frozen=True, slots=True)
class Listed:
    """What one account shows."""

    broker: Broker
    taken: frozenset[str]
    left: frozenset[str]

    @property
    def names(self) -> Sequence[str]:
        """All of them."""
        return sorted(self.taken | self.left)


class Access:
    """The queues that somebody at this machine can open, without a daemon.

    ``wanted`` is ``--credential``: the only one that is used; empty: any.
    """

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        wanted: str = "",
        telling: Telling = SILENT,
    ) -> None:
        self.settings = settings
        self.telling = telling
        self.wanted = wanted
        self._environ = environ
        self._configured: Configured | None = None
        self._has_told = False

    @property
    def configured(self) -> Configured:
        """The daemon's credentials, as they are now. Raises Misconfigured."""
        if self._configured is None:
            self._configured = _look(self.settings, self._environ)
        return self._configured

    def credentials(self) -> Sequence[Credential]:
        """Return the configured credentials, those that ``--credential`` means."""
        return [one for one in self.configured.credentials if is_meant(one, self.wanted)]

    def opening(self, address: QueueAddress) -> Credential | None:
        """Return what opens a queue; ``None`` for a local one. Raises Misconfigured.

        Nobody is asked; that the backend is installed and configured is known then.
        """
        BROKERS.load(address.broker)
        if isinstance(address, LocalAddress):
            self._root()
            return None
        found = self.configured.credentials
        if not any(map(address.matches, found)):
            self.tell_troubles()
        return opening(address, found, self._environ, wanted=self.wanted)

    def takes(self, address: QueueAddress) -> bool:
        """Tell whether a daemon of these settings takes from a queue, by pattern or by name."""
        if choosing.choice(self.settings, address.broker).takes(address.name):
            return True
        if isinstance(address, LocalAddress):
            return False
        matching = filter(address.matches, self.configured.credentials)
        return any(_is_named(address, text) for one in matching for text in one.queues)

    def tell_troubles(self) -> None:
        """Say once what is wrong with credentials: one of them may be the one that is missing."""
        if not self._has_told:
            for sentence in self.configured.troubles:
                self.telling.note(f"note: {sentence}")
        self._has_told = True

    @asynccontextmanager
    async def queue(self, address: QueueAddress) -> AsyncIterator[AnyQueue]:
        """Give one queue, whatever the patterns say of it. Raises QueueUnavailable."""
        is_of_account = isinstance(address, SqsAddress) and bool(address.account)
        # Of a queue with an account the address alone counts: never its namesake in another one.
        choice = Choice(_NOTHING) if is_of_account else Choice(named=frozenset({address.name}))
        async with self.broker(self.opening(address), choice) as broker:
            # By a look around the broker learns whose it is; it is asked for by its name.
            if is_of_account and address.name not in await _first(broker.discover()):
                raise QueueUnavailable(f"there is no queue {address}")
            yield cast("AnyQueue", await broker.open(address.name))

    @asynccontextmanager
    async def listed(self, credential: Credential | None) -> AsyncIterator[Listed]:
        """Give an account with what a daemon would take of it, and what it would leave."""
        kind = credential.broker if credential else LocalAddress.broker
        async with self.broker(credential, choosing.choice(self.settings, kind)) as broker:
            taken = await _first(broker.discover())
            yield Listed(broker, taken, broker.left)

    def broker(self, credential: Credential | None, choice: Choice) -> Broker:
        """Return the broker of a credential, or that of local queues; not yet opened."""
        settings, owner = self.settings, f"command line, process {os.getpid()}"
        if credential is None:
            local: Broker = BROKERS.load(LocalAddress.broker)(
                self._root(),
                choice=choice,
                lease=settings.lease,
                owner=owner,
                poll=settings.queue_poll,
            )
            return local
        options = BrokerOptions(
            owner=owner,
            choice=choice,
            lease=settings.lease,
            refresh=_NEVER,
            timeout=choosing.timeout(settings, credential.broker),
            drawer=Drawer(settings.state_dir / DEAD_LETTERS, settings.dead_letter_limit),
        )
        remote: Broker = BROKERS.load(credential.broker)(credential, options)
        return remote

    def _root(self) -> Path:
        if self.settings.queue_root is None:
            raise Misconfigured("there is no directory of local queues: name one with --queue-root")
        return self.settings.queue_root


def label(address: QueueAddress) -> str:
    """Return how people call the queue."""
    return address.name if isinstance(address, LocalAddress) else str(address)


def _is_named(address: QueueAddress, text: str) -> bool:
    """Tell whether a line of a file ``queues`` names the queue."""
    try:
        return parse(text, plain=address.broker).name == address.name
    except Misconfigured:  # the daemon's log has it
        return False


def _look(settings: Settings, environ: Mapping[str, str]) -> Configured:
    """Look once at the watched directories and the options."""
    # Imported late: who has local queues alone shall not wait for it.
    from runner.app.credentials import credential_sources  # noqa: PLC0415
    from runner.queues.credentials import found_now  # noqa: PLC0415

    found = found_now(credential_sources(settings, environ), environ)
    troubles = [f"{one.about} {one.sentence}" for one in found.troubles]
    return Configured(found.chosen.credentials, troubles)


async def _first(found: AsyncIterator[frozenset[str]]) -> frozenset[str]:
    async with aclosing(cast("AsyncGenerator[frozenset[str], None]", found)) as sets:
        async for names in sets:
            return names
    return frozenset()
