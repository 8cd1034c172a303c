"""One account of one broker, from the first sight of its credential to its closing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio

from runner import log
from runner.errors import Misconfigured, QueueDenied, QueueUnavailable, RunnerError
from runner.lifecycle.ownership.keeper import Keeper
from runner.lifecycle.sources.accounts import account_of, place_of
from runner.lifecycle.sources.echo import Echo
from runner.lifecycle.sources.pauses import Pauses
from runner.lifecycle.sources.suspicion import Suspicion
from runner.lifecycle.sources.tap import Tap
from runner.queues.base import Broker
from runner.queues.credential import Credential

_log = log.get_logger(__name__)

Make = Callable[[Credential], Awaitable[Broker]]
"""Makes a broker, not yet opened. Raises Misconfigured, where its package is missing say."""

Complain = Callable[["Source", str], Awaitable[None]]
"""Says what keeps a source from working."""

#: Seconds that closing a broker may take.
_CLOSING = 10.0


class Source:
    """Follows what is wanted of one account: to be open with this credential, or to be over.

    A retired one stays open for as long as it is used.
    """

    def __init__(
        self,
        credential: Credential,
        make: Make,
        complain: Complain,
        keeper: Keeper,
        *,
        is_used: Callable[[], bool],
        refused: Callable[[Credential], None],
    ) -> None:
        """``is_used``: a delivery of it is in hand, or a receive is open.

        ``refused`` is told of a credential that the broker does not accept.
        """
        self.account = account_of(credential)
        self.credential = credential
        #: Only while it is open.
        self.broker: Broker | None = None
        #: What keeps it from working, for people; empty: it works.
        self.trouble = ""
        self.is_retired = False
        #: What its queues have said of their trouble.
        self.echo = Echo()
        self._made_with = credential
        self._make = make
        self._complain = complain
        self._keeper = keeper
        self._is_used = is_used
        self._refused = refused
        self._suspicions: dict[str, Suspicion] = {}
        self._changed = anyio.Event()

    @property
    def origin(self) -> str:
        """Where people find its credential."""
        return self.credential.origin

    @property
    def is_serving(self) -> bool:
        """Tell whether its queues are to be taken from."""
        return self.broker is not None and self._is_on

    @property
    def state(self) -> str:
        """Say in a word how it stands."""
        if self.is_serving:
            return "in trouble" if self.trouble else "open"
        return "opening" if self._is_on else "closing"

    @property
    def _is_on(self) -> bool:
        """A credential that was moved to another place opens it anew, once this one is closed."""
        return not self.is_retired and place_of(self.credential) == place_of(self._made_with)

    def want(self, credential: Credential) -> None:
        """Be open, or open again, with this credential."""
        self.credential, self.is_retired = credential, False
        self._tell()

    def retire(self) -> None:
        """Close as soon as nobody uses it."""
        self.is_retired = True
        self._tell()

    def look_again(self) -> None:
        """See whether it is still used."""
        self._tell()

    def suspicion(self, queue: str) -> Suspicion:
        """Return what is known about a queue's being deleted."""
        return self._suspicions.setdefault(queue, Suspicion())

    async def tap(self, queue: str) -> Tap:
        """Open one of its queues. Raises QueueUnavailable where it is not open, Misconfigured."""
        if self.broker is None:
            raise QueueUnavailable(f"{self.origin} is not open")
        return Tap(await self.broker.open(queue), self.suspicion(queue), self._keeper)

    def doubt(self) -> None:
        """Note an outage for all queues: what is missing after it was not deleted by anybody."""
        for suspicion in self._suspicions.values():
            suspicion.trouble()

    async def pause(self, seconds: float) -> None:
        """Wait after trouble; another secret ends it."""
        made_with = self._made_with
        with anyio.move_on_after(seconds):
            while self._made_with is made_with:
                await self._changed.wait()

    async def live(self, opened: Callable[[], None]) -> None:
        """Open, serve, and close; return when it is over. ``opened`` is told after each change."""
        pauses = Pauses()
        while not self.is_retired:
            try:
                async with self._opened(opened):
                    pauses.over()
                    await self._serve()
            except Exception as error:  # noqa: BLE001 - one broker's trouble must stop no other
                await self._wait(pauses, error)

    async def failed(self, error: Exception) -> QueueUnavailable:
        """Say once what is wrong, and return it as something to wait for."""
        if not isinstance(error, RunnerError):
            _log.error("a defect of the runner", source=self.origin, exc_info=error)
        text = str(error) or type(error).__name__
        if text != self.trouble:
            self.trouble = text
            await self._complain(self, text)
            if isinstance(error, QueueDenied):
                self._refused(self._made_with)
        if isinstance(error, QueueUnavailable):
            return error
        is_for_a_person = isinstance(error, Misconfigured)
        return QueueDenied(text) if is_for_a_person else QueueUnavailable(text)

    def works(self) -> None:
        """Say that the broker has answered."""
        if self.trouble:
            _log.info("works again", source=self.origin)
        self.trouble = ""

    @asynccontextmanager
    async def _opened(self, told: Callable[[], None]) -> AsyncIterator[None]:
        self._made_with = self.credential
        broker = await self._make(self._made_with)
        # Closing is bounded, and is not cut short by our being cancelled.
        with anyio.CancelScope() as scope:
            async with broker:
                self.broker = broker
                told()
                try:
                    yield
                finally:
                    self.broker = None
                    told()
                    scope.shield, scope.deadline = True, anyio.current_time() + _CLOSING

    async def _serve(self) -> None:
        pauses = Pauses()
        while self._is_on or self._is_used():
            changed = self._changed
            if not self._is_on or self.credential.fingerprint == self._made_with.fingerprint:
                await changed.wait()
            else:
                await self._renew(pauses)

    async def _renew(self, pauses: Pauses) -> None:
        """Until it succeeds the credential from before goes on being used."""
        wanted, broker = self.credential, self.broker
        assert broker is not None  # noqa: S101 - called while it is open
        try:
            await broker.renew(wanted)
        except Exception as error:  # noqa: BLE001 - what is held must not be closed for it
            await self._wait(pauses, error)
        else:
            self._made_with = wanted
            pauses.over()
            self._tell()
            _log.info("credential renewed", source=self.origin)

    async def _wait(self, pauses: Pauses, error: Exception) -> None:
        changed = self._changed
        with anyio.move_on_after(pauses.after(await self.failed(error))):
            await changed.wait()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
