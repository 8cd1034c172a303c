"""The open stores of a daemon: one for each account that its experiments name."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import Self

import anyio

from runner.errors import Unsupported
from runner.model import Artifact, Location, Request
from runner.registry import Registry
from runner.stores import STORES
from runner.stores.base import Account, Store, StoreOptions


class StorePool(AbstractAsyncContextManager["StorePool"]):
    """Opens a store when it is first needed and closes all of them at its own end."""

    def __init__(self, options: StoreOptions, backends: Registry = STORES) -> None:
        self._options = options
        self._backends = backends
        self._open: dict[Account, Store] = {}
        self._stack = AsyncExitStack()
        self._lock = anyio.Lock()

    async def __aenter__(self) -> Self:
        await self._stack.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open.clear()
        await self._stack.__aexit__(kind, error, traceback)

    async def store_for(
        self, wanted: Artifact | Location, request: Request, *, queue_broker: str
    ) -> Store:
        """Return the open store of an artifact, or of a location beside the artifacts.

        ``queue_broker`` is the registry name of the broker that brought the message. Raises
        Unsupported for a scheme without a backend, and for ``file://`` in a message that came
        from elsewhere than a local queue: its sender has no business with this machine's files.
        """
        location = wanted.location if isinstance(wanted, Artifact) else wanted
        if location.scheme not in self._backends:
            known = ", ".join(sorted(self._backends))
            raise Unsupported(
                f"{location} has the unknown storage scheme {location.scheme!r}; known: {known}"
            )
        if location.scheme == "file":
            self._allow_file(location, queue_broker)
        return await self._opened(_account(wanted, location, request))

    def _allow_file(self, location: Location, queue_broker: str) -> None:
        if queue_broker != "local" and not self._options.allow_file_artifacts:
            raise Unsupported(
                f"{location} is a file of the runner's machine, which only messages of local "
                f"queues may name, not those of {queue_broker}; --allow-file-artifacts allows it"
            )

    async def _opened(self, account: Account) -> Store:
        async with self._lock:
            store = self._open.get(account)
            if store is None:
                backend: type[Store] = self._backends.load(account.backend)
                store = await self._stack.enter_async_context(
                    backend.for_account(account, self._options)
                )
                self._open[account] = store
            return store


def _account(wanted: Artifact | Location, location: Location, request: Request) -> Account:
    if location.scheme == "file":  # the file system asks the daemon's user, not the message
        return Account("file")
    own = wanted.credentials if isinstance(wanted, Artifact) else None
    return Account(location.scheme, location.host, credentials=own or request.storage.credentials)
