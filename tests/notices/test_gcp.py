"""Compute Engine's preemption and maintenance, asked of a server that waits as the real one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import anyio
import pytest

from runner.notices.base import Service
from runner.notices.gcp import Gcp, notice
from tests.contracts.notices import PATIENCE, NoticeContract, watched
from tests.servers.metadata import Gce, gce
from tests.servers.process import free_ports

pytestmark = pytest.mark.anyio


@pytest.fixture
def server() -> Iterator[Gce]:
    """The instance's metadata server."""
    with gce() as server:
        yield server


def of(host: str) -> Gcp:
    """Return what asks there."""
    return Gcp({"GCE_METADATA_HOST": host})


class TestGcp(NoticeContract):
    """Compute Engine."""

    @pytest.fixture
    def service(self, server: Gce) -> Service:
        """See the contract."""
        return of(server.host)

    @pytest.fixture
    def nowhere(self) -> Service:
        """See the contract."""
        return of(f"127.0.0.1:{free_ports(1)[0]}")

    @pytest.fixture
    def announce(self, server: Gce) -> Callable[[], None]:
        """See the contract."""
        return lambda: server.set("preempted", "TRUE")

    @pytest.fixture
    def fail(self, server: Gce) -> Callable[[], None]:
        """See the contract."""
        return lambda: setattr(server, "status", 503)


async def test_nothing_is_asked_while_nothing_changes(server: Gce) -> None:
    """Two polls wait; when we leave they are cut, and nobody waits for them."""
    async with watched(of(server.host)) as heard:
        await heard.until(lambda _: True)
        with anyio.fail_after(PATIENCE):
            while server.waiting < 2:  # noqa: ASYNC110 - another thread's
                await anyio.sleep(0.005)
        asked = len(server.asked)
        await anyio.sleep(0.05)
        assert len(server.asked) == asked == 4


async def test_an_end_that_is_called_off_is_told(server: Gce) -> None:
    """A maintenance may be put off."""
    async with watched(of(server.host)) as heard:
        await heard.until(lambda _: True)
        server.set("maintenance-event", "TERMINATE_ON_HOST_MAINTENANCE")
        await heard.until(lambda told: told is not None)
        server.set("maintenance-event", "NONE")
        await heard.until(lambda told: told is None)


@pytest.mark.parametrize("key", ["preempted", "maintenance-event"])
async def test_nothing_is_said_before_both_keys_are_known(server: Gce, key: str) -> None:
    """Else a daemon that is started in the last minutes would take it for news."""
    server.set(key, {"preempted": "TRUE"}.get(key, "TERMINATE_ON_HOST_MAINTENANCE"))
    async with watched(of(server.host)) as heard:
        await heard.until(lambda _: True)
    assert heard.notices[0] is not None


async def test_whoever_listens_anew_is_told_anew(server: Gce) -> None:
    """Whether the service is heard again shows in its words, also where they are the same."""
    service = of(server.host)
    for _ in range(2):
        async with watched(service) as heard:
            assert await heard.until(lambda _: True) is None


async def test_what_a_cluster_does_not_tell_is_not_asked_again(server: Gce) -> None:
    """The other key is followed all the same."""
    del server.values["maintenance-event"]
    async with watched(of(server.host)) as heard:
        await heard.until(lambda _: True)
        server.set("preempted", "TRUE")
        await heard.until(lambda told: told is not None)


@pytest.mark.parametrize(
    ("preempted", "event", "has_gpus", "left"),
    [
        ("FALSE", "NONE", True, None),
        ("FALSE", "MIGRATE_ON_HOST_MAINTENANCE", False, None),
        ("TRUE", "NONE", True, timedelta(seconds=30)),
        ("TRUE", "TERMINATE_ON_HOST_MAINTENANCE", True, timedelta(seconds=30)),
        ("FALSE", "TERMINATE_ON_HOST_MAINTENANCE", False, timedelta(seconds=60)),
        ("FALSE", "TERMINATE_ON_HOST_MAINTENANCE", True, timedelta(hours=1)),
    ],
)
def test_what_is_said_decides_how_long_there_is(
    preempted: str,
    event: str,
    has_gpus: bool,  # noqa: FBT001 - a table
    left: timedelta | None,
) -> None:
    """A preemption goes before a maintenance; being moved is no end."""
    found = notice({"preempted": preempted, "maintenance-event": event}, has_gpus=has_gpus)
    assert (found.left if found else None) == left
