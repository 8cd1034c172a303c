"""Ends what outgrows the disk that it asked for: experiments, and builds of environments."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import anyio
import anyio.abc

from runner import blocking, log
from runner.lifecycle.board import Board, Entry
from runner.lifecycle.disk.looks import (
    Account,
    Allowance,
    Free,
    is_due,
    most_urgent,
    named,
    patience,
    sentence,
    three_digits,
    to_end,
)
from runner.lifecycle.disk.usage import Usage, measure
from runner.lifecycle.disk.watched import Watched, left, of_build
from runner.lifecycle.runs.workspace import Workspace
from runner.lifecycle.tally import Stage
from runner.model import Bytes, Cause
from runner.redaction import Redactor
from runner.supervisor import processes

_log = log.get_logger(__name__)

#: Seconds between two looks at what is free.
PERIOD = 1.0
#: Seconds below the floor before anybody is ended: caches give way first.
PATIENCE = 15.0
#: Looks are work of the disk: one at a time.
_LIMIT = blocking.Limit(1)
_DEFECT = "a defect of the runner in watching the disk"


@dataclass(eq=False)
class DiskWatch:
    """The only one in the daemon who looks at workspaces."""

    board: Board
    #: Where workspaces lie.
    place: Path
    #: What an experiment may hold that asks for no disk.
    default: Bytes
    redactor: Redactor = field(default_factory=Redactor)
    #: Bytes that lack to the floor of free space.
    shortage: Callable[[], Bytes] = lambda: Bytes(0)
    left: Callable[[Path], Free] = left
    period: float = PERIOD
    patience: float = PATIENCE
    clock: Callable[[], float] = time.monotonic
    #: How many looks there were, and what they took.
    looks: int = 0
    spent: float = 0.0
    _allowance: Allowance = field(default_factory=Allowance)
    _runs: dict[str, Watched] = field(default_factory=dict)
    _builds: set[Watched] = field(default_factory=set)
    _free: dict[Path, Free] = field(default_factory=dict)
    #: Where nothing can be told.
    _silent: set[Path] = field(default_factory=set)
    _looking: bool = False
    _ticked_at: float = 0.0
    _low_since: float | None = None

    async def watch(self) -> None:
        """Look until cancelled."""
        async with anyio.create_task_group() as group:
            while True:
                await self._rest()
                await anyio.sleep(self.period)
                try:
                    self.tick(group)
                except Exception as error:  # noqa: BLE001 - our bug must not cost what runs
                    _log.error(_DEFECT, exc_info=error)

    async def _rest(self) -> None:
        """Sleep while there is nothing to watch: an idle daemon is not to wake up each second."""
        while not self.board and not self._builds:
            self._runs.clear()
            self._free.clear()
            self._silent.clear()
            self._low_since = None
            await self.board.stirred()

    def tick(self, group: anyio.abc.TaskGroup) -> None:
        """See what was eaten, and begin a look in ``group`` where one is due."""
        now = self.clock()
        self._allowance.pass_by(now - self._ticked_at)
        self._ticked_at = now
        self._follow_runs()
        self._note_what_was_eaten()
        self._mind_the_floor()
        # A look into a file system that hangs would hang, and the daemon's end with it.
        answering = [one for one in self._watched() if one.place not in self._silent]
        due = [one for one in answering if self._is_due(one)]
        chosen = most_urgent((one, one.account) for one in due)
        if chosen is not None and not self._looking:
            self._looking = True
            group.start_soon(self._look, chosen)

    @contextmanager
    def guard(
        self,
        name: str,
        roots: Mapping[Path, str],
        bound: Bytes,
        over: Callable[[str], None],
        *,
        holders: Callable[[], Iterable[int]] = lambda: (),
    ) -> Iterator[None]:
        """Watch what is written below ``roots`` from now on, or kept open by ``holders``.

        For builds. ``over`` is told, once, what is too much; what is there already counts nothing,
        and a ``bound`` of 0 is none.
        """
        if not bound:
            yield
            return

        def told(account: Account) -> None:
            self._builds.discard(watched)
            usage = account.usage or Usage()
            over(self._explained(sentence(account, bound, name, "may use"), usage))

        account = Account(bound, since=self.clock())
        watched = of_build(name, account, roots, holders, told)
        self._builds.add(watched)
        self.board.stir()
        try:
            yield
        finally:
            self._builds.discard(watched)

    # ------------------------------------------------------------------ who is watched

    def _watched(self) -> list[Watched]:
        return [*self._runs.values(), *self._builds]

    def _follow_runs(self) -> None:
        running = {
            entry.record.run: entry
            for entry in self.board
            if entry.stage is Stage.RUN
            and entry.record.workspace is not None
            and entry.stopper.cause is None
        }
        for run in self._runs.keys() - running.keys():
            del self._runs[run]
        for run in running.keys() - self._runs.keys():
            self._runs[run] = self._of_run(running[run])

    def _of_run(self, entry: Entry) -> Watched:
        record, asked = entry.record, entry.record.allocation.disk
        assert record.workspace is not None  # noqa: S101 - asked before
        workspace, run = Workspace(record.workspace), record.run

        def holders() -> list[int]:
            return [process.pid for process in processes.of_run(run)]

        def look(check: Callable[[], None]) -> Usage:
            return measure(workspace.written(), check, holders=holders)

        account = Account(asked or self.default, record.attached, self.clock())
        return Watched(
            record.key, account, look, self.place, lambda _: self._end(entry, account), entry, asked
        )

    # ------------------------------------------------------------------ looks

    def _note_what_was_eaten(self) -> None:
        watched = self._watched()
        for place in {one.place for one in watched}:
            free = self._left(place)
            if free is not None:
                eaten = free.eaten_since(self._free.get(place, free))
                self._free[place] = free
                for one in watched:
                    one.account.eaten += eaten if one.place == place else 0
        for place in self._free.keys() - {one.place for one in watched}:
            del self._free[place]

    def _left(self, place: Path) -> Free | None:
        """Ask, and say it once where there is no answer: nobody is watched meanwhile."""
        try:
            free = self.left(place)
        except OSError as error:
            if place not in self._silent:
                _log.warning(
                    "what is free on the disk cannot be told: nobody is ended for it meanwhile",
                    directory=str(place),
                    trouble=error.strerror or str(error),
                )
                self._silent.add(place)
            return None
        if place in self._silent:
            _log.info("the disk answers again", directory=str(place))
            self._silent.discard(place)
        return free

    def _is_due(self, one: Watched) -> bool:
        now, account = self.clock(), one.account
        low = self._low_since
        if low is not None and one.entry is not None and account.usage is not None:
            # Whom to end is decided by what they hold now.
            before = now - patience(account.usage)
            if account.looked_at < low or account.looked_at <= before:
                return True
        return is_due(account, now, self._allowance)

    async def _look(self, one: Watched) -> None:
        try:
            await self._look_at(one)
        except Exception as error:  # noqa: BLE001 - as above
            _log.error(_DEFECT, exc_info=error)
        finally:
            self._looking = False

    async def _look_at(self, one: Watched) -> None:
        began, one.account.eaten = self.clock(), 0
        try:
            usage = await blocking.call(lambda stop: one.measure(stop.check), limit=_LIMIT)
        except OSError as error:  # a file system that fails is the run's trouble soon enough
            _log.warning("a workspace cannot be measured", of=one.name, trouble=str(error))
            usage = one.account.usage or Usage()
        self.looks += 1
        self.spent += usage.seconds
        self._allowance.spend(usage.seconds)
        one.account.seen(usage, began)
        if one.entry is not None:
            one.entry.disk_held = one.account.held
        self._follow_runs()  # it may have ended by itself meanwhile
        if one.account.is_over and one in self._watched():
            one.over(one.account)

    # ------------------------------------------------------------------ ends

    def _end(self, entry: Entry, account: Account) -> None:
        said = sentence(account, entry.record.allocation.disk)
        said = self._explained(said, account.usage or Usage())
        _log.warning("ended for the disk that it uses", key=entry.record.key, detail=said)
        entry.outgrew = True
        _stop(entry, said)

    def _explained(self, said: str, usage: Usage) -> str:
        largest = self.redactor.redact(named(usage))
        return f"{said}; the largest: {largest}" if largest else said

    def _mind_the_floor(self) -> None:
        """End who holds most beyond what it asked for, when caches could not help."""
        now, missing = self.clock(), self.shortage()
        if missing <= 0:
            self._low_since = None
            return
        self._low_since = now if self._low_since is None else self._low_since
        if now - self._low_since < self.patience:
            return
        runs = [one for one in self._runs.values() if one.account.usage is not None]
        chosen = to_end(((one, one.account.held - one.asked) for one in runs), missing)
        if chosen is None or chosen.entry is None:
            return
        self._low_since = now  # what it held takes a while to go
        above = three_digits(chosen.account.held - chosen.asked)
        said = self._explained(
            f"the disk of the machine is nearly full, and its workspace holds {above} that it did "
            "not ask for",
            chosen.account.usage or Usage(),
        )
        _log.warning("ended for want of disk", key=chosen.name, detail=said)
        _stop(chosen.entry, said)


def _stop(entry: Entry, said: str) -> None:
    """End it as the kernel ends who is out of memory: with time to say goodbye it wrote on."""
    entry.stopper.grace = timedelta(0)
    entry.stopper.stop(Cause.OUT_OF_DISK, said)
