"""Stores what a running experiment has made so far, again and again, and once more at its end."""

from __future__ import annotations

import errno
import io
import os
import stat
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import anyio

from runner import blocking
from runner.errors import HostFault, RunnerError, host_fault
from runner.lifecycle.artifacts.artifacts import METADATA, Artifacts
from runner.lifecycle.artifacts.regular import open_regular
from runner.lifecycle.artifacts.storing import Stored
from runner.lifecycle.artifacts.uploading import Flawed, say_nothing
from runner.lifecycle.runs.workspace import Workspace

#: Scraping is Python at work: more than one thread at a time would only slow the event loop.
_LIMIT = blocking.Limit(1)
#: Seconds of one turn: however much one experiment has printed, the results of others go on.
_TURN = 0.2
_CHUNK = 16 << 10


class Scrapes(Protocol):
    """What finds metadata in the output as it grows; ``metadata.Scraper``."""

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the output."""

    def close(self) -> None:
        """Take a last line that has no end."""

    def document(self) -> bytes:
        """Return the document so far; empty while there is none."""


async def _nobody(_: object) -> None:
    """Tell nobody."""


async def _always() -> None:
    """Store without asking."""


class Checkpoints:
    """Saves one attempt's mutable artifacts, its metadata freshly scraped before each time."""

    def __init__(
        self,
        artifacts: Artifacts,
        workspace: Workspace,
        scraper: Scrapes,
        *,
        accession: str,
        interval: timedelta | None,
        on_saved: Callable[[Mapping[str, Stored]], Awaitable[None]] = _nobody,
        on_failed: Callable[[RunnerError], Awaitable[None]] = _nobody,
        confirm: Callable[[], Awaitable[None]] = _always,
    ) -> None:
        """``interval`` lies between the end of one checkpoint and the next; ``None``: none.

        ``confirm`` is asked before anything is stored, and raises where it must not be.
        """
        self._artifacts = artifacts
        self._workspace = workspace
        self._scraper = scraper
        self._name = f"scrape-host-{accession}.json"
        self._interval = interval
        self._on_saved = on_saved
        self._on_failed = on_failed
        self._confirm = confirm
        self._offset = 0
        self._written = b""

    async def keep(self) -> None:
        """Save at each interval until cancelled. One that fails is reported, and the next tried."""
        if self._interval is None:
            return
        while True:
            await anyio.sleep(self._interval.total_seconds())
            try:
                await self._save()
            except RunnerError as error:
                await self._on_failed(error)

    async def last(
        self, *, result: bool = True, redact: Callable[[str], str] = str
    ) -> Mapping[str, Stored]:
        """Save what the experiment left, ``retval`` at the very end.

        What had to be left out is told in the output, ``redact``ed.

        Without ``result`` there is none, as after a run that was stopped half way: what it left of
        ``retval`` would be taken for the whole. Raises what ``Artifacts.upload`` raises. May be
        called again then: what was stored is not stored again.
        """
        return await self._save(
            ended=True, result=result, on_flaws=lambda flaws: self._tell(flaws, redact)
        )

    async def _save(
        self, *, ended: bool = False, result: bool = False, on_flaws: Flawed = say_nothing
    ) -> Mapping[str, Stored]:
        if self._artifacts.has_metadata:
            try:
                while await blocking.call(
                    lambda stop: self._scrape(stop, ended=ended), limit=_LIMIT
                ):
                    pass
            except HostFault as error:  # results are worth more than what is said about them
                await self._on_failed(error)
        await self._confirm()
        stored = await self._artifacts.upload(final=result, is_over=ended, on_flaws=on_flaws)
        if not ended:
            await self._on_saved(stored)
        return stored

    def _tell(self, flaws: tuple[str, ...], redact: Callable[[str], str]) -> bool:
        text = "".join(f"studio-runner: not all is stored: {flaw}\n" for flaw in flaws)
        try:
            append_note(self._workspace.log, redact(text), once=True)
        except HostFault:  # a full disk, say: what is there is stored all the same
            return False
        return True

    def _scrape(self, stop: blocking.Stop, *, ended: bool) -> bool:
        """Work for one turn; tell whether there is more."""
        try:
            if self._feed(stop):
                return True
            if ended:
                self._scraper.close()
            self._write(self._scraper.document())
        except OSError as error:
            raise host_fault("metadata cannot be kept in the workspace", error) from error
        return False

    def _feed(self, stop: blocking.Stop) -> bool:
        try:
            descriptor = open_regular(self._workspace.log, os.O_RDONLY)
        except FileNotFoundError:
            return False
        end = time.monotonic() + _TURN
        with os.fdopen(descriptor, "rb", buffering=0) as log:
            while data := _from(log, self._offset):
                stop.check()
                self._scraper.feed(data)
                self._offset = log.tell()
                if time.monotonic() > end:
                    return True
        return False

    def _write(self, document: bytes) -> None:
        """Replace the file whole: an upload beside us must not see half of it."""
        path = self._workspace.directory(METADATA) / self._name
        if document == self._written and path.exists():
            return  # the same content in a new file would be stored anew
        self._written = document
        if not document:
            path.unlink(missing_ok=True)
            return
        with suppress(FileExistsError):
            path.parent.mkdir(mode=0o700)
        new = self._workspace.private / self._name
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(document)
        # The experiment may have put a link in the place of the directory.
        folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.rename(new, path.name, dst_dir_fd=folder)
        finally:
            os.close(folder)


def _from(log: io.FileIO, offset: int) -> bytes:
    """Read on; a hole, which an experiment can make as long as it likes, is passed over."""
    try:
        os.lseek(log.fileno(), offset, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:  # nothing comes after it
            return b""
        os.lseek(log.fileno(), offset, os.SEEK_SET)
    return log.read(_CHUNK)


def append_note(log: Path, text: str, *, once: bool = False) -> None:
    """Append the runner's own lines to an experiment's output, below what is there already.

    ``once``: unless they are its end already, written by a daemon that was killed after that.
    An output that is no file, as a fetched archive or the experiment may have left it, is put
    aside. Raises HostFault, OutOfDisk.
    """
    if not text:
        return
    try:
        log.parent.mkdir(mode=0o700, exist_ok=True)
        with suppress(FileNotFoundError):
            if not stat.S_ISREG(log.lstat().st_mode):
                log.rename(log.with_name(f"{log.name}.aside"))
        descriptor = open_regular(log, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            lines, size = text.encode(errors="backslashreplace"), file.seek(0, os.SEEK_END)
            file.seek(max(0, size - len(lines)))
            end = file.read(len(lines))
            if once and end == lines:
                return
            file.write(lines if end[-1:] in {b"", b"\n"} else b"\n" + lines)
    except OSError as error:
        raise host_fault("nothing can be written to the experiment's output", error) from error


def banner(attempt: int, host: str, previous_cause: str | None) -> str:
    """Return the line that parts an attempt's output from that of the attempts before it."""
    before = f"; attempt {attempt - 1} ended with: {previous_cause}" if previous_cause else ""
    return f"--- studio-runner: attempt {attempt} on {host}{before} ---\n"
