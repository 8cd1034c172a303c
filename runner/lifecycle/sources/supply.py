"""The sources of experiments: brokers that come and go with their credentials."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from types import TracebackType
from typing import Self

import anyio
from anyio.abc import TaskGroup

from runner import log
from runner.lifecycle.ownership.keeper import Keeper
from runner.lifecycle.sources.accounts import Account, Open, Renew, Retire, Step, account_of, plan
from runner.lifecycle.sources.source import Complain, Make, Source
from runner.queues.base import Broker
from runner.queues.credential import Credential

_log = log.get_logger(__name__)

#: A broker that needs no credential, with what people know it by.
Fixed = tuple[Broker, str]


async def _no_credential_makes_one(_: Credential) -> Broker:
    raise NotImplementedError


class Supply(AbstractAsyncContextManager["Supply"]):
    """Opens a broker for every credential that appears; closes it when the credential is gone.

    Brokers stay open until the block ends, whatever else is cancelled: settling needs them.
    """

    def __init__(
        self,
        keeper: Keeper,
        complain: Complain,
        *,
        fixed: Sequence[Fixed] = (),
        make: Make = _no_credential_makes_one,
        credentials: AsyncIterator[tuple[Credential, ...]] | None = None,
        learn: Callable[[Credential], None] = lambda _: None,
        refused: Callable[[Credential], None] = lambda _: None,
        unusable: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        """``learn`` is told of every credential before it is used: what of it is secret.

        ``refused`` is told of one that its broker does not accept: there may be another.
        ``unusable`` says what should be a credential and is none: by its place, for people.
        """
        self._keeper = keeper
        self._complain = complain
        self._make = make
        self._credentials = credentials
        self._learn = learn
        self._refused = refused
        self.unusable = unusable
        self._sources: dict[Account, Source] = {}
        self._by_credential: set[Account] = set()
        self._uses: Counter[Account] = Counter()
        self._changed = anyio.Event()
        self._is_complete = credentials is None
        self._group: TaskGroup | None = None
        self._fixed = fixed

    async def __aenter__(self) -> Self:
        group = self._group = anyio.create_task_group()
        await group.__aenter__()
        for broker, origin in self._fixed:
            self._add(_named(broker, origin), _giving(broker))
        if self._credentials is not None:
            group.start_soon(self._follow, self._credentials)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        assert self._group is not None  # noqa: S101 - set when it was entered
        self._group.cancel_scope.cancel()
        return await self._group.__aexit__(kind, error, traceback)

    def __iter__(self) -> Iterator[Source]:
        return iter(list(self._sources.values()))

    def find(self, account: Account) -> Source | None:
        """Return the source of an account, which need not be open."""
        return self._sources.get(account)

    def lacks(self, account: Account) -> bool:
        """Tell whether nothing opens the account, as far as is known; usable from any thread."""
        source = self._sources.get(account)
        return self._is_complete and (source is None or (source.is_retired and not source.broker))

    async def complete(self) -> None:
        """Wait until it is known which credentials there are."""
        while not self._is_complete:
            await self.change()

    async def opened(self, account: Account) -> Source:
        """Wait until a source is open, be it retired."""
        while True:
            source = self._sources.get(account)
            if source is not None and source.broker is not None:
                return source
            await self.change()

    @contextmanager
    def used(self, account: Account) -> Iterator[None]:
        """Keep an account's broker open inside the block, also one that is not open yet."""
        self._uses[account] += 1
        try:
            yield
        finally:
            self._uses[account] -= 1
            source = self._sources.get(account)
            if source is not None:
                source.look_again()

    async def change(self) -> None:
        """Wait until a source appears, opens, is retired or closes."""
        await self._changed.wait()

    def look_again(self) -> None:
        """Wake who waits for a change, to see what there is."""
        self._tell()

    async def _follow(self, credentials: AsyncIterator[tuple[Credential, ...]]) -> None:
        async for after in credentials:
            for credential in after:
                self._learn(credential)
            before = {
                account: source.credential
                for account, source in self._sources.items()
                if account in self._by_credential and not source.is_retired
            }
            for step in plan(before, after):
                self._take(step)
            self._is_complete = True
            self._tell()

    def _take(self, step: Step) -> None:
        match step:
            case Open(credential):
                _log.info(
                    "credential found", credential=credential.origin, broker=credential.broker
                )
                self._open(credential)
            case Renew(credential):
                _log.info("credential changed", origin=credential.origin)
                self._open(credential)
            case Retire(account):
                _log.info("credential gone", origin=self._sources[account].origin)
                self._sources[account].retire()

    def _open(self, credential: Credential) -> None:
        known = self._sources.get(account_of(credential))
        if known is None:
            self._by_credential.add(account_of(credential))
            self._add(credential, self._make)
        else:
            known.want(credential)

    def _add(self, credential: Credential, make: Make) -> None:
        account = account_of(credential)
        source = Source(
            credential,
            make,
            self._complain,
            self._keeper,
            is_used=lambda: self._uses[account] > 0,
            refused=self._refused,
        )
        self._sources[account] = source
        assert self._group is not None  # noqa: S101 - called inside the block alone
        self._group.start_soon(self._see_to, source)

    async def _see_to(self, source: Source) -> None:
        await source.live(self._tell)
        # Nothing awaits between its end and here: no credential can have come back unseen.
        del self._sources[source.account]
        self._by_credential.discard(source.account)
        _log.info("broker closed", credential=source.origin)
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


def _named(broker: Broker, origin: str) -> Credential:
    return Credential(broker=broker.name, scope=broker.project, origin=origin, fingerprint="")


def _giving(broker: Broker) -> Make:
    async def make(_: Credential) -> Broker:
        return broker

    return make
