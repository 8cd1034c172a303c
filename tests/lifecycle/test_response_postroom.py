"""Reports go out in nobody's way, and what is lost is said."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from runner.errors import QueueGone, QueueUnavailable, Unsupported
from runner.lifecycle.responses import sender
from runner.lifecycle.responses.documents import State, entry, progress
from runner.lifecycle.responses.postroom import Postroom
from runner.lifecycle.responses.reading import Told, read
from runner.lifecycle.responses.responses import Post, Subject
from runner.lifecycle.responses.sealing import Sealing
from runner.privacy.keyring import Keyring
from runner.privacy.response_keys import public_key
from runner.queues.mailbox import Mailbox
from runner.redaction import Redactor, Secret

pytestmark = pytest.mark.anyio

SUBJECT = Subject("local", "/q", "local_a", "exp-1", "host-1")
SECRET = "AKsecretSECRETsecret123"
PATIENCE = 60.0


class Shelf(Mailbox):
    """A response queue in memory that does as it is told."""

    most = 10

    def __init__(self, name: str = "local_a_response") -> None:
        super().__init__(name, name)
        self.bodies: list[bytes] = []
        self.calls = 0
        #: Raised instead of taking anything.
        self.trouble: Exception | None = None
        self.hangs = False
        self.changed = anyio.Event()

    async def post(self, bodies: Sequence[bytes]) -> None:
        """Take them."""
        self.calls += 1
        self.changed.set()
        self.changed = anyio.Event()
        if self.hangs:
            await anyio.sleep_forever()
        if self.trouble is not None:
            raise self.trouble
        self.bodies += bodies

    async def make(self) -> None:
        """It is there."""

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that must happen."""
        with anyio.fail_after(PATIENCE):
            while not condition():
                with anyio.move_on_after(0.05):
                    await self.changed.wait()


class Office:
    """A postroom whose time is the test's, and the accounts that it keeps open."""

    def __init__(self, mailbox: Shelf, sealing: Sealing | None = None) -> None:
        self.now = 0.0
        self.used = 0
        redactor = Redactor()
        redactor.add(Secret(SECRET))
        self.room = Postroom(
            "a-host",
            sealing or Sealing(clear_text=True),
            lambda _, __: mailbox,
            redactor,
            used=self._use,
            clock=lambda: self.now,
        )

    @contextmanager
    def _use(self, account: tuple[str, str]) -> Iterator[None]:
        assert account == ("local", "/q")
        self.used += 1
        try:
            yield
        finally:
            self.used -= 1


def lines(*texts: str, matters: bool = False) -> list[Post]:
    """Return a report for each line."""
    return [Post(entry(text, 1), 1, matters=matters) for text in texts]


def messages(bodies: Sequence[bytes]) -> list[str]:
    """Return what the lines of log say."""
    documents: list[dict[str, Any]] = [json.loads(body) for body in bodies]
    return [one["logging"]["message"] for one in documents]


@pytest.fixture
def shelf() -> Shelf:
    """Return a response queue."""
    return Shelf()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once."""
    monkeypatch.setattr(sender, "_PAUSE", 0.001)


async def test_reports_arrive_in_order_with_their_names(shelf: Shelf) -> None:
    """In bundles as large as the broker takes; the last ones go out before the daemon ends."""
    office = Office(shelf)
    async with office.room.open():
        office.room.post(SUBJECT, lines(*(str(number) for number in range(95))))
    assert messages(shelf.bodies) == [str(number) for number in range(95)]
    assert shelf.calls < 20
    told = json.loads(shelf.bodies[0])
    assert (told["experimentId"], told["uniqueId"], told["executorId"]) == (
        *("exp-1", "host-1"),
        "a-host",
    )
    assert office.used == 0


async def test_secrets_leave_masked(shelf: Shelf) -> None:
    """Whatever is said, and the names beside it."""
    office = Office(shelf)
    subject = Subject("local", "/q", "local_a", f"key-{SECRET}")
    async with office.room.open():
        office.room.post(subject, [Post(entry("x", 1, fields={"a": f"is {SECRET}"}), 1)])
        error = (f"denied for {SECRET}", 1)
        office.room.post(subject, [Post(progress(State.FAILED, 1, error=error), 1)])
    assert len(shelf.bodies) == 2
    assert SECRET.encode() not in b"".join(shelf.bodies)


async def test_a_response_queue_that_is_not_there_costs_nothing(shelf: Shelf) -> None:
    """It is asked for once in a while, and nothing is kept for it."""
    office = Office(shelf)
    shelf.trouble = QueueGone("there is no directory")
    async with office.room.open():
        for _ in range(3):
            office.room.post(SUBJECT, lines("nobody"))
            await shelf.until(lambda: not office.room.wants(SUBJECT))
            office.room.post(SUBJECT, lines("not even kept"))
            office.now += 31
        assert shelf.calls == 3
        shelf.trouble = None
        office.room.post(SUBJECT, lines("somebody"))
    assert messages(shelf.bodies) == ["somebody"]


async def test_trouble_delays_reports_and_nobody_else(shelf: Shelf) -> None:
    """Posting takes no time while a broker is away; when it is back all arrives, in order."""
    office = Office(shelf)
    shelf.trouble = QueueUnavailable("no answer")
    async with office.room.open():
        office.room.post(SUBJECT, lines("one", "two"))
        await shelf.until(lambda: shelf.calls >= 2)
        office.room.post(SUBJECT, lines("three"))
        assert office.used == 1
        shelf.trouble = None
        await shelf.until(lambda: len(shelf.bodies) == 3)
    assert messages(shelf.bodies) == ["one", "two", "three"]


async def test_what_does_not_fit_is_counted_and_told(shelf: Shelf) -> None:
    """Memory is bounded while nothing goes out; the reader learns how much is missing."""
    office = Office(shelf)
    shelf.trouble = QueueUnavailable("no answer")
    async with office.room.open():
        for _ in range(100):
            office.room.post(SUBJECT, lines(*("x" * 100 for _ in range(100))))
        office.room.post(SUBJECT, lines("the end", matters=True))
        await shelf.until(lambda: shelf.calls >= 1)
        shelf.trouble = None
        await shelf.until(lambda: b"the end" in b"".join(shelf.bodies))
    told = messages(shelf.bodies)
    assert len(told) <= 2002
    lost = sum(int(one.split()[0]) for one in told if one.endswith("lost before this one"))
    assert lost + len([one for one in told if one.startswith("x")]) == 10_000


async def test_reports_are_given_up_after_a_while(shelf: Shelf) -> None:
    """Ten minutes later nobody waits for a line any more; that there were some is said."""
    office = Office(shelf)
    shelf.trouble = QueueUnavailable("no answer")
    async with office.room.open():
        office.room.post(SUBJECT, lines("old"))
        await shelf.until(lambda: shelf.calls >= 1)
        office.now = 601
        await shelf.until(lambda: office.used == 0)
        shelf.trouble = None
        office.room.post(SUBJECT, lines("new"))
    assert messages(shelf.bodies) == ["1 reports were lost before this one", "new"]


async def test_a_broker_that_hangs_does_not_keep_the_daemon(shelf: Shelf) -> None:
    """Its end waits for a moment, and says what is lost."""
    office = Office(shelf)
    shelf.hangs = True
    with anyio.fail_after(PATIENCE):
        async with office.room.open():
            office.room.post(SUBJECT, lines("one"))
            await shelf.until(lambda: shelf.calls == 1)
    assert office.used == 0


async def test_what_a_broker_refuses_is_not_sent_for_ever(shelf: Shelf) -> None:
    """It is lost, and the next one is sent."""
    office = Office(shelf)
    shelf.trouble = Unsupported("too long")
    async with office.room.open():
        office.room.post(SUBJECT, lines("bad"))
        await shelf.until(lambda: office.used == 0)
        shelf.trouble = None
        office.room.post(SUBJECT, lines("good"))
    assert messages(shelf.bodies) == ["1 reports were lost before this one", "good"]


# ------------------------------------------------------------------ who may read them


@pytest.fixture(scope="module")
def private() -> RSAPrivateKey:
    """Return a reader's key."""
    return generate_private_key(65537, 2048)


@pytest.fixture
def keys(tmp_path: Path, private: RSAPrivateKey) -> Keyring[Any]:
    """Return the operator's directory, with a key for queues that begin with ``local_a``."""
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1)
    (tmp_path / "local_a").write_bytes(pem)
    return Keyring(tmp_path, public_key)


async def _sent(shelf: Shelf, sealing: Sealing, subject: Subject = SUBJECT) -> list[bytes]:
    office = Office(shelf, sealing)
    async with office.room.open():
        office.room.post(subject, lines("read me"))
        await shelf.until(lambda: office.used == 0)
    return shelf.bodies


async def test_a_key_seals(shelf: Shelf, keys: Keyring[Any], private: RSAPrivateKey) -> None:
    """Its owner reads it; the text is nowhere in what is sent."""
    [body] = await _sent(shelf, Sealing(keys))
    assert b"read me" not in body
    told: Told = read(body, private)
    assert told.words == ["read me"]


@pytest.mark.parametrize("allowed", [True, False])
async def test_clear_text_has_to_be_allowed(keys: Keyring[Any], *, allowed: bool) -> None:
    """A response queue without a key gets nothing else."""
    other = Shelf("rmq_b_response")
    bodies = await _sent(other, Sealing(keys, clear_text=allowed))
    assert len(bodies) == allowed


async def test_what_came_sealed_is_told_sealed(keys: Keyring[Any]) -> None:
    """Whatever else is allowed."""
    other = Shelf("rmq_b_response")
    subject = Subject("local", "/q", "local_a", "exp-1", is_sealed=True)
    assert await _sent(other, Sealing(keys, clear_text=True), subject) == []
