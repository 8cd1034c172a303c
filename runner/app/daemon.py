"""Puts the daemon together from the settings, and runs it."""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import cast

import anyio
from anyio.abc import TaskGroup

from runner import __version__, log
from runner.app import cache, machine, places, sources
from runner.app.claiming import rules
from runner.app.environments import environments
from runner.app.hidden import check, hidden, visible
from runner.app.leaving import begin_to_leave, leave
from runner.app.places import Places
from runner.app.signals import Signals
from runner.app.sources import named
from runner.app.stores import key_file, store_options
from runner.control.server import ControlServer
from runner.errors import Misconfigured
from runner.lifecycle.aside import Aside
from runner.lifecycle.board import Board
from runner.lifecycle.claim import Observations
from runner.lifecycle.desk import Desk
from runner.lifecycle.disposition import RetryPolicy
from runner.lifecycle.handling import Handling
from runner.lifecycle.history import History
from runner.lifecycle.intake import Intake
from runner.lifecycle.keeper import Keeper
from runner.lifecycle.loop import Ends, Loop
from runner.lifecycle.parts import Options, Parts, StoreFor
from runner.lifecycle.record import Records
from runner.lifecycle.recovery import recover
from runner.lifecycle.source import Complain, Source
from runner.lifecycle.supply import Supply
from runner.lifecycle.variables import base_variables
from runner.lifecycle.yielding import Keeps, keep_room, on_the_disk_of
from runner.model import Artifact, Bytes, Location, News, Report, Request
from runner.queues.drawer import Drawer
from runner.redaction import Redactor, Secret
from runner.reporters import REPORTERS
from runner.reporters.base import Reporter
from runner.sandboxes import SANDBOXES
from runner.sandboxes.base import Sandbox
from runner.settings import Settings
from runner.stores.base import Store
from runner.stores.pool import StorePool

_log = log.get_logger(__name__)

_DEFAULT_DISK = Bytes(100 << 30)


def run(settings: Settings) -> int:
    """Run the daemon until it has drained; return the exit status."""
    redactor = _redactor(settings)
    log.configure(level=settings.log_level, form=settings.log_format, redactor=redactor)
    log.catch_uncaught()
    status = 0
    try:
        anyio.run(_serve, settings, redactor)
    except* Misconfigured as errors:
        status = 1
        for error in _flat(errors):
            _log.critical(str(error))
    return status


def _flat(group: BaseExceptionGroup[Misconfigured]) -> Iterator[Misconfigured]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _flat(error)
        else:
            yield error


async def _serve(settings: Settings, redactor: Redactor) -> None:
    with places.opened(settings) as places_:
        async with anyio.create_task_group() as background:
            signals = Signals(background.cancel_scope)
            await background.start(signals.heed)
            async with AsyncExitStack() as stack:
                parts, supply = await _parts(stack, settings, redactor, places_, background)
                adopted = await recover(parts, supply)
                aside = Aside(places_.aside)
                loop = Loop(parts, supply, _ends(settings), named(settings), aside=aside)
                await _announce(settings, parts)
                signals.loop = loop
                await _work(loop, adopted, places_, background)
            background.cancel_scope.cancel()


async def _work(
    loop: Loop, adopted: Sequence[Handling], places_: Places, background: TaskGroup
) -> None:
    parts = loop.parts
    # Cancelling the loop leaves every run to the next daemon, and lets us clean up behind it.
    with anyio.CancelScope() as serving:
        desk = Desk(parts, loop, detach=lambda: begin_to_leave(serving))
        await background.start(ControlServer(places_.control, desk.handlers).serve)
        await loop.run(adopted)
    if serving.cancelled_caught:
        await leave(parts.keeper)
    ended = "has left its runs to the next daemon" if serving.cancelled_caught else "has ended"
    await parts.report(Report(News.DAEMON_STOPPED, f"the daemon {ended}"))


async def _parts(
    stack: AsyncExitStack,
    settings: Settings,
    redactor: Redactor,
    places_: Places,
    background: TaskGroup,
) -> tuple[Parts, Supply]:
    reporters: Sequence[Reporter] = [REPORTERS.load("log")()]
    report = _to_all(reporters)
    keeper = await stack.enter_async_context(Keeper())
    ledger, host = await machine.opened(stack, settings, places_.records)
    sandbox = cast("Sandbox", SANDBOXES.load(settings.sandbox)())
    check(settings, places_, hides=sandbox.hides)
    kept = await cache.opened(stack, settings, places_, sandbox)
    builder = await stack.enter_async_context(environments(settings, places_, hides=sandbox.hides))
    keeps: list[tuple[Keeps, Path]] = [] if kept is None else [(kept, kept.root)]
    near = on_the_disk_of(settings.working_dir, [*keeps, (builder, places_.environments)])
    background.start_soon(keep_room, host.disk_shortage, near)
    supply = await sources.opened(
        stack,
        settings,
        owner=places_.owner,
        drawer=Drawer(places_.drawer, settings.dead_letter_limit),
        keeper=keeper,
        complain=_complaining(report),
        redactor=redactor,
    )
    parts = Parts(
        owner=places_.owner,
        host=socket.gethostname(),
        working_dir=settings.working_dir,
        keeper=keeper,
        intake=Intake(ledger, disk_is_low=host.disk_is_low, rules=rules(settings)),
        records=Records(places_.records),
        history=History(places_.recent),
        board=Board(),
        observations=Observations(),
        environments=builder,
        sandbox=sandbox,
        store_for=await _stores(stack, settings, supply),
        report=report,
        redactor=redactor,
        options=_options(settings, places_),
        background=_in_background(background),
        identity=places_.identity,
        cache=kept,
        hidden=hidden(settings, places_, os.environ),
        visible=visible(settings),
    )
    return parts, supply


def _options(settings: Settings, places_: Places) -> Options:
    return Options(
        duration_cap=settings.max_duration_cap,
        kill_grace=settings.kill_grace,
        orphan_timeout=settings.orphan_timeout,
        output_limit=settings.output_limit,
        checkpoint_interval=settings.checkpoint_default or None,
        default_disk=settings.max_disk or _DEFAULT_DISK,
        claim_lease=settings.lease,
        retry=RetryPolicy(
            max_attempts=settings.max_attempts,
            retry_on=frozenset(settings.retry_on),
            base_delay=settings.retry_delay,
            longest_delay=settings.longest_retry_delay,
        ),
        upload_patience=settings.upload_patience,
        base_variables=base_variables(
            user=places_.user, exposed=settings.expose_env, own=os.environ
        ),
        wrap_log_lines=settings.schema_logs,
        keep_workspaces=settings.debug,
    )


def _ends(settings: Settings) -> Ends:
    return Ends(
        tasks=settings.limit_tasks,
        idle=settings.limit_idle_duration,
        grace=settings.grace_period,
    )


async def _stores(stack: AsyncExitStack, settings: Settings, supply: Supply) -> StoreFor:
    pool = await stack.enter_async_context(StorePool(store_options(settings)))

    async def store_for(
        wanted: Artifact | Location, request: Request, account: tuple[str, str]
    ) -> Store:
        return await pool.store_for(
            wanted, request, queue_broker=account[0], queue_credentials=key_file(supply, account)
        )

    return store_for


def _complaining(report: Callable[[Report], Awaitable[None]]) -> Complain:
    async def complain(source: Source, text: str) -> None:
        said = f"{source.account[0]} queues of {source.origin}: {text}"
        await report(Report(News.WARNING, said))

    return complain


async def _announce(settings: Settings, parts: Parts) -> None:
    for note in settings.notes:
        _log.warning(note)
    total = parts.intake.ledger.total
    await parts.report(
        Report(
            News.DAEMON_STARTED,
            f"studio-runner {__version__} on {parts.host}: {total.cores} cores, "
            f"{total.memory / 1e9:.1f} GB of memory, {total.disk / 1e9:.0f} GB of disk, "
            f"{len(total.gpus)} GPUs for experiments",
        )
    )
    _log.info(
        "waiting for experiments",
        local_queues=str(settings.queue_root or "none"),
        credentials=str(settings.certs_dir),
    )


def _to_all(reporters: Sequence[Reporter]) -> Callable[[Report], Awaitable[None]]:
    async def report(news: Report) -> None:
        for reporter in reporters:
            try:
                await reporter.send(news)
            except Exception as error:  # noqa: BLE001 - news may cost nobody an experiment
                _log.error("a reporter failed", reporter=reporter.name, exc_info=error)

    return report


def _in_background(group: TaskGroup) -> Callable[[Callable[[], Awaitable[None]]], None]:
    async def guarded(work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - nobody waits for it, nobody may fail of it
            _log.warning("background work failed", trouble=f"{type(error).__name__}: {error}")

    def start(work: Callable[[], Awaitable[None]]) -> None:
        group.start_soon(guarded, work)

    return start


def _redactor(settings: Settings) -> Redactor:
    redactor = Redactor()
    for field in settings.origins:
        value = getattr(settings, field, None)
        if isinstance(value, Secret) and value:
            redactor.add(value)
    return redactor
