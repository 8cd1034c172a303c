"""What every metadata service promises."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import pytest

from runner.errors import Unavailable
from runner.notices.base import Notice, Service

PATIENCE = 30.0


class Heard:
    """Remembers what was told."""

    def __init__(self) -> None:
        self.notices: list[Notice | None] = []
        self._news = anyio.Event()

    async def tell(self, notice: Notice | None) -> None:
        """See ``base.Tell``."""
        self.notices.append(notice)
        self._news.set()
        self._news = anyio.Event()

    async def until(self, fits: Callable[[Notice | None], bool]) -> Notice | None:
        """Wait until the last word is such."""
        with anyio.fail_after(PATIENCE):
            while not self.notices or not fits(self.notices[-1]):
                await self._news.wait()
        return self.notices[-1]


@asynccontextmanager
async def watched(service: Service) -> AsyncIterator[Heard]:
    """Listen for the time of the block."""
    heard = Heard()
    async with anyio.create_task_group() as group:
        group.start_soon(service.watch, heard.tell)
        yield heard
        group.cancel_scope.cancel()


class NoticeContract:
    """A subclass supplies the service, a server that speaks like it, and three verbs."""

    @pytest.fixture
    def service(self) -> Service:
        """Return the service."""
        raise NotImplementedError

    @pytest.fixture
    def nowhere(self) -> Service:
        """Return the service with an address where nobody listens."""
        raise NotImplementedError

    @pytest.fixture
    def announce(self) -> Callable[[], None]:
        """Have the machine's end announced."""
        raise NotImplementedError

    @pytest.fixture
    def fail(self) -> Callable[[], None]:
        """Have everything answered with 503."""
        raise NotImplementedError

    async def test_a_service_that_is_there_is_found(self, service: Service) -> None:
        """One question is enough."""
        assert await service.is_there()

    async def test_a_service_that_is_not_there_is_not_found(self, nowhere: Service) -> None:
        """Soon, and without an error."""
        with anyio.fail_after(10):
            assert not await nowhere.is_there()

    @pytest.mark.parametrize(
        "address", ["", "169.254.169.254", "http://", "http://[", "http://host:port", "http://a..b"]
    )
    async def test_an_address_that_is_none_is_nobody(
        self, nowhere: Service, monkeypatch: pytest.MonkeyPatch, address: str
    ) -> None:
        """A slip in the environment ends no daemon; the trouble names the address."""
        monkeypatch.setattr(nowhere, "_address", address)
        assert not await nowhere.is_there()
        with pytest.raises(Unavailable, match="is no address of a metadata service"):
            await nowhere.watch(Heard().tell)

    async def test_nothing_announced_is_said_at_once(self, service: Service) -> None:
        """Who waits for the first word may go on."""
        async with watched(service) as heard:
            assert await heard.until(lambda _: True) is None

    async def test_an_end_that_is_announced_is_told(
        self, service: Service, announce: Callable[[], None]
    ) -> None:
        """With a sentence, and with the time that is left."""
        async with watched(service) as heard:
            await heard.until(lambda _: True)
            announce()
            notice = await heard.until(lambda told: told is not None)
        assert notice is not None
        assert notice.said
        assert 0 < notice.left.total_seconds() <= 3600

    async def test_an_end_that_was_announced_before_is_told_first(
        self, service: Service, announce: Callable[[], None]
    ) -> None:
        """A daemon that is started in the last minute claims nothing."""
        announce()
        async with watched(service) as heard:
            assert await heard.until(lambda _: True) is not None

    async def test_a_service_that_fails_says_so(
        self, service: Service, fail: Callable[[], None]
    ) -> None:
        """And is no end of the machine."""
        fail()
        heard = Heard()
        with anyio.fail_after(PATIENCE), pytest.raises(Unavailable):
            await service.watch(heard.tell)
        assert heard.notices == []
