"""The open stores of a daemon: one for each account that its experiments name."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio

from runner import blocking, log
from runner.errors import Misconfigured, StoreUnavailable, Unsupported
from runner.model import Artifact, Location, Request
from runner.registry import Registry
from runner.stores import STORES
from runner.stores.accounts import account_for, is_loopback
from runner.stores.base import Account, Store, StoreOptions
from runner.stores.lent import LentStore

_log = log.get_logger(__name__)

#: Seconds that a store stays open after its last user has let go of it.
_IDLE = 300.0
#: More stores than these stay open only while each of them is in use.
_MOST_OPEN = 32
#: Seconds that closing one may take.
_CLOSING = 10.0
_LOADING = blocking.Limit(4)


class StorePool(AbstractAsyncContextManager["StorePool"]):
    """Opens a store when it is first needed, closes it when nobody has used it for a while.

    A store is in use as long as somebody holds what ``store_for`` returned: nothing is given back
    by hand, and a claim may be beaten for days. Used from one event loop; the stores from any.
    """

    def __init__(
        self,
        options: StoreOptions,
        backends: Registry = STORES,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._backends = backends
        self._clock = clock
        self._places: dict[Account, _Place] = {}
        #: Remote hosts that are spoken to in clear text, and of which that was said.
        self._warned: set[str] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        async with AsyncExitStack() as closing:
            for place in self._places.values():
                if place.store is not None:
                    closing.push_async_exit(place.store)
            self._places.clear()

    async def store_for(
        self,
        wanted: Artifact | Location,
        request: Request,
        *,
        queue_broker: str,
        queue_credentials: Path | None = None,
    ) -> Store:
        """Return the open store of an artifact, or of a location beside the artifacts.

        ``queue_broker`` is the registry name of the broker that brought the message, by the key
        file ``queue_credentials`` where it has one. Raises Unsupported for a scheme without a
        backend, and for ``file://`` in a message that came from elsewhere than a local queue: its
        sender has no business with this machine's files. Raises BadField.
        """
        location = wanted.location if isinstance(wanted, Artifact) else wanted
        account = account_for(
            wanted,
            request,
            self._options,
            queue_broker=queue_broker,
            queue_credentials=queue_credentials,
        )
        if account.backend == "file":
            self._allow_file(location, queue_broker)
        await self._close_idle()
        lent = await self._lent(account, location)
        self._mention_clear_text(account)
        return lent

    def _allow_file(self, location: Location, queue_broker: str) -> None:
        if queue_broker != "local" and not self._options.allow_file_artifacts:
            raise Unsupported(
                f"{location} is a file of the runner's machine, which only messages of local "
                f"queues may name, not those of {queue_broker}; --allow-file-artifacts allows it"
            )

    def _mention_clear_text(self, account: Account) -> None:
        endpoint = account.endpoint
        if endpoint.startswith("http://") and not is_loopback(endpoint):
            if endpoint not in self._warned:
                _log.warning(
                    "artifacts of this host travel in clear text, for everybody on the way to read",
                    endpoint=endpoint,
                )
            self._warned.add(endpoint)

    async def _lent(self, account: Account, location: Location) -> Store:
        place = self._places.setdefault(account, _Place(account.endpoint, self._clock))
        async with place.opening:  # others open theirs meanwhile
            if place.store is None:
                place.store = await self._open(account, location)
            lent = place.lend(place.store)
            lent.endpoint = account.endpoint
            return lent

    async def _open(self, account: Account, location: Location) -> Store:
        try:
            # In a thread: importing an SDK for the first time takes up to a second.
            backend: type[Store] = await blocking.call(
                lambda _: self._backends.load(account.backend), limit=_LOADING
            )
        except Misconfigured as error:  # another runner may have the package
            raise StoreUnavailable(f"{location} cannot be reached from here: {error}") from error
        return await backend.for_account(account, self._options).__aenter__()

    async def _close_idle(self) -> None:
        for store in self._retired():
            with anyio.move_on_after(_CLOSING, shield=True):
                await store.__aexit__(None, None, None)

    def _retired(self) -> list[Store]:
        """Forget the stores that were idle for long enough, and return them for closing."""
        surplus = len(self._places) - _MOST_OPEN
        now = self._clock()
        idle = [(account, place) for account, place in self._places.items() if place.is_idle]
        retired = []
        for account, place in sorted(idle, key=lambda pair: pair[1].since):
            if surplus <= 0 and now - place.since < _IDLE:
                break
            surplus -= 1
            del self._places[account]
            if place.store is not None:
                retired.append(place.store)
        return retired


class _Place:
    """The store of one account, and whether anybody holds it."""

    def __init__(self, endpoint: str, clock: Callable[[], float]) -> None:
        self._endpoint = endpoint
        self._clock = clock
        self._lent: weakref.ref[LentStore] | None = None
        self.opening = anyio.Lock()
        self.store: Store | None = None
        #: When it was let go of last.
        self.since = clock()

    @property
    def is_idle(self) -> bool:
        """Tell whether nobody holds the store, or waits for it."""
        return not self.opening.locked() and (self._lent is None or self._lent() is None)

    def lend(self, store: Store) -> LentStore:
        """Return what all users of the store hold together."""
        lent = self._lent() if self._lent else None
        if lent is None:
            lent = LentStore(store, self._endpoint)
            self._lent = weakref.ref(lent, self._let_go)
        return lent

    def _let_go(self, _: weakref.ref[LentStore]) -> None:
        self.since = self._clock()
