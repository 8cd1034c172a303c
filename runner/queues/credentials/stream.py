"""The stream of all credentials: the whole set first, and again after each change."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Self

import anyio

from runner import blocking, log
from runner.queues.credential import Credential
from runner.queues.credentials.bell import Bell
from runner.queues.credentials.choosing import Chosen, steps
from runner.queues.credentials.contents import Trouble
from runner.queues.credentials.finder import Finder
from runner.queues.credentials.sources import Sources
from runner.queues.credentials.speaking import Speaking
from runner.redaction import Secret

_log = log.get_logger(__name__)

#: Changes come in bursts; one look sees them all.
_BURST, _LONGEST_BURST = 0.05, 0.3
#: A look at a large directory is taken the less often: at most this share of a core.
_SHARE = 0.005
_RAREST = 60.0
#: As many times the quiet is waited for what is being written when we start.
_FIRST_LOOKS = 4
#: More names in one line help nobody.
_SHOWN = 5


class Credentials(AbstractAsyncContextManager["Credentials"]):
    """What opens brokers, as it comes and goes.

    Use ``changes`` within ``async with``, by one task at a time. ``found`` is told every secret
    before the credential that holds it is given out: ``Redactor.add``. Raises Misconfigured when
    made from an option that cannot be used.
    """

    def __init__(self, sources: Sources, *, found: Callable[..., None] = lambda *_: None) -> None:
        self._sources = sources
        self._found = found
        self._finder = Finder(sources)
        self._bell = Bell([str(path) for path in _watched(sources)])
        self._speaking = Speaking(sources.patience.total_seconds())
        self._refused: set[str] = set()
        self._told: set[Secret] = set()
        self._exposed: frozenset[str] = frozenset()
        #: Seconds of a core that the last look took that found nothing new.
        self._cost = 0.0
        self._limit = blocking.Limit(1)

    async def __aenter__(self) -> Self:
        await self._bell.__aenter__()
        for note in _notes(self._sources):
            _log.info(note)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._bell.__aexit__(exc_type, exc_value, traceback)

    async def changes(self) -> AsyncGenerator[tuple[Credential, ...], None]:
        """Yield the whole set, and again after each change; by broker and scope, each once.

        Of two sets the same scope means the same account: where only the fingerprint differs, the
        secret was rotated or the queues that are named have changed. A profile that moves to
        another region leaves the set first.
        """
        before: tuple[Credential, ...] | None = None
        chosen = await self._first_look()
        while True:
            after = chosen.credentials
            if after != before:
                for whole in steps(before or (), after):
                    yield whole
                before = after
            chosen = await self._heard(self._next_news)

    def refused(self, credential: Credential) -> None:
        """Say that the broker refuses it: another key for the same account takes its place.

        Where there is none, it stays.
        """
        for one in self._finder.chosen.used:
            if one.credential == credential:
                self._refused.add(one.secret)
                self._bell.ring()

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        """What is wrong with credentials now, for status pages and ``doctor``."""
        return self._finder.troubles

    @property
    def unusable(self) -> Mapping[str, str]:
        """What is wrong for longer than writing a file takes: by path or option, for people."""
        return {trouble.about: trouble.sentence for trouble in self._speaking.standing}

    async def _first_look(self) -> Chosen:
        """Look again while a file is about to settle, a few times.

        What was written just before we started is there: no run that came with it is to be taken
        for one whose credential is gone.
        """
        quiet = self._sources.quiet.total_seconds()
        for _ in range(_FIRST_LOOKS):
            self._bell.quieten()
            chosen = await self._heard(lambda _: self._look())
            if not self._finder.waits:
                break
            await anyio.sleep(quiet)
        return chosen

    async def _heard(self, look: Callable[[blocking.Stop], Chosen]) -> Chosen:
        """Have somebody look in a thread, and say what is new."""
        chosen = await blocking.call(look, limit=self._limit)
        secrets = self._finder.secrets - self._told
        if secrets:
            self._told |= secrets
            self._found(*secrets)
        self._speak()
        return chosen

    def _next_news(self, stop: blocking.Stop) -> Chosen:
        """Look again and again until there is something to say.

        All in one thread: a look takes some 50 µs, waking the event loop for it ten times as much.
        """
        before = self._finder.chosen
        with stop.calling(self._bell.ring):
            while True:
                self._bell.wait(self._pause())
                if self._bell.is_rung:
                    stop.pause(min(_BURST + self._cost * 10, _LONGEST_BURST))
                self._bell.quieten()
                stop.check()  # after it: what rang to stop us is not to be forgotten
                chosen = self._look()
                if chosen is not before or self._is_to_speak():
                    return chosen

    def _look(self) -> Chosen:
        begin, before = time.thread_time(), self._finder.chosen
        self._bell.tend()
        chosen = self._finder.look(time.monotonic(), time.time(), self._refused)
        if chosen is before:
            self._cost = time.thread_time() - begin
        return chosen

    def _is_to_speak(self) -> bool:
        finder = self._finder
        return bool(
            finder.secrets - self._told
            or finder.exposed - self._exposed
            or self._speaking.waits(finder.troubles)
        )

    def _pause(self) -> float:
        """Return the seconds until the next look, should nothing ring."""
        if self._finder.waits:
            return self._sources.quiet.total_seconds()
        return max(self._sources.glance.total_seconds(), min(self._cost / _SHARE, _RAREST))

    def _speak(self) -> None:
        for trouble in self._speaking.due(self._finder.troubles, time.monotonic()):
            _log.warning("a credential needs attention", about=trouble.about, why=trouble.sentence)
        exposed = sorted(self._finder.exposed - self._exposed)
        self._exposed |= self._finder.exposed
        if exposed:
            more = f" and {len(exposed) - _SHOWN} more" if len(exposed) > _SHOWN else ""
            _log.warning(
                "every user of this machine can read these credentials: chmod 600",
                files=", ".join(exposed[:_SHOWN]) + more,
            )


def _watched(sources: Sources) -> list[str]:
    # A single key file is looked at alone: the directory it lies in may be anybody's.
    places = (sources.certs_dir, sources.google_certs, sources.sqs_certs)
    return list(dict.fromkeys(str(place) for place in places if place is not None))


def _notes(sources: Sources) -> list[str]:
    notes = []
    if sources.pubsub_emulator:
        host = sources.pubsub_emulator
        notes.append(f"PUBSUB_EMULATOR_HOST is set: Pub/Sub is the emulator at {host}")
    if sources.aws_endpoint:
        endpoint = sources.aws_endpoint
        notes.append(f"AWS_ENDPOINT_URL is set: SQS is {endpoint} where a profile says no other")
    return notes
