"""The stream of credentials over a real directory: what people and orchestrators do to one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
import structlog

from runner.queues.credential import Credential
from runner.queues.credentials import Credentials, Sources
from runner.queues.credentials.bell import Bell
from runner.redaction import Secret
from tests.passage import open_to_all
from tests.queues.credentials.keys import aws, google, kubelet, put

pytestmark = pytest.mark.anyio

_PATIENCE = 30.0


@dataclass
class _Follower:
    """Keeps every set that the stream gave."""

    stream: Credentials
    sets: list[tuple[Credential, ...]] = field(default_factory=list)
    secrets: set[str] = field(default_factory=set)
    _news: anyio.Event = field(default_factory=anyio.Event)

    @property
    def scopes(self) -> list[str]:
        return [one.scope for one in self.sets[-1]] if self.sets else ["nothing yet"]

    def told(self, whole: tuple[Credential, ...]) -> None:
        self.sets.append(whole)
        self._news.set()
        self._news = anyio.Event()

    async def until(self, is_so: Callable[[], bool]) -> None:
        with anyio.fail_after(_PATIENCE):
            while not is_so():
                await self._news.wait()

    async def until_scopes(self, *scopes: str) -> None:
        await self.until(lambda: self.scopes == list(scopes))


@asynccontextmanager
async def _following(certs: Path, **more: object) -> AsyncIterator[_Follower]:
    quick = {"quiet": timedelta(seconds=0.2), "patience": timedelta(seconds=0.3)}
    sources = Sources(certs_dir=certs, **{**quick, **more})  # type: ignore[arg-type]  # of fields
    seen: set[str] = set()

    def found(*secrets: Secret) -> None:
        seen.update(secret.reveal() for secret in secrets)

    async with Credentials(sources, found=found) as stream:
        follower = _Follower(stream, secrets=seen)

        async def follow() -> None:
            async with aclosing(stream.changes()) as changes:
                async for whole in changes:
                    follower.told(whole)

        async with anyio.create_task_group() as group:
            group.start_soon(follow)
            await follower.until(lambda: bool(follower.sets))
            yield follower
            group.cancel_scope.cancel()


async def _until(is_so: Callable[[], bool]) -> None:
    with anyio.fail_after(_PATIENCE):
        while not is_so():  # noqa: ASYNC110 - nobody tells of a log line
            await anyio.sleep(0.02)


async def _run(*argv: str | Path) -> None:
    await anyio.run_process([*map(str, argv)])


async def test_a_credential_copied_in_appears_and_removed_is_gone(tmp_path: Path) -> None:
    """``cp`` and ``rm``, into a directory that was empty; its secret is known before it is used."""
    certs, outside = tmp_path / "certs", put(tmp_path / "key.json", google("p-1"))
    certs.mkdir()
    async with _following(certs) as follower:
        assert follower.scopes == []
        await _run("cp", outside, certs)
        await follower.until_scopes("p-1")
        assert "id-of-first" in follower.secrets
        await _run("rm", certs / "key.json")
        await follower.until_scopes()


async def test_a_directory_moved_in_appears_and_moved_out_is_gone(tmp_path: Path) -> None:
    """``mv`` of a whole AWS directory, there and back."""
    certs, lab = tmp_path / "certs", tmp_path / "lab"
    certs.mkdir()
    put(lab / "credentials", aws())
    put(lab / "config", "region = us-west-2\n")
    async with _following(certs) as follower:
        await _run("mv", lab, certs)
        await follower.until_scopes("aws_lab")
        await _run("mv", certs / "lab", tmp_path)
        await follower.until_scopes()


async def test_what_lies_there_at_the_start_is_in_the_first_set(tmp_path: Path) -> None:
    """Everything at once, also what was written a moment before: nobody has to guess."""
    for number in range(20):
        put(tmp_path / f"{number}.json", google(f"p-{number:02}"))
    async with _following(tmp_path) as follower:
        assert len(follower.sets[0]) == 20


async def test_a_file_that_is_written_for_ever_does_not_hold_up_the_start(tmp_path: Path) -> None:
    """The others are used; a log that somebody writes into the directory is nobody's credential."""
    put(tmp_path / "key.json", google("p-1"))
    async with anyio.create_task_group() as group:

        async def write() -> None:
            with (tmp_path / "log").open("w") as file:
                while True:
                    file.write("a line\n")
                    file.flush()
                    await anyio.sleep(0.01)

        group.start_soon(write)
        async with _following(tmp_path) as follower:
            assert follower.scopes == ["p-1"]
        group.cancel_scope.cancel()


async def test_the_directory_may_come_go_and_be_replaced(tmp_path: Path) -> None:
    """It need not exist at the start; another one in its place is watched like the first."""
    certs = tmp_path / "not" / "yet"
    async with _following(certs) as follower:
        assert follower.scopes == []
        put(certs / "key.json", google("p-1"))
        await follower.until_scopes("p-1")
        await _run("rm", "-r", certs)
        await follower.until_scopes()
        put(tmp_path / "other" / "key.json", google("p-2"))
        await _run("mv", tmp_path / "other", certs)
        await follower.until_scopes("p-2")
        put(certs / "more.json", google("p-3"))
        await follower.until_scopes("p-2", "p-3")


async def test_a_directory_that_is_a_link_can_be_swapped(tmp_path: Path) -> None:
    """One rename replaces everything, and what is the same in both is never missed."""
    put(tmp_path / "one" / "a.json", google("p-1"))
    put(tmp_path / "two" / "a.json", google("p-1"))
    put(tmp_path / "two" / "b.json", google("p-2"))
    certs = tmp_path / "certs"
    certs.symlink_to("one")
    async with _following(certs) as follower:
        await follower.until_scopes("p-1")
        (tmp_path / "next").symlink_to("two")
        (tmp_path / "next").rename(certs)
        await follower.until_scopes("p-1", "p-2")
        put(tmp_path / "two" / "c.json", google("p-3"))
        await follower.until_scopes("p-1", "p-2", "p-3")
        assert all("p-1" in [one.scope for one in whole] for whole in follower.sets[1:])


async def test_a_file_rewritten_in_two_halves_is_never_seen_by_halves(tmp_path: Path) -> None:
    """Between the halves, however long it takes, the credential from before is used."""
    lab = put(tmp_path / "lab" / "credentials", aws(hidden="old-secret", region="r-1"))
    text = aws(hidden="new-secret-that-is-long", region="r-1")
    async with _following(tmp_path) as follower:
        await follower.until_scopes("aws_lab")
        before = follower.sets[-1]
        with lab.open("w") as file:
            for piece in (text[:20], text[20:60]):
                file.write(piece)
                file.flush()
                await anyio.sleep(0.1)
            file.write(text[60:])
        await follower.until(lambda: follower.sets[-1] != before)
        (after,) = follower.sets[-1]
        assert getattr(after, "secret_key", None) == Secret("new-secret-that-is-long")
        assert (after.scope, len(follower.sets)) == ("aws_lab", follower.sets.index((after,)) + 1)
        assert all(whole for whole in follower.sets if whole is not follower.sets[0])


async def test_a_writer_that_stops_half_way_changes_nothing(tmp_path: Path) -> None:
    """Half a key that stays so is said once, the whole key from before stays in use."""
    key = put(tmp_path / "key.json", google("p-1"))
    with structlog.testing.capture_logs() as logged:
        async with _following(tmp_path) as follower:
            await follower.until_scopes("p-1")
            key.write_text(google("p-1", "second")[:90])
            await _until(lambda: bool(logged))
            put(tmp_path / "other.json", google("p-2"))
            await follower.until_scopes("p-1", "p-2")
            key.write_text(google("p-1", "second"))
            await _until(lambda: "id-of-second" in follower.secrets)
            assert follower.scopes == ["p-1", "p-2"]
    (line,) = [one for one in logged if one.get("about") == str(key)]
    assert "stays in use" in line["why"]


async def test_a_kubernetes_volume_is_rotated_by_its_swap(tmp_path: Path) -> None:
    """``..data`` is renamed over: the same credential with another fingerprint, never missed."""
    kubelet(tmp_path / "google", "1", {"key.json": google("p-1", "first")})
    kubelet(tmp_path / "lab", "1", {"credentials": aws(), "config": "region=r-1\n"})
    async with _following(tmp_path) as follower:
        await follower.until_scopes("p-1", "aws_lab")
        first = {one.scope: one.fingerprint for one in follower.sets[-1]}
        kubelet(tmp_path / "google", "2", {"key.json": google("p-1", "second")})
        await _until(lambda: "id-of-second" in follower.secrets)
        await follower.until_scopes("p-1", "aws_lab")
        after = {one.scope: one.fingerprint for one in follower.sets[-1]}
        assert after["p-1"] != first["p-1"]
        assert after["aws_lab"] == first["aws_lab"]
        kubelet(tmp_path / "lab", "3", {"credentials": aws(hidden="new"), "config": "region=r-1\n"})
        await follower.until(lambda: follower.sets[-1][1].fingerprint != first["aws_lab"])
        assert all(len(whole) == 2 for whole in follower.sets[1:])


async def test_a_swap_that_changes_nothing_tells_nobody(tmp_path: Path) -> None:
    """The kubelet writes the volume anew for another key of the secret."""
    kubelet(tmp_path / "v", "1", {"key.json": google("p-1")})
    async with _following(tmp_path) as follower:
        await follower.until_scopes("p-1")
        count = len(follower.sets)
        kubelet(tmp_path / "v", "2", {"key.json": google("p-1")})
        put(tmp_path / "other.json", google("p-2"))
        await follower.until_scopes("p-1", "p-2")
        assert len(follower.sets) == count + 1


async def test_a_second_key_takes_over_from_the_first(tmp_path: Path) -> None:
    """Rotation as Google advises it: the new key beside the old one, then the old one removed."""
    old = put(tmp_path / "old.json", google("p-1", "first"))
    async with _following(tmp_path) as follower:
        await follower.until_scopes("p-1")
        put(tmp_path / "new.json", google("p-1", "second"))
        await _until(lambda: "id-of-second" in follower.secrets)  # seen, and nothing has changed
        old.unlink()
        await follower.until(lambda: follower.sets[-1][0].origin == "new.json")
        assert all(len(whole) == 1 for whole in follower.sets[1:])


async def test_a_refused_key_makes_way_for_its_spare(tmp_path: Path) -> None:
    """Whoever is refused by the broker says so, and gets the other key."""
    put(tmp_path / "a.json", google("p-1", "first"))
    put(tmp_path / "b.json", google("p-1", "second"))
    async with _following(tmp_path) as follower:
        await follower.until_scopes("p-1")
        (before,) = follower.sets[-1]
        follower.stream.refused(before)
        await follower.until(lambda: follower.sets[-1][0].origin != before.origin)
        assert any("spare" in one.sentence for one in follower.stream.troubles)


async def test_a_thousand_files_appear(tmp_path: Path) -> None:
    """All of them, dropped in at once."""
    certs, outside = tmp_path / "certs", tmp_path / "outside"
    certs.mkdir()
    for number in range(1000):
        put(outside / f"{number}.json", google(f"project-{number:04}"))
    async with _following(certs) as follower:
        await _run("cp", "-r", outside, certs)
        await follower.until(lambda: len(follower.sets[-1]) == 1000)
        shutil.rmtree(certs / "outside")
        await follower.until_scopes()


async def test_the_watch_takes_a_few_threads_whatever_there_is(tmp_path: Path) -> None:
    """Three threads of watchdog's for one directory, and one worker; none per file."""
    for number in range(50):
        put(tmp_path / "certs" / f"d{number}" / "key.json", google(f"p-{number:02}"))
    before = threading.active_count()
    async with _following(tmp_path / "certs") as follower:
        await follower.until(lambda: len(follower.sets[-1]) == 50)
        assert threading.active_count() - before <= 4


async def test_without_inotify_a_look_finds_them(tmp_path: Path) -> None:
    """A file system that tells nothing, as far as it can be had: links that lead elsewhere."""
    certs, elsewhere = tmp_path / "certs", tmp_path / "elsewhere"
    certs.mkdir()
    elsewhere.mkdir()
    (certs / "linked").symlink_to(elsewhere)
    async with _following(certs, glance=timedelta(seconds=0.3)) as follower:
        put(elsewhere / "key.json", google("p-1"))
        await follower.until_scopes("p-1")


async def test_what_is_wrong_is_over_and_wrong_again_without_a_restart(tmp_path: Path) -> None:
    """Also while nothing else changes: looking goes on, and what is standing follows."""
    certs = tmp_path / "certs"
    key = put(certs / "key.json", "{")
    async with _following(certs, glance=timedelta(seconds=0.05)) as follower:
        for _ in range(2):
            await _until(lambda: bool(follower.stream.unusable))
            key.unlink()
            await _until(lambda: not follower.stream.unusable)
            put(key, "{")


async def test_reading_does_not_ring_the_bell(tmp_path: Path) -> None:
    """Our own looks, and other people's, are no changes; a write is."""
    put(tmp_path / "key.json", google("p-1"))
    async with Bell([str(tmp_path)]) as bell:
        bell.tend()
        for command in (["cat", "key.json"], ["ls", "-la"]):
            await anyio.run_process(command, cwd=tmp_path)
        await anyio.to_thread.run_sync(bell.wait, 0.3)
        assert not bell.is_rung
        put(tmp_path / "key.json", google("p-2"))
        await anyio.to_thread.run_sync(bell.wait, _PATIENCE)
        assert bell.is_rung


_AS_NOBODY = """
import logging, os, sys
from datetime import timedelta
from pathlib import Path
import anyio
from runner.queues.credentials import Credentials, Sources
from runner.queues.credentials.bell import Bell
os.setgroups([]); os.setgid(65534); os.setuid(65534)
async def main():
    quick = timedelta(seconds=0.1)
    sources = Sources(certs_dir=Path(sys.argv[1]), quiet=quick, glance=quick, patience=quick)
    async with Credentials(sources) as stream:
        async for whole in stream.changes():
            print(*(one.scope for one in whole), flush=True)
anyio.run(main)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_what_becomes_unreadable_stays_in_use_and_is_said(tmp_path: Path) -> None:
    """An ordinary user's daemon: a directory and a file lose their rights and get them back."""
    open_to_all(tmp_path)
    certs = tmp_path / "certs"
    put(certs / "a" / "key.json", google("p-1")).chmod(0o644)
    put(certs / "b.json", google("p-2")).chmod(0o600)
    async with await anyio.open_process(
        [sys.executable, "-c", _AS_NOBODY, str(certs)],
        cwd=Path(__file__).parents[3],
        stderr=subprocess.STDOUT,
    ) as child:
        assert child.stdout is not None
        text = ""

        async def until(*words: str) -> None:
            nonlocal text
            assert child.stdout is not None
            with anyio.fail_after(_PATIENCE):
                while not all(word in text for word in words):
                    text += (await child.stdout.receive()).decode()

        await until("p-1\n", "b.json", "cannot be read", "uid 65534")
        certs.chmod(0o700)
        await until("cannot be looked at")
        certs.chmod(0o755)
        (certs / "b.json").chmod(0o644)
        await until("p-1 p-2\n")
        assert "\n\n" not in text, "a set without p-1 was told"
        child.terminate()
