"""Listings, results and artifacts of every store."""

from __future__ import annotations

import gzip
import json
import tarfile
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from runner.client import fetching, listings, submitting
from runner.client.bucket import Bucket
from runner.client.fetching import fetch
from runner.client.message import Submission
from runner.client.remote_shop import remote_shop
from runner.client.results import Reader
from runner.client.shop import LocalShop, Shop
from runner.client.told import KEPT
from runner.errors import ArtifactBad, Misconfigured, RunnerError
from runner.lifecycle.history import Ending, History
from runner.lifecycle.ownership.record import ClaimRecord, Owner, RecordedOutcome, State
from runner.lifecycle.runs.wanted import Wanted
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


def listed(shop: Shop, submissions: Sequence[Submission]) -> Sequence[str]:
    """Number submissions after their sweep, as ``submit`` does, and return their keys."""
    found = submitting.numbered(shop, submissions)
    return [one.key for one in submitting.enlist(shop, found, are_numbered=True)]


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

    def test_a_sweep_goes_on_counting(self, shop: Shop) -> None:
        """From its last number, and past keys that somebody else has; those are nobody's twice."""
        first = listed(shop, [submission(shop, "a"), submission(shop, "b")])
        assert first == ["s-1", "s-2"]
        record = replace(_CLAIM, key="s-4")
        put(shop, "experiments/s-4/_claim.s-4.json", record.encode())
        assert listed(shop, [submission(shop, "c"), submission(shop, "d")]) == ["s-5", "s-6"]
        assert [one.key for one in listings.of_sweep(shop, "s")] == ["s-1", "s-2", "s-5", "s-6"]

    def test_two_who_count_at_once_do_not_share_a_key(self, shop: Shop) -> None:
        """Who comes second counts again."""
        ones = [[submission(shop, f"k{number}")] for number in range(8)]
        with ThreadPoolExecutor(8) as threads:
            keys = [key for [key] in threads.map(lambda one: listed(shop, one), ones)]
        assert sorted(keys) == [f"s-{number}" for number in range(1, 9)]

    def test_what_is_no_listing_is_not_overwritten(self, shop: Shop) -> None:
        """Nor does one entry that cannot be hide the others, or lead out of the store."""
        put(shop, "listings/sweeps/s.json", b"[]")
        with pytest.raises(RunnerError, match=r"listings/sweeps/s\.json in .* is no listing"):
            listings.add_to_sweep(shop, [submission(shop, "k1")])
        entries = [{"key": "../k"}, 3, {}, {"key": "a\0b"}, {"key": "\ud800"}, {"key": "/k"}]
        good = {"key": "k1", "submitted": float("nan"), "parameters": 3}
        body = json.dumps({"experiments": [*entries, good]}).encode()
        put(shop, "listings/sweeps/s.json", body)
        assert listings.of_sweep(shop, "s") == [listings.Listed("k1")]

    def test_what_was_never_queued_is_taken_off(self, shop: Shop) -> None:
        """Of its sweep and its project; a later submission of the key stays."""
        ones = [submission(shop, "k1"), submission(shop, "k2")]
        listings.add_to_sweep(shop, ones)
        listings.add_to_project(shop, [*ones, submission(shop, "k3").but(time_added=6.0)])
        listings.withdraw(shop, [ones[1], submission(shop, "k3")])
        assert [one.key for one in listings.of_sweep(shop, "s")] == ["k1"]
        assert [one.key for one in listings.of_project(shop, "p")] == ["k1", "k3"]

    def test_a_long_output_is_not_kept(self, shop: Shop) -> None:
        """Its numbers are; the text and the steps are read again when somebody wants them."""
        lines = "".join(
            f'{{"step": {n}, "loss": {1 / n}}}\n' + "x" * 900 + "\n" for n in range(1, 600)
        )
        listings.add_to_sweep(shop, [submission(shop, "k1")])
        put(shop, "experiments/k1/_claim.k1.json", _CLAIM.encode())
        put(shop, "experiments/k1/output.tar", packed({"./output": lines.encode()}))
        [result] = Reader(shop).results(listings.of_sweep(shop, "s"))
        assert len(lines) > KEPT
        assert result.told.text is None
        assert result.values["step"] == 599
        assert (result.output, len(result.series("loss"))) == (lines, 599)
        assert result.series("loss", over="step")[-1] == (599, 1 / 599)

    def test_an_output_that_is_broken_tells_nothing(self, shop: Shop) -> None:
        """Whoever may write to the store may write anything."""
        link = tarfile.TarInfo("./output")
        link.type, link.linkname = tarfile.SYMTYPE, "absent"
        whole = packed({"./output": b'{"a": 1}\n' * 9000})
        listings.add_to_sweep(shop, [submission(shop, "k1")])
        put(shop, "experiments/k1/_claim.k1.json", _CLAIM.encode())
        for body in (packed({"./output": link}), b"no tar", gzip.compress(whole)[:-40], b""):
            put(shop, "experiments/k1/output.tar", body)
            [result] = Reader(shop).results(listings.of_sweep(shop, "s"))
            assert result.state == "ended"
            assert set(result.values) <= {"a"}
            shop.output("k1", Wanted(), lambda _, pieces: deque(pieces, 0).clear())

    def test_who_waits_is_told_what_is_over(self, shop: Shop, tmp_path: Path) -> None:
        """By the claim of this submission, or by what the daemon here has refused."""
        names = ("over", "earlier", "running", "waiting", "refused")
        listings.add_to_sweep(shop, [submission(shop, name) for name in names])
        claims = {
            "over": _CLAIM,
            "earlier": replace(_CLAIM, submitted=4.0),
            "running": replace(_CLAIM, state=State.RUNNING, outcome=None),
        }
        for name, claim in claims.items():
            put(shop, f"experiments/{name}/_claim.{name}.json", replace(claim, key=name).encode())
        ending = Ending("refused", "q", "p", 0, "refused", None, "no", "buried", 6.0, 0.0)
        History(tmp_path / "recent.jsonl").add(ending)
        reader = Reader(shop, tmp_path)
        over = reader.ended(listings.of_sweep(shop, "s"))
        assert [one.key for one in over] == ["over", "refused"]

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
        assert fetch(shop, "k1", ["output", "output"], tmp_path / "twice") == [
            tmp_path / "twice/output"
        ]

    def test_a_place_that_cannot_be_is_one_sentence(self, shop: Shop, tmp_path: Path) -> None:
        """A file where a directory should be; nothing was fetched."""
        put(shop, "experiments/k1/output.tar", packed({"./output": b"text"}))
        (tmp_path / "file").write_text("")
        with pytest.raises(Misconfigured, match=r"file/output cannot be written.*another --to"):
            fetch(shop, "k1", ["output"], tmp_path / "file")

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

    @pytest.mark.parametrize("key", ["{}/secret.tar", "../../secret.tar", "/../{}/secret.tar"])
    def test_a_record_names_nothing_outside_the_store(
        self, shop: Shop, tmp_path: Path, key: str
    ) -> None:
        """Somebody else may have written where an artifact lies."""
        (tmp_path / "secret.tar").write_bytes(packed({"a": b"secret"}))
        place = tmp_path / "store/studioml-meta/experiments"
        place.mkdir(parents=True)
        artifacts = {"modeldir": {"key": key.format(tmp_path), "mutable": True}}
        (place / "k1").write_text(json.dumps({"artifacts": artifacts}))
        with pytest.raises(RunnerError, match="the object is"):
            fetch(shop, "k1", [], tmp_path / "to")
        assert not list((tmp_path / "to").iterdir())

    @pytest.mark.parametrize("key", ["../x", "/x", "a\0b", ""])
    def test_a_key_is_no_path(self, shop: Shop, key: str) -> None:
        """Nothing is known of an experiment that cannot be, and nothing is read."""
        assert shop.experiment(key) is None
        assert shop.claim(key) is None
        assert not shop.output(key, Wanted(), lambda *_: None)
        assert shop.output_version(key) is None

    def test_what_was_there_comes_back_where_the_new_cannot_be_put(self, tmp_path: Path) -> None:
        """It was the only copy, perhaps."""
        place = tmp_path / "model"
        place.write_text("old")
        with pytest.raises(OSError, match="absent"):
            fetching._put(tmp_path / "absent", place, tmp_path / "aside")
        assert place.read_text() == "old"


@pytest.mark.service("s3")
class TestS3(Promises):
    """A bucket."""

    @pytest.fixture
    def shop(self, seaweed_server: S3Server, seaweed_bucket: str) -> Iterator[Shop]:
        """The store."""
        place = Bucket(seaweed_server.endpoint, seaweed_bucket, "", seaweed_server.admin)
        with remote_shop(place, StoreOptions()) as shop:
            yield shop
