"""The pool opens one store an account, closes it in time, and guards this machine's files."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, ClassVar, Self

import anyio
import anyio.lowlevel
import pytest
import structlog.testing

from runner.errors import StoreUnavailable, Unsupported
from runner.model import (
    Artifact,
    Credentials,
    Experiment,
    Location,
    Needs,
    Request,
    StoreConfig,
)
from runner.redaction import Secret
from runner.registry import Registry
from runner.stores.base import Account, NotFound, Store, StoreOptions
from runner.stores.lent import LentStore
from runner.stores.local import LocalStore
from runner.stores.pool import StorePool

pytestmark = pytest.mark.anyio

REQUEST = Request(Experiment("key", "train.py"), Needs(), {})
FILE = Location("file", "", "", "/store/object")
ALICE = Credentials("alice", Secret("a"))
BOB = Credentials("bob", Secret("b"))


class Recording(LocalStore):
    """A real store that says when it is opened and closed; some hosts take for ever."""

    events: ClassVar[list[tuple[str, Account]]] = []
    slow: ClassVar[str] = ""

    def __init__(self, account: Account) -> None:
        super().__init__(())
        self._account = account

    @classmethod
    def for_account(cls, account: Account, options: StoreOptions) -> Self:
        """Remember the account."""
        del options
        return cls(account)

    async def __aenter__(self) -> Self:
        await anyio.lowlevel.checkpoint()
        if self.slow and self.slow in self._account.endpoint:
            await anyio.sleep_forever()
        self.events.append(("opened", self._account))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.events.append(("closed", self._account))


RECORDING = Registry("store", {"minio": (f"{__name__}:Recording", None)})


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return its time."""
        return self.now


@pytest.fixture
def events() -> Iterator[list[tuple[str, Account]]]:
    """Return what the recording stores of this test will say."""
    Recording.events.clear()
    Recording.slow = ""
    yield Recording.events
    Recording.slow = ""


def artifact(host: str, credentials: Credentials | None) -> Artifact:
    """Make an artifact of a host."""
    return Artifact("output", Location("s3", host, "b", "k"), True, True, credentials)  # noqa: FBT003 - mutable, unpack


def hosts(events: list[tuple[str, Account]], what: str) -> list[str]:
    """Return the hosts of the stores that were opened, or closed."""
    return [account.endpoint.removeprefix("https://") for word, account in events if word == what]


async def test_a_file_of_a_local_queue_gets_the_local_store(tmp_path: Path) -> None:
    """The operator's roots reach the store, and all its methods are there."""

    def produce(stream: BinaryIO) -> None:
        stream.write(b"xy")

    async with StorePool(StoreOptions((tmp_path,))) as pool:
        store = await pool.store_for(FILE, REQUEST, queue_broker="local")
        here = Location("file", "", "", str(tmp_path / "x"))
        assert (await store.put_if(here, b"x", None)).size == 1
        assert await store.read(here, lambda stream: stream.read()) == b"x"
        assert (await store.write(here, produce)).size == 2
        assert (await store.stat(here)).size == 2
        await store.delete(here)
        with pytest.raises(NotFound):
            await store.stat(here)


async def test_a_file_named_from_afar_is_unsupported(tmp_path: Path) -> None:
    """A message of another broker opens no file, and the option that allows it is named."""
    async with StorePool(StoreOptions()) as pool:
        with pytest.raises(Unsupported, match="--allow-file-artifacts"):
            await pool.store_for(FILE, REQUEST, queue_broker="sqs")
    options = StoreOptions((tmp_path,), allow_file_artifacts=True)
    async with StorePool(options) as pool:
        store = await pool.store_for(FILE, REQUEST, queue_broker="sqs")
        with pytest.raises(NotFound):
            await store.stat(Location("file", "", "", str(tmp_path / "x")))


async def test_an_unknown_scheme_names_the_known_ones() -> None:
    """The sender reads what there is."""
    async with StorePool(StoreOptions()) as pool:
        with pytest.raises(Unsupported, match=r"'ftp'; known: file, gs, http, https, s3"):
            await pool.store_for(Location("ftp", "h", "b", "k"), REQUEST, queue_broker="local")


async def test_a_missing_package_sends_the_message_elsewhere() -> None:
    """The next runner may have it; what to install is said, and later messages can be served."""
    lacking = Registry("store", {"minio": ("runner.no_such_module:Store", "minio")})
    async with StorePool(StoreOptions(), lacking) as pool:
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match=r"pip install 'studio-runner\[minio\]'"):
                await pool.store_for(artifact("h", ALICE), REQUEST, queue_broker="local")


async def test_one_store_an_account(events: list[tuple[str, Account]]) -> None:
    """Equal host and credentials share a store, also when asked for at once; all are closed."""
    found: list[Store] = []

    async def ask(pool: StorePool, wanted: Artifact) -> None:
        found.append(await pool.store_for(wanted, REQUEST, queue_broker="sqs"))

    async with StorePool(StoreOptions(), RECORDING) as pool:
        async with anyio.create_task_group() as group:
            for credentials in (ALICE, BOB, ALICE, BOB):
                group.start_soon(ask, pool, artifact("host", credentials))
            group.start_soon(ask, pool, artifact("other", ALICE))
        assert len(set(map(id, found))) == 3
        assert [what for what, _ in events] == ["opened"] * 3
    assert sorted(what for what, _ in events) == ["closed"] * 3 + ["opened"] * 3


async def test_a_store_that_does_not_open_holds_up_no_other(
    events: list[tuple[str, Account]],
) -> None:
    """Opening waits for nobody else; who waits for the same one opens it when the first gave up."""
    Recording.slow = "slow"
    async with StorePool(StoreOptions(), RECORDING) as pool:
        async with anyio.create_task_group() as group:

            async def ask(host: str) -> None:
                await pool.store_for(artifact(host, ALICE), REQUEST, queue_broker="sqs")

            group.start_soon(ask, "slow")
            await anyio.wait_all_tasks_blocked()
            await ask("quick")
            assert hosts(events, "opened") == ["quick"]
            group.cancel_scope.cancel()
        Recording.slow = ""
        await pool.store_for(artifact("slow", ALICE), REQUEST, queue_broker="sqs")
    assert sorted(hosts(events, "closed")) == ["quick", "slow"]


async def test_a_store_is_closed_when_nobody_held_it_for_minutes(
    events: list[tuple[str, Account]],
) -> None:
    """A claim may hold one for days; keys that nobody uses any more do not pile up."""
    clock = Clock()
    async with StorePool(StoreOptions(), RECORDING, clock=clock) as pool:

        async def ask(host: str) -> Store:
            return await pool.store_for(artifact(host, ALICE), REQUEST, queue_broker="sqs")

        held = await ask("held")
        await ask("left")
        gc.collect()
        clock.now += 299
        await ask("new")
        assert hosts(events, "closed") == []
        clock.now += 2
        await ask("new")
        assert hosts(events, "closed") == ["left"]
        clock.now += 10_000
        assert await ask("held") is held
        assert hosts(events, "closed") == ["left", "new"]
        await ask("left")
        assert hosts(events, "opened") == ["held", "left", "new", "left"]


async def test_idle_stores_are_bounded_in_number(events: list[tuple[str, Account]]) -> None:
    """Temporary keys that are new with every message do not open ever more stores."""
    clock = Clock()
    async with StorePool(StoreOptions(), RECORDING, clock=clock) as pool:
        held = await pool.store_for(artifact("held", ALICE), REQUEST, queue_broker="sqs")
        for number in range(100):
            clock.now += 1
            keys = Credentials(f"key{number}", Secret("s"), Secret("token"))
            await pool.store_for(artifact("host", keys), REQUEST, queue_broker="sqs")
            assert len(hosts(events, "opened")) - len(hosts(events, "closed")) <= 33
        assert "held" not in hosts(events, "closed")
        del held
    assert len(hosts(events, "opened")) == len(hosts(events, "closed")) == 101


async def test_credentials_come_from_the_artifact_then_from_its_request(
    events: list[tuple[str, Account]],
) -> None:
    """An artifact without its own uses those of ``config.storage``."""
    storage = StoreConfig(type="s3", credentials=BOB)
    request = Request(REQUEST.experiment, REQUEST.needs, {}, storage=storage)
    async with StorePool(StoreOptions(), RECORDING) as pool:
        await pool.store_for(artifact("own", ALICE), request, queue_broker="sqs")
        await pool.store_for(artifact("none", None), request, queue_broker="sqs")
        await pool.store_for(artifact("none", None).location, request, queue_broker="sqs")
        opened = [account for _, account in events]
    assert opened == [
        Account("minio", "https://own", "us-east-1", ALICE),
        Account("minio", "https://none", "us-east-1", BOB),
    ]


@pytest.mark.parametrize(("host", "lines"), [("minio.lan:9000", 1), ("127.0.0.1:9000", 0)])
@pytest.mark.usefixtures("events")
async def test_clear_text_over_the_network_is_mentioned_once(host: str, lines: int) -> None:
    """The operator reads which hosts are spoken to without TLS, once each; loopback is no news."""
    options = StoreOptions(s3_http_hosts=("*.lan",))
    with structlog.testing.capture_logs() as logged:
        async with StorePool(options, RECORDING) as pool:
            for credentials in (ALICE, BOB, ALICE):
                await pool.store_for(artifact(host, credentials), REQUEST, queue_broker="sqs")
    said = [line["endpoint"] for line in logged if "clear text" in line["event"]]
    assert said == [f"http://{host}"] * lines


def test_what_is_lent_passes_everything_on() -> None:
    """Nothing that a store can do is answered by the base class instead of by the store."""
    promised = {name for name in vars(Store) if not name.startswith("_")}
    assert promised - vars(LentStore).keys() == {"endpoint"}
