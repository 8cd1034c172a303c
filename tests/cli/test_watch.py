"""``watch``, on response queues whose reports a test wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from runner.cli import reports as cli_reports
from runner.lifecycle.responses.documents import (
    Document,
    Severity,
    State,
    encoded,
    entry,
    progress,
    report,
)
from runner.privacy.payload import seal
from tests.cli.conftest import Desk

AT = 1_624_771_554_013_499_000
CLOCK = "05:25:54"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a moment only where nothing more is to come."""
    monkeypatch.setattr(cli_reports, "_SILENCE", 2.0)


@pytest.fixture(scope="module")
def private() -> RSAPrivateKey:
    """Return a reader's key."""
    return generate_private_key(65537, 2048)


class Box:
    """The response queue of the default queue."""

    def __init__(self, desk: Desk) -> None:
        self.place = desk.queue.with_name("local_default_response")
        self.place.mkdir(parents=True)
        self._names = (f"{number:04d}" for number in range(1000))

    def put(
        self, payload: Document, key: str = "exp-1", *, seal_for: RSAPrivateKey | None = None
    ) -> None:
        """Put a report there as a runner does."""
        body = encoded(report(payload, AT, executor="host", experiment=key, unique="host-1"))
        if seal_for is not None:
            body = seal(body, seal_for.public_key()).encode()
        draft = self.place / f".{next(self._names)}"
        draft.write_bytes(body)
        draft.rename(draft.with_name(draft.name[1:]))

    @property
    def left(self) -> int:
        """How many wait."""
        return len([one for one in self.place.iterdir() if not one.name.startswith(".")])


@pytest.fixture
def box(desk: Desk) -> Box:
    """Make the response queue."""
    return Box(desk)


def test_reports_are_lines_for_people(desk: Desk, box: Box) -> None:
    """One report a line; a report of several lines is several; nothing draws lines of its own."""
    box.put(progress(State.STARTED, AT))
    box.put(entry("one\ntwo\tcolumns", AT))
    box.put(entry("careful", AT, Severity.WARNING, {"why": "so"}))
    box.put(entry("\x1b[2Jgone", AT))
    box.put(progress(State.STARTED, AT, fragment='{"loss": 0.5}'))
    box.put(progress(State.FAILED, AT, error=("exit: code 3", 3)))
    status, out, err = desk.run("watch", "local_default", "--once")
    assert (status, box.left) == (0, 0), err
    assert out.splitlines() == [
        f"{CLOCK} exp-1  [Started]",
        f"{CLOCK} exp-1  one",
        f"{CLOCK} exp-1  two     columns",
        f"{CLOCK} exp-1  Warning: careful (why=so)",
        f"{CLOCK} exp-1  \\x1b[2Jgone",
        f'{CLOCK} exp-1  [json] {{"loss": 0.5}}',
        f"{CLOCK} exp-1  [Failed] exit: code 3",
    ]


def test_one_experiment_is_watched_to_its_end(desk: Desk, box: Box) -> None:
    """The command ends as it did, and leaves the reports about others."""
    box.put(entry("other", AT), "exp-2")
    box.put(progress(State.SUCCESS, AT), "exp-2")
    box.put(entry("mine", AT))
    box.put(progress(State.PRESTART, AT, error=("host-fault", 1)))
    box.put(progress(State.FAILED, AT, error=("signal", -9)))
    status, out, err = desk.run("watch", "local_default", "exp-1", "--json")
    assert status == 137
    assert [json.loads(line)["experimentId"] for line in out.splitlines()] == ["exp-1"] * 3
    assert "left there, 2: it is about another experiment" in err


def test_a_look_takes_nothing(desk: Desk, box: Box, private: RSAPrivateKey) -> None:
    """What is sealed is counted, and opened with its key."""
    box.put(entry("clear", AT))
    box.put(entry("sealed", AT), seal_for=private)
    (box.place / "junk").write_bytes(b"{}")
    status, out, err = desk.run("watch", "local_default", "--peek")
    assert (status, out, box.left) == (0, f"{CLOCK} exp-1  clear\n", 3)
    assert "left there, 1: it is sealed: name the key that opens it with --private-key" in err
    assert "left there, 1: it is no report of a runner" in err
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    key = Path(desk.root, "key.pem")
    key.write_bytes(pem)
    status, out, _ = desk.run("watch", "local_default", "--peek", "--private-key", str(key))
    assert (status, out.count("\n"), "sealed" in out) == (0, 2, True)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        (b"nonsense", "is no readable private key"),
    ],
    ids=["missing", "nonsense"],
)
def test_a_key_that_cannot_be_used_is_named(
    desk: Desk, box: Box, content: bytes | None, said: str
) -> None:
    """Before anything is read."""
    box.put(entry("clear", AT))
    key = Path(desk.root, "key.pem")
    if content is not None:
        key.write_bytes(content)
    status, out, err = desk.run("watch", "local_default", "--private-key", str(key))
    assert (status, out, box.left) == (2, "", 1)
    assert said in err


def test_a_response_queue_can_be_named_itself(desk: Desk, box: Box) -> None:
    """The command finds it either way."""
    box.put(entry("clear", AT))
    status, out, _ = desk.run("watch", "local_default_response", "--peek")
    assert (status, out) == (0, f"{CLOCK} exp-1  clear\n")


def test_what_is_missing_is_made_on_demand(desk: Desk) -> None:
    """Not by looking."""
    status, _, err = desk.run("watch", "local_default", "--peek")
    assert (status, "make it with --make" in err) == (1, True)
    assert not desk.queue.with_name("local_default_response").exists()
    assert desk.run("watch", "local_default", "--peek", "--make")[0] == 0
    assert desk.queue.with_name("local_default_response").is_dir()
