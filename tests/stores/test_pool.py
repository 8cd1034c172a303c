"""The pool opens one store an account and lets files be named only from where that is safe."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import anyio
import anyio.lowlevel
import pytest

from runner.errors import Unsupported
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
from runner.stores.base import Account, Store, StoreOptions
from runner.stores.local import LocalStore
from runner.stores.pool import StorePool

pytestmark = pytest.mark.anyio

REQUEST = Request(Experiment("key", "train.py"), Needs(), {})
FILE = Location("file", "", "", "/store/object")
ALICE = Credentials("alice", Secret("a"))
BOB = Credentials("bob", Secret("b"))


class Recording(LocalStore):
    """A real store that says when it is opened and closed."""

    events: ClassVar[list[tuple[str, Account]]] = []

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
        self.events.append(("opened", self._account))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.events.append(("closed", self._account))


FAR = Registry("storage scheme", {"far": (f"{__name__}:Recording", None)})


@pytest.fixture
def events() -> list[tuple[str, Account]]:
    """Return what the recording stores of this test will say."""
    Recording.events.clear()
    return Recording.events


def artifact(host: str, credentials: Credentials | None) -> Artifact:
    """Make an artifact of a host."""
    return Artifact("output", Location("far", host, "b", "k"), True, True, credentials)  # noqa: FBT003 - mutable, unpack


async def test_a_file_of_a_local_queue_gets_the_local_store(tmp_path: Path) -> None:
    """The operator's roots reach the store."""
    async with StorePool(StoreOptions((tmp_path,))) as pool:
        store = await pool.store_for(FILE, REQUEST, queue_broker="local")
        here = Location("file", "", "", str(tmp_path / "x"))
        assert (await store.put_if(here, b"x", None)).size == 1


async def test_a_file_named_from_afar_is_unsupported() -> None:
    """A message of another broker opens no file, and the option that allows it is named."""
    async with StorePool(StoreOptions()) as pool:
        with pytest.raises(Unsupported, match="--allow-file-artifacts"):
            await pool.store_for(FILE, REQUEST, queue_broker="sqs")
    async with StorePool(StoreOptions(allow_file_artifacts=True)) as pool:
        store = await pool.store_for(FILE, REQUEST, queue_broker="sqs")
        assert isinstance(store, LocalStore)


async def test_an_unknown_scheme_names_the_known_ones() -> None:
    """The sender reads what there is."""
    async with StorePool(StoreOptions()) as pool:
        with pytest.raises(Unsupported, match=r"'ftp'; known: file"):
            await pool.store_for(Location("ftp", "h", "b", "k"), REQUEST, queue_broker="local")


async def test_one_store_an_account(events: list[tuple[str, Account]]) -> None:
    """Equal host and credentials share a store, also when asked for at once; all are closed."""
    found: list[Store] = []

    async def ask(pool: StorePool, wanted: Artifact) -> None:
        found.append(await pool.store_for(wanted, REQUEST, queue_broker="sqs"))

    async with StorePool(StoreOptions(), FAR) as pool:
        async with anyio.create_task_group() as group:
            for credentials in (ALICE, BOB, ALICE, BOB):
                group.start_soon(ask, pool, artifact("host", credentials))
            group.start_soon(ask, pool, artifact("other", ALICE))
        assert len(set(map(id, found))) == 3
        assert [what for what, _ in events] == ["opened"] * 3
    assert sorted(what for what, _ in events) == ["closed"] * 3 + ["opened"] * 3


async def test_credentials_come_from_the_artifact_then_from_its_request(
    events: list[tuple[str, Account]],
) -> None:
    """An artifact without its own uses those of ``config.storage``."""
    storage = StoreConfig(type="far", credentials=BOB)
    request = Request(REQUEST.experiment, REQUEST.needs, {}, storage=storage)
    async with StorePool(StoreOptions(), FAR) as pool:
        await pool.store_for(artifact("own", ALICE), request, queue_broker="sqs")
        await pool.store_for(artifact("none", None), request, queue_broker="sqs")
        await pool.store_for(artifact("none", None).location, request, queue_broker="sqs")
        opened = [account for _, account in events]
    assert opened == [
        Account("far", "own", credentials=ALICE),
        Account("far", "none", credentials=BOB),
    ]
