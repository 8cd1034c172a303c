"""Puts the daemon together from the settings, and runs it."""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import anyio
from anyio.abc import TaskGroup

from runner import __version__, log
from runner.app import (
    cache,
    fleet,
    fusing,
    gpu_watching,
    gpus,
    heartbeat,
    keeping,
    limits,
    listening,
    machine,
    noticing,
    places,
    reporting,
    responding,
    sources,
    state,
    tracing,
)
from runner.app.ahead import Ahead
from runner.app.background import in_background
from runner.app.binds import binds
from runner.app.bounds import bounding
from runner.app.children import reap_inherited
from runner.app.claiming import rules
from runner.app.containers import containers
from runner.app.disk import disk_watch
from runner.app.environments import environments
from runner.app.hidden import check, hidden, visible
from runner.app.hooks import hooks
from runner.app.leaving import Leaving, leave
from runner.app.masking import redactor_of
from runner.app.notify import Notify
from runner.app.options import ends, options
from runner.app.places import Places
from runner.app.privacy import opening
from runner.app.reexec import Reexec
from runner.app.sandbox import chosen
from runner.app.scopes import runs_slice
from runner.app.signals import Signals
from runner.app.sources import named
from runner.app.stores import key_file, store_options
from runner.app.trials import sweep
from runner.app.users import users
from runner.control.server import ControlServer
from runner.errors import Misconfigured
from runner.handover import Locks
from runner.lifecycle.board import Board
from runner.lifecycle.chore import Chore
from runner.lifecycle.claiming.intake import Intake
from runner.lifecycle.claiming.suspension import Suspension
from runner.lifecycle.desk import Desk
from runner.lifecycle.disk.yielding import Keeps, keep_room, on_the_disk_of
from runner.lifecycle.fuses.fuse import Fuse
from runner.lifecycle.history import History
from runner.lifecycle.loop import Loop
from runner.lifecycle.ownership.claim import Observations
from runner.lifecycle.ownership.keeper import Keeper
from runner.lifecycle.parts import Parts, StoreFor
from runner.lifecycle.recovery import recover
from runner.lifecycle.resumption import Resumption
from runner.lifecycle.runs.bounding import Bounding
from runner.lifecycle.runs.forkserver import ForkServer
from runner.lifecycle.runs.record import Records
from runner.lifecycle.runs.remains import Remains
from runner.lifecycle.sources.aside import Aside
from runner.lifecycle.sources.source import Complain, Source
from runner.lifecycle.sources.standing import topic
from runner.lifecycle.sources.supply import Supply
from runner.model import Allocation, Artifact, Bytes, Location, News, Report, Request
from runner.queues.drawer import Drawer
from runner.redaction import Redactor
from runner.settings import Settings
from runner.stores.base import Store
from runner.stores.pool import StorePool

_log = log.get_logger(__name__)


def run(settings: Settings) -> int:
    """Run the daemon until it has drained; return the exit status."""
    redactor = redactor_of(settings, os.environ)
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
    limits.check()
    locks = Locks.inherited(os.environ)
    with places.opened(settings, locks) as places_:
        async with anyio.create_task_group() as background:
            signals = Signals(background.cancel_scope, Reexec(locks))
            await background.start(signals.heed)
            reap_inherited(in_background(background))
            with signals.reexec.executed_after():
                async with AsyncExitStack() as stack:
                    with places.usable(places_.state):
                        parts, supply = await _parts(
                            stack, settings, redactor, places_, background, locks=locks
                        )
                        locks.release_rest()
                        adopted = await recover(parts, supply)
                    aside = Aside(places_.aside)
                    loop = Loop(parts, supply, ends(settings), named(settings), aside=aside)
                    await _work(loop, adopted, settings, places_, background, signals=signals)
            background.cancel_scope.cancel()


async def _work(
    loop: Loop,
    adopted: Sequence[Resumption],
    settings: Settings,
    places_: Places,
    background: TaskGroup,
    *,
    signals: Signals,
) -> None:
    parts, manager = loop.parts, Notify.told_by(os.environ)
    # Cancelling the loop leaves every run to the next daemon, and lets us clean up behind it.
    with anyio.CancelScope() as serving:
        leaving = Leaving(loop, serving, signals.reexec, manager, settings)
        desk = Desk(parts, loop, detach=leaving.detach, reloads=leaving)
        await listening.begin(settings, background, loop, desk)
        await background.start(ControlServer(places_.control, desk.handlers).serve)
        # Not before all is open: a manager may start us again and again, and people hear of each.
        await _announce(settings, parts)
        await state.follow(settings, parts.intake.suspension, background)
        signals.serve(loop, leaving)
        await noticing.begin(settings, background, loop)
        fusing.begin(background, parts)
        fleet.begin(settings, background, loop)
        beat = partial(heartbeat.beat, manager, loop)
        background.start_soon(Chore("telling the service manager", beat).keep)
        gc.freeze()  # what is open now stays: the collector need not look through it ever again
        await loop.run(adopted)
    ended, facts = "has ended", dict[str, str]()
    if serving.cancelled_caught:
        await leave(parts.keeper)
        ended = "is reloaded"
        if not signals.reexec.is_wanted:
            ended, facts = "has left its runs to the next daemon", reporting.IN_HASTE
    await parts.report(Report(News.DAEMON_STOPPED, f"the daemon {ended}", facts=facts))


async def _parts(
    stack: AsyncExitStack,
    settings: Settings,
    redactor: Redactor,
    places_: Places,
    background: TaskGroup,
    *,
    locks: Locks,
) -> tuple[Parts, Supply]:
    held = Ahead(background, lambda: _held(settings))
    spans = tracing.opened(settings, os.environ, places_.owner, redactor)
    report = await stack.enter_async_context(
        reporting.opened(settings, redactor, places_.slack_threads, [spans] if spans else [])
    )
    pulse, tally = listening.counting(background, places_.trouble)
    keeper = await stack.enter_async_context(Keeper(pulse))
    machine_ = await machine.opened(stack, settings, places_.records, locks)
    host, watch = machine_.host, gpu_watching.judged(settings, machine_, report)
    await sweep(places_, settings.working_dir)
    sandbox = await chosen(settings, places_)
    check(settings, places_, hides=sandbox.hides)
    kept = await cache.opened(stack, settings, places_, sandbox)
    slice_, bounds = await held.result()
    board = Board(tally.stage, tracing.tracing(spans, redactor))
    eye = disk_watch(settings, board, host, redactor)
    failed = keeping.kept(settings, board, host, background)
    building = bounds.of(Allocation(0, Bytes(0), Bytes(0)), machine_.ledger.total.memory)
    builder = await stack.enter_async_context(
        environments(settings, places_, sandbox, eye, building)
    )
    containers_, images = await containers(stack, settings, places_, sandbox, building)
    keeps: list[tuple[Keeps, Path]] = [(failed, failed.root)]
    keeps += [] if kept is None else [(kept, kept.root)]
    keeps += [] if images is None else [(images, places_.images)]
    near = on_the_disk_of(settings.working_dir, [*keeps, (builder, places_.environments)])
    room = partial(keep_room, host.disk_shortage, near)
    background.start_soon(Chore("keeping room on the disk", room).keep)
    background.start_soon(Chore("watching the disk", eye.watch).keep)
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
        intake=Intake(
            machine_.ledger,
            disk_is_low=lambda: places_.trouble() or host.disk_is_low(),
            rules=rules(settings),
            suspension=Suspension(places_.suspended),
        ),
        records=Records(places_.records),
        history=History(places_.recent),
        board=board,
        observations=Observations(),
        environments=builder,
        sandbox=sandbox,
        store_for=await _stores(stack, settings, supply),
        report=report,
        redactor=redactor,
        options=options(settings, places_, bounding=bounds, runs_slice=slice_),
        background=in_background(background),
        users=users(settings, places_.identity),
        cache=kept,
        hidden=hidden(settings, places_, os.environ),
        visible=visible(settings),
        binds=binds(settings, places_, sandbox),
        pulse=pulse,
        tally=tally,
        cards=watch.cards,
        fuse=Fuse(settings.fuse),
        remains=Remains(Records(places_.remains)),
        containers=containers_,
        opening=opening(settings, places_.state),
        responses=await stack.enter_async_context(responding.opened(settings, supply, redactor)),
        hooks=hooks(settings),
        kept=failed,
        server=await stack.enter_async_context(ForkServer()),
    )
    await gpu_watching.begin(stack, settings, watch, parts)
    return parts, supply


async def _held(settings: Settings) -> tuple[str, Bounding]:
    """Try what holds runs: systemd's slice for them, and the bounds of each."""
    slice_ = await runs_slice()
    return slice_, await bounding(settings, slice_)


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
        await report(Report(News.WARNING, said, topic=topic(source.origin)))

    return complain


async def _announce(settings: Settings, parts: Parts) -> None:
    for note in settings.notes:
        _log.warning(note)
    total = parts.intake.ledger.total
    await parts.report(
        Report(
            News.DAEMON_STARTED,
            f"studio-runner {__version__} on {parts.host} has for experiments {total.cores} cores, "
            f"{total.memory / 1e9:.1f} GB of memory, {total.disk / 1e9:.0f} GB of disk, "
            f"{gpus.counted(total)}",
        )
    )
    _log.info(
        "waiting for experiments",
        local_queues=str(settings.queue_root or "none"),
        credentials=str(settings.certs_dir),
    )
