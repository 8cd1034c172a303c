"""Who owns an experiment."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import anyio
import anyio.from_thread
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import LeaseLost, StoreUnavailable
from runner.lifecycle.ownership.claim import (
    Beating,
    Claim,
    Claims,
    Ended,
    Observations,
    Owner,
    Replaced,
    Unclaimed,
    claim_artifact,
    claim_location,
    read_claim,
)
from runner.lifecycle.ownership.record import ClaimRecord, RecordedOutcome, State, decode
from runner.lifecycle.ownership.rights import Moment
from runner.model import (
    Artifact,
    Cause,
    Completed,
    Experiment,
    Failed,
    Location,
    Needs,
    Refused,
    Request,
)
from runner.stores.local import LocalStore

pytestmark = pytest.mark.anyio

LEASE = timedelta(seconds=60)


class Clock:
    """A monotonic clock that a test moves by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the seconds."""
        return self.now


def request(
    root: Path, *labels: str, mutable: bool = True, submitted: float | None = 5.0
) -> Request:
    """Return a request of which each label is an artifact beside the others."""
    places = root / "experiments" / "key"
    return Request(
        Experiment("key", "a.py", time_added=submitted),
        Needs(),
        {
            label: Artifact(
                label,
                Location("file", "", "", str(places / f"{label}.tar")),
                mutable=mutable,
                unpack=True,
            )
            for label in labels
        },
    )


class Machine:
    """One daemon that asks for the claim of the same experiment."""

    def __init__(self, root: Path, name: str, submitted: float | None = 5.0) -> None:
        self.clock = Clock()
        self.store = LocalStore((root,))
        self.observations = Observations(self.clock)
        self.request = request(root, "output", submitted=submitted)
        self.name = name

    def claims(self, run: str = "1", *, lease: timedelta = LEASE, receive_count: int = 1) -> Claims:
        """Return what an attempt of this machine asks with."""
        return Claims(
            self.store,
            self.request,
            Owner(self.name, f"daemon-{self.name}", f"{self.name}-{run}"),
            lease,
            self.observations,
            receive_count=receive_count,
        )

    async def take(self, run: str = "1") -> Claim:
        """Take the claim, which must succeed."""
        found = await self.claims(run).take()
        assert isinstance(found, Claim)
        return found

    async def record(self) -> ClaimRecord:
        """Return what the record says."""
        location = claim_location(self.request)
        assert location is not None
        found = await read_claim(self.store, location)
        assert found is not None
        return found


@pytest.fixture
def here(tmp_path: Path) -> Machine:
    """Give the first machine."""
    return Machine(tmp_path, "here")


@pytest.fixture
def there(tmp_path: Path) -> Machine:
    """Give the second machine, on the same store."""
    return Machine(tmp_path, "there")


def test_the_record_lies_beside_the_output(tmp_path: Path) -> None:
    """``output`` decides, else the first mutable label; nothing writable means no record."""
    beside = tmp_path / "experiments" / "key" / "_claim.key.json"

    location = claim_location(request(tmp_path, "tb", "output", "a"))
    assert location == Location("file", "", "", str(beside))
    chosen = claim_artifact(request(tmp_path, "tb", "retval"))
    assert chosen is not None
    assert chosen.label == "retval"
    assert claim_location(request(tmp_path, "output", mutable=False)) is None


def test_a_key_without_directories_gets_the_record_beside_it() -> None:
    """An object at the top of a bucket, too, has a place beside it; other slashes stay."""
    output = Artifact("output", Location("s3", "h", "b", "o.tar"), mutable=True, unpack=True)
    base = Request(Experiment("key", "a.py"), Needs(), {"output": output})
    doubled = replace(output, location=replace(output.location, key="a//o.tar"))

    location = claim_location(base)
    assert location is not None
    assert location.key == "_claim.key.json"
    location = claim_location(replace(base, artifacts={"output": doubled}))
    assert location is not None
    assert location.key == "a//_claim.key.json"


async def test_the_first_to_come_gets_the_claim(here: Machine) -> None:
    """A fresh experiment is attempt 1, and the record says who has it."""
    claim = await here.take()

    assert (claim.attempt, claim.counted, claim.previous_cause) == (1, 0, None)
    record = await here.record()
    assert record.owner == Owner("here", "daemon-here", "here-1")
    assert record.state is State.RUNNING
    assert await claim.still_ours()


async def test_of_many_at_once_exactly_one_wins(here: Machine) -> None:
    """The store's conditional write decides, not who asked first."""
    found: list[Claim | Beating | Ended | Replaced] = []

    async def take(number: int) -> None:
        found.append(await here.claims(str(number)).take())

    async with anyio.create_task_group() as group:
        for number in range(8):
            group.start_soon(take, number)

    assert sorted(type(item).__name__ for item in found) == ["Beating"] * 7 + ["RecordedClaim"]


async def test_a_beating_claim_is_left_alone(here: Machine, there: Machine) -> None:
    """However long it takes: as long as the beat changes, the other waits."""
    claim = await here.take()

    for _ in range(5):
        found = await there.claims().take()
        assert isinstance(found, Beating)
        assert timedelta(0) < found.wait <= LEASE + timedelta(seconds=1)
        assert found.owner == Owner("here", "daemon-here", "here-1")
        there.clock.now += 50
        await claim.beat()


async def test_a_silent_claim_is_taken_over_after_a_lease(here: Machine, there: Machine) -> None:
    """The wait counts on the observer's clock; the dead attempt counts as a host fault."""
    claim = await here.take()
    assert isinstance(await there.claims().take(), Beating)
    there.clock.now += 30
    second = await there.claims().take()
    assert isinstance(second, Beating)
    assert second.wait == timedelta(seconds=31)
    there.clock.now += 30

    taken = await there.take()

    assert (taken.attempt, taken.counted, taken.previous_cause) == (2, 1, "host-fault")
    with pytest.raises(LeaseLost, match="there has taken over"):
        await claim.beat()
    assert not await claim.still_ours()
    with pytest.raises(LeaseLost):
        await claim.finish(Completed())


async def test_the_owners_own_lease_is_what_is_waited_for(here: Machine, there: Machine) -> None:
    """An operator who set a longer lease is not robbed by one who set a shorter."""
    await here.claims(lease=timedelta(minutes=10)).take()
    await there.claims().take()
    there.clock.now += 300

    assert isinstance(await there.claims().take(), Beating)


async def test_an_absurd_lease_in_a_record_is_not_believed(here: Machine, there: Machine) -> None:
    """Whoever may write the record cannot block the experiment for ever with it."""
    await here.claims(lease=timedelta(days=400)).take()
    await there.claims().take()
    there.clock.now += 61

    assert isinstance(await there.claims().take(), Claim)


async def test_a_released_claim_is_free_at_once(here: Machine, there: Machine) -> None:
    """The next attempt knows why the one before ended and how many count."""
    claim = await here.take()
    await claim.release(Cause.DRAINED, counted=False)
    second = await there.take()
    assert (second.attempt, second.counted, second.previous_cause) == (2, 0, "drained")

    await second.release(Cause.GPU_FAULT, counted=True)
    third = await here.take("2")

    assert (third.attempt, third.counted, third.previous_cause) == (3, 1, "gpu-fault")


async def test_an_ended_experiment_is_not_run_again(here: Machine, there: Machine) -> None:
    """A duplicate delivery hears how it ended."""
    claim = await here.take()
    await claim.finish(Failed(Cause.EXIT, 3, "exit code 3"))

    found = await there.claims().take()

    assert found == Ended(1, RecordedOutcome("exit", 3, "exit code 3"), buried=False)
    assert await there.claims().reopen() == found


async def test_a_beat_after_the_end_changes_nothing(here: Machine) -> None:
    """The keeper may beat once more while the main loop has just finished the claim."""
    claim = await here.take()
    await claim.finish(Completed())

    await claim.beat()

    assert (await here.record()).state is State.ENDED


async def test_a_new_submission_of_an_ended_key_runs(here: Machine, tmp_path: Path) -> None:
    """Users submit the same key again; a later ``time_added`` makes it another experiment."""
    claim = await here.take()
    await claim.finish(Completed())

    anew = await Machine(tmp_path, "here", submitted=6.0).take("2")

    assert (anew.attempt, anew.counted) == (1, 0)


async def test_a_buried_experiment_can_be_reopened(here: Machine, there: Machine) -> None:
    """Who takes a message out of the dead letters wants it to run, with all attempts anew."""
    claim = await here.take()
    await claim.finish(Refused(Cause.EXIT, "three attempts"), buried=True)
    ended = await there.claims().take()
    assert isinstance(ended, Ended)
    assert ended.buried

    again = await there.claims().reopen()

    assert isinstance(again, Claim)
    assert (again.attempt, again.counted, again.previous_cause) == (2, 0, "exit")


async def test_a_burial_is_under_way_until_it_is_noted(here: Machine, there: Machine) -> None:
    """Whoever gets the message meanwhile is given the claim to note its burial in."""
    claim = await here.take()
    await claim.finish(Refused(Cause.EXIT, "three attempts"), buried=True)
    ended = await there.claims().take()
    assert isinstance(ended, Ended)
    assert ended.unburied is not None

    await ended.unburied.note_burial()

    again = await there.claims().take()
    assert again == Ended(1, RecordedOutcome("exit", None, "three attempts"), buried=True)
    await claim.note_burial()


async def test_a_burial_is_noted_in_no_later_attempts_record(here: Machine, there: Machine) -> None:
    """Somebody took the message out of the dead letters, and it runs again."""
    claim = await here.take()
    await claim.finish(Refused(Cause.EXIT, "three attempts"), buried=True)
    assert isinstance(await there.claims().reopen(), Claim)
    with pytest.raises(LeaseLost):
        await claim.note_burial()
    assert (await there.record()).state is State.RUNNING


async def test_a_restarted_daemon_adopts_its_runs_claim(here: Machine, tmp_path: Path) -> None:
    """By the run's id, from the store alone; taking does the same."""
    await here.take()
    restarted = Machine(tmp_path, "here")

    adopted = await restarted.claims().adopt()
    assert isinstance(adopted, Claim)
    assert adopted.attempt == 1
    await adopted.beat()
    await (await restarted.take()).finish(Completed())
    assert isinstance(await restarted.claims().adopt(), Ended)


async def test_a_claim_that_was_lost_meanwhile_is_not_adopted(
    here: Machine, there: Machine
) -> None:
    """A daemon that was away too long hears that the experiment runs elsewhere."""
    await here.take()
    await there.claims().take()
    there.clock.now += 61
    await there.take()

    with pytest.raises(LeaseLost):
        await here.claims().adopt()


async def test_an_answer_that_was_lost_is_no_lost_claim(here: Machine) -> None:
    """A write whose answer never came is recognised as our own by the next one."""
    claim = await here.take()
    twin = await here.claims().adopt()
    assert isinstance(twin, Claim)
    await twin.beat()

    await claim.beat()

    assert (await here.record()).beat == 2


async def test_a_beat_and_the_end_may_meet(here: Machine) -> None:
    """The keeper beats on another event loop while the main loop finishes; the end stands."""
    claim = await here.take()

    with anyio.from_thread.start_blocking_portal() as portal:

        def beat() -> None:
            for _ in range(20):
                portal.call(claim.beat)

        async with anyio.create_task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, beat)
            await claim.finish(Completed())

    assert (await here.record()).state is State.ENDED


async def test_a_deleted_record_is_written_again(here: Machine, tmp_path: Path) -> None:
    """A user who cleans up the store does not end a running experiment."""
    claim = await here.take()
    (tmp_path / "experiments" / "key" / "_claim.key.json").unlink()

    assert await claim.still_ours()
    await claim.beat()

    assert (await here.record()).owner.run == "here-1"


async def test_something_else_in_the_records_place_is_replaced(
    here: Machine, tmp_path: Path
) -> None:
    """What is no record protects nothing."""
    place = tmp_path / "experiments" / "key" / "_claim.key.json"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"\xff[")

    assert (await here.take()).attempt == 1


async def test_what_an_attempt_left_is_found_without_taking_anything(
    here: Machine, there: Machine
) -> None:
    """A daemon that was killed before or after it took the claim, or after it ended it."""
    assert await here.claims().left() is None
    claim = await here.take()
    assert await there.claims().left() is None
    assert await here.claims("2").left() is None
    found = await here.claims().left()
    assert isinstance(found, Claim)
    await claim.finish(Completed())
    assert isinstance(await here.claims().left(), Ended)


async def test_a_claim_is_confirmed_when_it_was_silent_for_a_lease(
    here: Machine, there: Machine
) -> None:
    """Before something is stored; while it is fresh nobody else can have it, so nobody is asked."""
    short = await here.claims(lease=timedelta(microseconds=1)).take()
    assert isinstance(short, Claim)
    assert not short.is_fresh
    await short.confirm()
    assert (await here.record()).beat == 1
    await there.claims(lease=timedelta(0)).take()
    there.clock.now += 1
    assert isinstance(await there.claims(lease=timedelta(0)).take(), Claim)
    with pytest.raises(LeaseLost):
        await short.confirm()


@pytest.mark.parametrize("clock", ["uptime", "wall"])
def test_a_machine_that_slept_is_not_fresh(clock: str) -> None:
    """Asleep it counts by one clock, paused by another: whichever went on is believed."""
    now = Moment.now()
    assert now.passed() < 60
    before = now._replace(**{clock: getattr(now, clock) - 600})
    assert before.passed() >= 600


async def test_without_a_writable_place_it_is_best_effort(here: Machine, tmp_path: Path) -> None:
    """The broker's count stands in for the record, and nothing ever conflicts."""
    closed = Machine(tmp_path, "closed")
    closed.store = LocalStore(())

    claim = await closed.claims(receive_count=3).take()

    assert isinstance(claim, Unclaimed)
    assert (claim.attempt, claim.counted) == (3, 2)
    await claim.beat()
    await claim.release(Cause.DRAINED, counted=False)
    await claim.finish(Completed())
    assert await claim.still_ours()
    none = Claims(None, here.request, Owner("a", "b", "c"), LEASE, here.observations)
    assert isinstance(await none.take(), Unclaimed)


async def test_a_store_that_is_away_is_no_answer(here: Machine, tmp_path: Path) -> None:
    """The message is given back rather than run on a guess."""
    here.store = LocalStore((tmp_path / "not mounted",))
    here.request = request(tmp_path / "not mounted", "output")

    with pytest.raises(StoreUnavailable):
        await here.claims().take()


def test_observations_are_bounded() -> None:
    """A daemon that sees a million foreign claims does not remember them all."""
    clock = Clock()
    observations = Observations(clock, most=2)
    record = ClaimRecord("key", Owner("h", "d", "r"))
    places = [Location("file", "", "", f"/{number}") for number in range(3)]
    for place in places:
        observations.unchanged_for(place, record)
    clock.now += 5

    assert observations.unchanged_for(places[2], record) == timedelta(seconds=5)
    assert observations.unchanged_for(places[0], record) == timedelta(0)


@given(
    st.builds(
        ClaimRecord,
        key=st.text(),
        owner=st.builds(Owner, st.text(), st.text(), st.text()),
        attempt=st.integers(1),
        counted=st.integers(0),
        beat=st.integers(0),
        lease=st.timedeltas(timedelta(0), timedelta(days=1)),
        outcome=st.none()
        | st.builds(RecordedOutcome, st.text(), st.none() | st.integers(), st.text()),
        state=st.sampled_from(State),
        submitted=st.none() | st.floats(allow_nan=False, allow_infinity=False),
        previous_cause=st.none() | st.text(),
        buried=st.booleans(),
        burying=st.booleans(),
    )
)
def test_what_is_encoded_is_decoded(record: ClaimRecord) -> None:
    """A record survives its way through the store."""
    assert decode(record.encode()) == record


@given(
    st.binary() | st.text().map(str.encode) | st.from_regex(r"[\[{\"a-z0-9:,}\]]*").map(str.encode)
)
def test_nothing_that_is_no_record_raises(body: bytes) -> None:
    """Anybody with the credentials can write there; it is data."""
    assert decode(body) is None
