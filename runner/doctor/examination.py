"""Looks at all subjects beside each other, each for a limited time; whatever happens is a check."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import anyio
import anyio.to_thread

from runner import blocking
from runner.doctor.check import Area, Check, Finding, Verdict, failed
from runner.errors import RunnerError
from runner.redaction import Redactor

T = TypeVar("T")
Tell = Callable[[Finding], None]
Look = Callable[[Tell], Awaitable[None]]

_THREADS = blocking.Limit(8)
_HANGS = "see what hangs: a file system on the network (mount, dmesg), a proxy, a firewall"


@dataclass(frozen=True, slots=True)
class Subject:
    """Something that is looked at."""

    name: str
    area: Area
    #: Tells what it finds, each as soon as it is known.
    look: Look
    #: Seconds that looking may take.
    patience: float = 30.0


@dataclass(frozen=True, slots=True)
class Examination:
    """All subjects, and who is told of what is found."""

    subjects: Sequence[Subject]
    told: Callable[[Check], None]
    redactor: Redactor
    #: Told when nothing more comes from a subject.
    over: Callable[[Subject], None] = lambda _: None

    async def run(self) -> None:
        """Look at everything. What a subject raises is its last finding."""
        async with anyio.create_task_group() as group:
            for subject in self.subjects:
                group.start_soon(self._look, subject)

    async def _look(self, subject: Subject) -> None:
        begun = time.monotonic()

        def tell(finding: Finding) -> None:
            nonlocal begun
            now = time.monotonic()
            self.told(self._check(subject, finding, now - begun))
            begun = now

        try:
            with anyio.move_on_after(subject.patience) as scope:
                await subject.look(tell)
            if scope.cancelled_caught:
                tell(failed(f"no answer within {subject.patience:g} s", _HANGS))
        except Exception as error:  # noqa: BLE001 - one subject's end is not another's
            for finding in _trouble(subject, error):
                tell(finding)
        self.over(subject)

    def _check(self, subject: Subject, finding: Finding, seconds: float) -> Check:
        redact = self.redactor.redact
        return Check(
            name=subject.name,
            area=subject.area,
            verdict=finding.verdict,
            sentence=redact(finding.sentence),
            remedy=redact(finding.remedy),
            about=redact(finding.about),
            seconds=seconds,
        )


async def aside(function: Callable[[], T]) -> T:
    """Call what blocks in a thread; one that hangs, in a dead file system say, is left behind."""
    return await anyio.to_thread.run_sync(
        function, abandon_on_cancel=True, limiter=_THREADS.limiter()
    )


async def tell_all(findings: Callable[[], Iterable[Finding]], tell: Tell) -> None:
    """Tell what a look finds that blocks, also what it found before it failed or hung."""
    found: list[Finding] = []

    def look() -> None:
        for finding in findings():
            found.append(finding)  # noqa: PERF402 - each counts although the next one may hang

    try:
        await aside(look)
    finally:
        for finding in tuple(found):
            tell(finding)


def _trouble(subject: Subject, error: Exception) -> Iterator[Finding]:
    if isinstance(error, ExceptionGroup):
        for one in error.exceptions:
            yield from _trouble(subject, one)
    elif isinstance(error, TimeoutError | subprocess.TimeoutExpired):
        yield failed(f"no answer: {error}" if str(error) else "no answer", _HANGS)
    elif isinstance(error, RunnerError):
        yield failed(str(error))
    elif isinstance(error, OSError):
        yield failed(f"this machine refuses it: {error}", "run the doctor as the daemon's user")
    else:
        yield Finding(
            Verdict.FAILED,
            f"the doctor itself failed: {type(error).__name__}: {error}",
            "report it with the output of studio-runner doctor --json",
        )
