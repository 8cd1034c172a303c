"""Asks the hook before an experiment begins, and tells the other one how it ended."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import anyio

from runner import log
from runner.alongside import alongside
from runner.errors import RunnerError
from runner.lifecycle.board import Entry
from runner.lifecycle.hooks import facts
from runner.lifecycle.hooks.facts import Facts
from runner.lifecycle.hooks.program import Program, Said, run
from runner.lifecycle.tally import SETTLED, Stage
from runner.model import Cause, Deferred, Disposition, News, Outcome, Refused, Report, Request

if TYPE_CHECKING:  # which holds the hooks
    from runner.lifecycle.parts import Parts

_log = log.get_logger(__name__)

#: Seconds that are left to a hook that is told of an end, when a drain is out of time.
_HURRIED = 5.0
_LONG = 3600.0
#: The status with which a hook says: not now.
DEFERS = 100


class Barred(RunnerError):
    """The operator's hook does not let the experiment begin."""

    def __init__(self, outcome: Refused | Deferred) -> None:
        """Carry what that makes of the attempt."""
        super().__init__(outcome.detail)
        self.outcome = outcome


def judged(said: Said) -> Refused | Deferred | None:
    """Return what an answer means; ``None``: the experiment may begin. Pure."""
    if said.trouble:
        return Deferred(timedelta(0), said.trouble, Cause.HOOK_FAILED)
    if said.status == 0:
        return None
    why = said.last_line or f"it ended with status {said.status}"
    if said.status == DEFERS:
        return Deferred(timedelta(0), f"the hook wants it later: {why}", Cause.DEFERRED_BY_HOOK)
    return Refused(Cause.REFUSED_BY_HOOK, why)


@dataclass
class Hooks:
    """The operator's programs; none where there is nothing to ask."""

    before: Program | None = None
    after: Program | None = None
    #: The daemon's environment, of which a hook gets what is no secret.
    own: Callable[[], Mapping[str, str]] = lambda: os.environ
    #: Those of which people were told that they cannot be run.
    _ill: set[str] = field(default_factory=set)

    async def ask(self, parts: Parts, entry: Entry, request: Request) -> None:
        """Ask whether the attempt may begin. Raises Barred."""
        if self.before is None:
            return
        entry.begin(Stage.HOOK)
        told = facts.of_attempt(entry, request, host=parts.host)
        said = await self._run(self.before, parts, entry, told)
        if outcome := judged(said):
            raise Barred(outcome)

    async def tell(
        self,
        parts: Parts,
        entry: Entry,
        request: Request,
        outcome: Outcome,
        disposition: Disposition,
        *,
        kept: str = "",
    ) -> None:
        """Tell of the end of an attempt, and of where its workspace is ``kept``."""
        if self.after is None:
            return
        end = facts.of_end(
            outcome,
            SETTLED[type(disposition)],
            kept=kept,
            seconds=entry.seconds,
        )
        told = facts.of_attempt(entry, request, host=parts.host) | end
        if kept:
            told["workspace"] = kept
        said = await self._in_time(self.after, parts, entry, told)
        if said is None:
            _log.warning("hook-after was ended: there is no more time", key=entry.record.key)
        elif said.status:
            key, why = entry.record.key, said.last_line
            _log.warning("hook-after failed", key=key, status=said.status, last_line=why)

    async def _in_time(
        self, program: Program, parts: Parts, entry: Entry, told: Facts
    ) -> Said | None:
        """Run it, for a few seconds more when nothing may take long; ``None``: these are over."""

        async def shorten(_: anyio.CancelScope) -> None:
            while await entry.stopper.pause(_LONG):
                pass
            scope.deadline = anyio.current_time() + _HURRIED

        with anyio.CancelScope() as scope:
            async with alongside(shorten):
                return await self._run(program, parts, entry, told)
        return None

    async def _run(self, program: Program, parts: Parts, entry: Entry, told: Facts) -> Said:
        told = parts.redactor.redact_all(told)
        name = program.option.removeprefix("--")
        said = await run(
            program,
            json.dumps(told).encode() + b"\n",
            facts.variables(told, self.own()),
            redact=parts.redactor.redact,
            tell=lambda line: _log.info(name, key=entry.record.key, said=line),
            at_most=entry.stopper.longest_try,
        )
        await self._report(program.option, parts, said.trouble)
        return said

    async def _report(self, option: str, parts: Parts, trouble: str) -> None:
        """Tell people once, not for every experiment."""
        if trouble:
            _log.error("a hook cannot be run", hook=option, trouble=trouble)
        topic = f"hook {option.removeprefix('--hook-')}"
        if trouble and option not in self._ill:
            self._ill.add(option)
            what = "; nothing begins until it can be" if option == "--hook-before" else ""
            await parts.report(Report(News.WARNING, f"{trouble}{what}", topic=topic))
        elif not trouble and option in self._ill:
            self._ill.remove(option)
            await parts.report(Report(News.RECOVERED, f"{option} runs again", topic=topic))
