"""Listings, results and artifacts of every store."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from runner.client import listings
from runner.client.bucket import Bucket
from runner.client.fetching import fetch
from runner.client.message import Submission
from runner.client.remote_shop import remote_shop
from runner.client.results import Reader
from runner.client.shop import LocalShop, Shop
from runner.errors import ArtifactBad, Misconfigured, RunnerError
from runner.lifecycle.history import Ending, History
from runner.lifecycle.ownership.record import ClaimRecord, Owner, RecordedOutcome, State
from runner.stores.base import StoreOptions
from tests.client.archive import packed, put
from tests.servers.s3 import S3Server

_CLAIM = ClaimRecord(
    "k1",
    Owner("gpu-1", "daemon", "run"),
    attempt=2,
    state=State.ENDED,
    outcome=RecordedOutcome("exit", 3, "it exited with 3"),
    submitted=5.0,
    begun_at=10.0,
    updated_at=14.5,
)


def submission(shop: Shop, key: str, **parameters: str) -> Submission:
    """Return a submission of a sweep and a project."""
    return Submission(
        key=key,
        filename="train.py",
        args=(),
        requirements=(),
        python=None,
        store=shop.place,
        workspace="",
        directory=Path(),
        needs={},
        time_added=5.0,
        project="p",
        sweep="s",
        parameters=parameters,
    )


class Promises:
    """What both stores keep; each subclass gives one."""

    @pytest.fixture
    def shop(self) -> Iterator[Shop]:
        """The store."""
        raise NotImplementedError

    def test_a_listing_grows(self, shop: Shop) -> None:
        """Experiments keep their order; one that is submitted again moves to the end."""
        assert listings.of_sweep(shop, "s") == []
        listings.add_to_sweep(shop, [submission(shop, "k1", lr="0.1"), submission(shop, "k2")])
        listings.add_to_sweep(shop, [submission(shop, "k3"), submission(shop, "k1", lr="0.2")])
        listings.add_to_project(shop, [submission(shop, "k2")])
        found = listings.of_sweep(shop, "s")
        assert [one.key for one in found] == ["k2", "k3", "k1"]
        assert found[-1] == listings.Listed("k1", 5.0, "train.py", {"lr": "0.2"})
        assert [one.key for one in listings.of_project(shop, "p")] == ["k2"]

    def test_two_who_submit_at_once_are_both_listed(self, shop: Shop) -> None:
        """Nobody overwrites what somebody else wrote meanwhile."""
        keys = [f"k{number}" for number in range(8)]
        with ThreadPoolExecutor(8) as threads:
            list(
                threads.map(lambda key: listings.add_to_sweep(shop, [submission(shop, key)]), keys)
            )
        assert sorted(one.key for one in listings.of_sweep(shop, "s")) == keys

    def test_a_result_has_everything(self, shop: Shop) -> None:
        """Cause, time, parameters and numbers of one that ended; the other one waits."""
        listings.add_to_sweep(shop, [submission(shop, "k1", lr="0.1"), submission(shop, "k2")])
        put(shop, "experiments/k1/_claim.k1.json", _CLAIM.encode())
        text = (
            b'begun\n{"loss": 2}\n{"loss": 1, "at": {"x": 3}}\n'
            b'[{"op": "add", "path": "/y", "value": 4}]'
        )
        put(shop, "experiments/k1/output.tar", packed({"./output": text}))
        reader = Reader(shop)
        first, second = reader.results(reader.known("s"))
        assert (first.cause, first.exit_code, first.attempt, first.host) == ("exit", 3, 2, "gpu-1")
        assert (first.seconds, first.parameters, first.ended, first.good) == (
            4.5,
            {"lr": "0.1"},
            True,
            False,
        )
        assert first.values == {"loss": 1.0, "at/x": 3.0, "y": 4.0}
        assert first.series("loss") == [(1, 2.0), (2, 1.0)]
        assert (second.state, second.cause, second.output) == ("waiting", None, "")
        assert [one.key for one in reader.known("k1")] == ["k1"]
        assert reader.known("k9") == []

    def test_a_claim_of_an_earlier_submission_is_not_this_ones(self, shop: Shop) -> None:
        """The same key may have been used before."""
        listings.add_to_sweep(shop, [submission(shop, "k1")])
        put(shop, "experiments/k1/_claim.k1.json", replace(_CLAIM, submitted=4.0).encode())
        [result] = Reader(shop).results(listings.of_sweep(shop, "s"))
        assert result.state == "waiting"

    def test_what_the_daemon_refused_has_ended(self, shop: Shop, tmp_path: Path) -> None:
        """Nothing of it is in the store: the daemon on this machine remembers."""
        listings.add_to_sweep(shop, [submission(shop, "k1")])
        ending = Ending("k1", "q", "p", 0, "refused", None, "no such label", "buried", 6.0, 0.0)
        History(tmp_path / "recent.jsonl").add(ending)
        [result] = Reader(shop, tmp_path).results(listings.of_sweep(shop, "s"))
        assert (result.state, result.cause, result.detail) == ("ended", "refused", "no such label")

    def test_artifacts_come_as_they_were(self, shop: Shop, tmp_path: Path) -> None:
        """A directory is one, a single file is one; what is there already stays."""
        put(shop, "experiments/k1/output.tar", packed({"./output": b"text"}))
        put(shop, "experiments/k1/modeldir.tar", packed({"a": b"1", "b/c": b"2"}))
        to = tmp_path / "to"
        assert fetch(shop, "k1", (), to) == [to / "modeldir", to / "output"]
        assert (to / "output").read_bytes() == b"text"
        assert (to / "modeldir/b/c").read_bytes() == b"2"
        assert sorted(one.name for one in to.iterdir()) == ["modeldir", "output"]
        with pytest.raises(Misconfigured, match="is there already"):
            fetch(shop, "k1", ["modeldir"], to)
        put(shop, "experiments/k1/modeldir.tar", packed({"new": b"3"}))
        fetch(shop, "k1", ["modeldir"], to, replace=True)
        assert [one.name for one in (to / "modeldir").iterdir()] == ["new"]

    @pytest.mark.parametrize(
        ("name", "target"), [("../out", ""), ("/out", ""), ("link", "../../out")]
    )
    def test_an_archive_never_leaves_its_place(
        self, shop: Shop, tmp_path: Path, name: str, target: str
    ) -> None:
        """Who wrote the artifact may be hostile: nothing is written, and nothing is left."""
        member: bytes | tarfile.TarInfo = b"x"
        if target:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
        put(shop, "experiments/k1/modeldir.tar", packed({"good": b"1", name: member}))
        to = tmp_path / "deep" / "to"
        with pytest.raises(ArtifactBad):
            fetch(shop, "k1", ["modeldir"], to)
        assert list(to.iterdir()) == []
        assert not list(tmp_path.rglob("out"))

    @pytest.mark.parametrize(
        ("key", "label", "says"),
        [
            ("k1", "../x", "ARTIFACT"),
            ("../k1", "output", "KEY"),
            ("k1", "absent", "has no artifact 'absent'"),
        ],
    )
    def test_names_are_names(
        self, shop: Shop, tmp_path: Path, key: str, label: str, says: str
    ) -> None:
        """Not paths, neither in the store nor here."""
        with pytest.raises(RunnerError, match=says):
            fetch(shop, key, [label], tmp_path / "to")


class TestLocal(Promises):
    """A directory of this machine."""

    @pytest.fixture
    def shop(self, tmp_path: Path) -> Shop:
        """Return it."""
        return LocalShop(tmp_path / "store")


@pytest.mark.service("s3")
class TestS3(Promises):
    """A bucket."""

    @pytest.fixture
    def shop(self, seaweed_server: S3Server, seaweed_bucket: str) -> Iterator[Shop]:
        """The store."""
        place = Bucket(seaweed_server.endpoint, seaweed_bucket, "", seaweed_server.admin)
        with remote_shop(place, StoreOptions()) as shop:
            yield shop
