"""Every queue that would be taken from: found, and asked for what may be asked without receiving.

No message is received, peeked at or hidden: on most brokers a look counts as a delivery.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import anyio

from runner.app.choosing import choice
from runner.app.sources import maker
from runner.doctor.check import Finding, failed, ok, skipped, warning
from runner.doctor.examination import Tell, aside
from runner.doctor.patient import Patient, nearest
from runner.errors import QueueDenied, RunnerError
from runner.lifecycle.sources.source import Make
from runner.queues.base import Broker, Rights
from runner.queues.choice import Choice
from runner.queues.credential import Credential
from runner.queues.drawer import DEAD_LETTERS, Drawer
from runner.queues.local.names import is_queue

#: Seconds for one account to list its queues, and for one queue to answer.
_LISTING, _ANSWER = 30.0, 15.0
_AT_ONCE = 8
#: Of more queues than this of one account, the rest is counted alone.
_ASKED = 50
_SHOWN = 5
_REACH = "check the address, the network, the firewall and the proxy between here and there"
_NAMED = "make it, or correct --queue or the file queues beside the credential"
_PERMISSIONS = "docs/permissions.md lists the least rights of each credential"


async def look(patient: Patient, tell: Tell) -> None:
    """Look at local queues, and at those of every credential beside each other."""
    settings = patient.settings
    make = maker(
        settings,
        "doctor",
        Drawer(settings.state_dir / DEAD_LETTERS, settings.dead_letter_limit),
    )
    async with anyio.create_task_group() as group:
        group.start_soon(_local, patient, tell)
        for credential in patient.credentials:
            group.start_soon(_Account(patient, credential, make, tell).look)


@dataclass(frozen=True, slots=True)
class _Account:
    """One credential's broker, looked at."""

    patient: Patient
    credential: Credential
    make: Make
    tell: Tell

    async def look(self) -> None:
        """Tell of the account, and of each of its queues."""
        try:
            made = await self.make(self.credential)
        except RunnerError as error:
            self.tell(failed(str(error), _remedy(error), self._about()))
            return
        async with made as broker:
            # Inside: a broker that has a task group would make a group of the error.
            try:
                await self._look(broker)
            except RunnerError as error:
                self.tell(failed(str(error), _remedy(error), self._about()))
            except TimeoutError:
                self.tell(failed(f"no answer within {_LISTING:g} s", _REACH, self._about()))

    async def _look(self, broker: Broker) -> None:
        with anyio.fail_after(_LISTING):
            async with aclosing(broker.discover()) as sets:  # type: ignore[type-var]
                names = sorted(await anext(sets))
        rule = choice(self.patient.settings, self.credential.broker)
        self.tell(_of_account(rule, names, broker.left, self._about()))
        at_once = anyio.CapacityLimiter(_AT_ONCE)
        async with anyio.create_task_group() as group:
            for name in names[:_ASKED]:
                group.start_soon(self._queue, broker, name, at_once)
        if len(names) > _ASKED:
            self.tell(
                skipped(f"{len(names) - _ASKED} more queues were not asked", "", self._about())
            )

    async def _queue(self, broker: Broker, name: str, at_once: anyio.CapacityLimiter) -> None:
        about = self._about(name)
        async with at_once:
            try:
                with anyio.fail_after(_ANSWER):
                    if not await broker.exists(name):
                        self.tell(failed("the broker has no queue of this name", _NAMED, about))
                        return
                    queue = await broker.open(name)
                    waiting = await queue.depth()
                    rights = await queue.rights()
            except TimeoutError:
                self.tell(failed(f"no answer within {_ANSWER:g} s", _REACH, about))
            except RunnerError as error:
                self.tell(failed(str(error), _remedy(error), about))
            else:
                self.tell(_of_queue(waiting, rights, about))

    def _about(self, queue: str = "") -> str:
        return " ".join(filter(None, (self.credential.broker, self.credential.origin, queue)))


def _of_account(rule: Choice, taken: Collection[str], left: Collection[str], about: str) -> Finding:
    counted = f"{len(taken)} queues are taken, {len(left)} left alone"
    if taken:
        return ok(counted, about)
    if not left:
        return warning(
            "the credential is accepted and shows no queue at all",
            "submit an experiment, or name queues with --queue",
            about,
        )
    why = "; ".join(f"{name}: {rule.reason(name)}" for name in sorted(left)[:_SHOWN])
    return warning(f"{counted} ({why})", "take them with --queue-match or --queue", about)


def _of_queue(waiting: int | None, rights: Rights | None, about: str) -> Finding:
    answer = "it answers" if waiting is None else f"it answers, {waiting} messages wait"
    if rights is None:
        return ok(f"{answer}; whether they may be taken shows when the first one is", about)
    if rights.missing:
        return failed("; ".join(rights.missing), _PERMISSIONS, about)
    if rights.wanting:
        return warning(f"{answer}; {'; '.join(rights.wanting)}", _PERMISSIONS, about)
    untold = f"; whether {rights.untold} is allowed, only receiving tells" if rights.untold else ""
    return ok(answer + untold, about)


def _remedy(error: RunnerError) -> str:
    return _PERMISSIONS if isinstance(error, QueueDenied) else _REACH


# ----------------------------------------------------------------------------- local


async def _local(patient: Patient, tell: Tell) -> None:
    root = patient.settings.queue_root
    if root is None:
        tell(skipped("--queue-root is empty: no local queues", about="local"))
        return
    tell(await aside(lambda: _of_root(root, choice(patient.settings, "local"))))


def _of_root(root: Path, rule: Choice) -> Finding:
    """Look without the backend: that would make what is not there."""
    about = f"local --queue-root {root}"
    there = nearest(root)
    if not os.access(there, os.R_OK | os.W_OK | os.X_OK):
        return failed(
            f"this user may not {'write to' if there == root else 'make it in'} {there}",
            "run the doctor as the daemon's user, or name another --queue-root",
            about,
        )
    if there != root:
        return ok("it is not there yet and will be made", about)
    names = [name for name in _folders(root) if is_queue(name)]
    taken, left = rule.divide(names)
    if left and not taken:
        return _of_account(rule, taken, left, about)
    return ok(f"{len(taken)} queues are taken, {len(left)} left alone", about)


def _folders(root: Path) -> Iterator[str]:
    with os.scandir(root) as entries:
        yield from sorted(entry.name for entry in entries if entry.is_dir())
