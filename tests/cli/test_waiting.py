"""Waiting for an experiment's end, and its output."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.archives.pack import pack_single
from runner.cli.following import Ending, Watch
from runner.cli.masking import masked
from runner.cli.output import Output
from runner.client.shop import LocalShop
from runner.lifecycle.history import Ending as Lately
from runner.lifecycle.history import History
from runner.lifecycle.ownership.record import ClaimRecord, Owner, RecordedOutcome, State
from runner.redaction import Redactor
from tests.cli.conftest import Desk


def _end(desk: Desk, key: str, outcome: RecordedOutcome, text: str = "the output\n") -> None:
    """Do what a runner does at the end: store the output, then write the record."""
    [message] = desk.messages()
    place = desk.store / "storage" / "experiments" / key
    place.mkdir(parents=True, exist_ok=True)
    (desk.root / "output").write_text(text)
    with (place / "output.tar").open("wb") as stream:
        pack_single(desk.root / "output", stream)
    record = ClaimRecord(
        key,
        Owner("host", "daemon", "run"),
        attempt=2,
        state=State.ENDED,
        outcome=outcome,
        submitted=message["experiment"]["time_added"],
    )
    (place / ".new").write_bytes(record.encode())
    (place / ".new").rename(place / f"_claim.{key}.json")


@contextmanager
def _meanwhile(desk: Desk, act: Callable[[], None]) -> Iterator[None]:
    """Run ``act`` in a thread as soon as a message waits."""

    def wait_and_act() -> None:
        while not stop.is_set() and not (desk.queue.is_dir() and any(desk.queue.iterdir())):
            stop.wait(0.02)
        act()

    stop = threading.Event()
    thread = threading.Thread(target=wait_and_act)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (RecordedOutcome("completed", 0, ""), 0),
        (RecordedOutcome("exit", 3, "it exited with 3"), 3),
        (RecordedOutcome("signal", -11, ""), 139),
        (RecordedOutcome("requirements", None, "no such package"), 1),
    ],
)
def test_follow_shows_the_output_and_exits_as_the_experiment(
    desk: Desk, outcome: RecordedOutcome, status: int
) -> None:
    """The stored output comes on stdout, the end on stderr, the code as exit status."""
    with _meanwhile(desk, lambda: _end(desk, "k1", outcome)):
        ended, out, err = desk.run("submit", "--follow", "--key", "k1", "train.py")
    assert (ended, out) == (status, "the output\n")
    assert f"k1: {outcome.cause}, attempt 2" in err


def test_wait_prints_json_for_scripts(desk: Desk) -> None:
    """``--wait --json`` prints one object, when all is over."""
    with _meanwhile(desk, lambda: _end(desk, "k1", RecordedOutcome("exit", 7, "why"))):
        status, out, _ = desk.run("submit", "--wait", "--json", "--key", "k1", "train.py")
    facts = json.loads(out)
    assert status == 7
    assert (facts["cause"], facts["exit_code"], facts["attempt"]) == ("exit", 7, 2)


def test_what_ended_without_a_record_ends_the_waiting(desk: Desk) -> None:
    """A message refused before anything was claimed is known to the daemon's history alone."""
    assert desk.run("submit", "--key", "k1", "train.py")[0] == 0
    history = History(desk.root / "state" / "recent.jsonl")
    (desk.root / "state").mkdir(exist_ok=True)
    [message] = desk.messages()
    submitted = message["experiment"]["time_added"]
    ending = Lately("k1", "local_default", "", 1, "bad-request", None, "no", "buried", 1.0, 0.1)
    history.add(replace(ending, detail="of an earlier submission"))
    history.add(replace(ending, key="k2", ended=submitted + 1))
    history.add(replace(ending, settled="released", ended=submitted + 1))
    history.add(replace(ending, ended=submitted + 1))
    status, _, err = desk.run("logs", "-f", "k1")
    assert (status, "k1: bad-request: no" in err) == (0, True)


def test_a_buried_message_ends_the_waiting(desk: Desk) -> None:
    """What no runner could run comes back from the dead letters with its reason."""

    def bury() -> None:
        [file] = [file for file in desk.queue.iterdir() if file.is_file()]
        dead = desk.root / "queues/.studio-runner/local_default/dead"
        dead.mkdir(parents=True, exist_ok=True)
        letter = {"message": file.name, "reason": "too big", "buried_at": 1.0, "receive_count": 1}
        (dead / f"{file.name}.reason.json").write_text(json.dumps(letter))
        file.rename(dead / file.name)

    with _meanwhile(desk, bury):
        status, _, err = desk.run("submit", "--wait", "--key", "k1", "train.py")
    assert status == 1
    assert "k1: buried: too big" in err
    status, out, _ = desk.run("queue", "dead", "--json")
    assert [letter["reason"] for letter in json.loads(out)] == ["too big"]
    [letter] = json.loads(out)
    assert desk.run("queue", "requeue", "local_default", letter["id"])[0] == 0
    assert len(desk.messages()) == 1


def test_logs_prints_what_was_stored(desk: Desk) -> None:
    """Without a daemon the output comes from the store; an unknown key is an error."""
    desk.run("submit", "--key", "k1", "train.py")
    status, _, err = desk.run("logs", "k1")
    assert status == 1
    assert "'k1' has no output yet" in err
    _end(desk, "k1", RecordedOutcome("completed", 0, ""))
    assert desk.run("logs", "k1")[:2] == (0, "the output\n")
    assert desk.run("logs", "-f", "k1")[:2] == (0, "the output\n")
    status, _, err = desk.run("logs", "k2")
    assert status == 1
    assert "'k2' is not known here" in err


def test_cancel_marks_what_waits(desk: Desk) -> None:
    """Without a daemon a waiting experiment is marked as stopped; one that ended is not."""
    desk.run("submit", "--key", "k1", "train.py")
    status, out, _ = desk.run("cancel", "k1")
    assert status == 0
    assert "marked as stopped" in out
    stored = json.loads((desk.store / "studioml-meta/experiments/k1").read_bytes())
    assert stored["status"] == "stopped"
    _end(desk, "k1", RecordedOutcome("cancelled", None, ""))
    status, out, _ = desk.run("cancel", "--json", "k1")
    assert status == 1
    assert json.loads(out)["reason"] == "it has ended already (cancelled)"


def test_cancel_says_when_there_is_no_record(desk: Desk) -> None:
    """Of an experiment that only its claim is known of, nobody would see the wish."""
    desk.run("submit", "--key", "k1", "train.py")
    claim = ClaimRecord("k1", Owner("far", "daemon", "run"), updated_at=1.0)
    _store(desk, desk.store / "storage/experiments/k1", claim, "one\n")
    (desk.store / "studioml-meta/experiments/k1").unlink()
    status, _, err = desk.run("cancel", "k1")
    assert status == 1
    assert "k1 was not cancelled" in err
    assert "has no record of it" in err


@given(parts=st.lists(st.text(max_size=400), max_size=6), cut=st.integers(0, 400))
def test_an_output_read_again_is_printed_once(parts: list[str], cut: int) -> None:
    """Reading a growing output from its beginning several times prints it once."""
    out = io.StringIO()
    output = Output(out)
    whole = "first line\n"
    for part in parts:
        whole += part
        output.begin()
        output.write(whole[:cut])
        output.write(whole[cut:])
        output.end()
    assert out.getvalue() == (whole if parts else "")


def test_an_output_that_begins_anew_is_printed_whole() -> None:
    """An attempt whose output does not go on from the last one's is shown from its beginning."""
    out = io.StringIO()
    output = Output(out)
    for text in ("one\n", "two\n"):
        output.begin()
        output.write(text)
        output.end()
    assert out.getvalue() == "one\ntwo\n"


def test_what_is_secret_is_masked_wherever_an_output_is_cut() -> None:
    """A piece may end in the middle of a secret, or of a letter."""
    redactor = Redactor()
    redactor.add("a-secret-of-some-length")
    whole = "é a-secret-of-some-length é\n".encode()
    for cut in range(len(whole)):
        assert "".join(masked([whole[:cut], whole[cut:]], redactor)) == "é *** é\n"


def test_exit_codes_are_those_of_a_shell() -> None:
    """Signals give 128 and more; a failure without a code gives 1; success gives 0."""
    codes = [("completed", 0), ("exit", 300), ("signal", -9), ("time-limit", None)]
    assert [Ending(cause, code, "", 1).status for cause, code in codes] == [0, 255, 137, 1]


def test_following_shows_what_checkpoints_store(desk: Desk) -> None:
    """Of a run on another machine the output grows in the store, and is printed as it grows."""
    claim = ClaimRecord("k1", Owner("far", "daemon", "run"), updated_at=1.0)
    assert desk.run("submit", "--key", "k1", "train.py")[0] == 0
    [message] = desk.messages()
    claim = replace(claim, submitted=message["experiment"]["time_added"])
    place = desk.store / "storage/experiments/k1"
    _store(desk, place, claim, "one\n")

    class Printed(io.StringIO):
        """Each time that all there is was printed, the runner goes on."""

        def write(self, text: str) -> int:
            written = super().write(text)
            if self.getvalue() == "one\n":
                _store(desk, place, claim, "one\ntwo\n")
            elif self.getvalue() == "one\ntwo\n":
                outcome = RecordedOutcome("completed", 0, "")
                _end(desk, "k1", outcome, "one\ntwo\nthree\n")
            return written

    printed = Printed()
    control = desk.root / "state/control.sock"
    watch = Watch(LocalShop(desk.store), "k1", None, control, Output(printed))
    assert anyio.run(watch.ending).cause == "completed"
    assert printed.getvalue() == "one\ntwo\nthree\n"


def _store(desk: Desk, place: Path, claim: ClaimRecord, output: str) -> None:
    """Do what a runner does at a checkpoint."""
    place.mkdir(parents=True, exist_ok=True)
    (desk.root / "output").write_text(output)
    with (place / "output.part").open("wb") as stream:
        pack_single(desk.root / "output", stream)
    (place / "output.part").rename(place / "output.tar")
    (place / "_claim.k1.json").write_bytes(claim.encode())


def test_a_broken_stored_output_is_no_crash(desk: Desk) -> None:
    """A truncated archive counts as no output."""
    desk.run("submit", "--key", "k1", "train.py")
    place = Path(desk.store / "storage/experiments/k1")
    place.mkdir(parents=True)
    (place / "output.tar").write_bytes(b"\0" * 700)
    assert desk.run("logs", "k1")[0] == 1
