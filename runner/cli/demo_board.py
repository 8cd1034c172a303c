"""What the demo shows: each experiment while it goes on, and a table when all is over."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from runner.cli import show
from runner.client import told
from runner.client.shop import LocalShop
from runner.lifecycle import history
from runner.lifecycle.ownership.record import ClaimRecord, State
from runner.model import Cause

_COLUMNS = ("experiment", "parameters", "state", "accuracy", "took", "attempts")


@dataclass(frozen=True, slots=True)
class Trial:
    """One experiment of the demo."""

    key: str
    parameters: str
    submitted: float
    message_id: str


class Board:
    """The trials, as store and state directory show them."""

    def __init__(self, trials: Sequence[Trial], shop: LocalShop, state: Path) -> None:
        self._trials = trials
        self._shop = shop
        self._state = state
        self._said: dict[str, str] = {}
        self._buried: frozenset[str] = frozenset()

    def bury(self, message_ids: Iterable[str]) -> None:
        """Count the trials of these messages as over: no runner takes them any more."""
        self._buried = frozenset(message_ids)

    def is_over(self) -> bool:
        """Tell whether every trial has ended, and the daemon has noted it."""
        noted = {one.key for one in history.read(self._state / "recent.jsonl")}
        return all(
            trial.message_id in self._buried or (self._ended(trial) and trial.key in noted)
            for trial in self._trials
        )

    def is_good(self) -> bool:
        """Tell whether every trial has succeeded."""
        return all(self._state_of(trial) == Cause.COMPLETED for trial in self._trials)

    def rows(self, live: dict[str, dict[str, Any]]) -> list[tuple[object, ...]]:
        """Return a row for each trial; ``live`` are the daemon's running attempts by key."""
        seconds = {one.key: one.seconds for one in history.read(self._state / "recent.jsonl")}
        rows: list[tuple[object, ...]] = []
        for trial in self._trials:
            record = self._record(trial)
            run = live.get(trial.key, {})
            is_known = self._ended(trial) and trial.key in seconds
            took = show.duration(seconds[trial.key]) if is_known else ""
            rows.append(
                (
                    trial.key,
                    trial.parameters,
                    run.get("phase") or self._state_of(trial),
                    self._accuracy(trial, run),
                    took,
                    record.attempt if record else "",
                )
            )
        return rows

    def tell(self, live: dict[str, dict[str, Any]]) -> None:
        """Say in lines what has changed, for who has no terminal."""
        for key, _, state, accuracy, *_ in self.rows(live):
            if self._said.get(str(key)) != state:
                self._said[str(key)] = str(state)
                show.note(f"{key}: {state}" + (f", accuracy {accuracy}" if accuracy else ""))

    def _record(self, trial: Trial) -> ClaimRecord | None:
        record = self._shop.claim(trial.key)
        return record if record and record.submitted == trial.submitted else None

    def _ended(self, trial: Trial) -> bool:
        record = self._record(trial)
        ended = record is not None and record.state is State.ENDED
        return ended or trial.message_id in self._buried

    def _state_of(self, trial: Trial) -> str:
        record = self._record(trial)
        if record is not None and record.outcome is not None and record.state is State.ENDED:
            return record.outcome.cause
        if trial.message_id in self._buried:
            return "buried"
        if record is None:
            return "waiting"
        return "retrying" if record.state is State.RELEASED else "running"

    def _accuracy(self, trial: Trial, run: dict[str, Any]) -> str:
        if run.get("output"):
            try:
                text = Path(run["output"]).read_text(encoding="utf-8", errors="replace")
            except OSError:
                return ""
        else:
            text = told.text(self._shop, trial.key) if self._ended(trial) else ""
        return _last_accuracy(text)


def _last_accuracy(text: str) -> str:
    for line in reversed(text.splitlines()):
        if line.startswith('{"epoch"'):
            try:
                return f"{json.loads(line)['accuracy']:.3f}"
            except (ValueError, KeyError, TypeError):
                continue
    return ""


class Screen:
    """Draws the board again and again on a terminal; lines of news elsewhere."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._drawing: Any = None
        self._context: AbstractContextManager[Any] = nullcontext()
        if sys.stdout.isatty():
            from rich.live import Live  # noqa: PLC0415 - pipes do without

            self._drawing = self._context = Live(refresh_per_second=8)

    def __enter__(self) -> Self:
        self._context.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._context.__exit__(None, None, None)

    def draw(self, live: dict[str, dict[str, Any]]) -> None:
        """Show how things stand."""
        if self._drawing is None:
            self._board.tell(live)
        else:
            rows = self._board.rows(live)
            self._drawing.update(show.drawn("Experiments", _COLUMNS, rows))

    def table(self) -> None:
        """Print the result, where it was not drawn already."""
        if self._drawing is None:
            show.table("Experiments", _COLUMNS, self._board.rows({}))
