"""What the view shows and what a key does to that; pure: wishes are carried out elsewhere."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from runner.cli.top import keys
from runner.cli.top.output import Output
from runner.cli.top.words import word

Item = dict[str, Any]


class Mode(enum.Enum):
    """What fills the screen."""

    LIST = enum.auto()
    OUTPUT = enum.auto()
    HELP = enum.auto()


class Verb(enum.StrEnum):
    """What the person wants of somebody else; those of the control socket by their names."""

    CANCEL = "cancel"
    DRAIN = "drain"
    SUSPEND = "suspend"
    RESUME = "resume"
    #: Of the view: follow an output, stop following it, end.
    FOLLOW = "follow"
    LEAVE = "leave"
    QUIT = "quit"


@dataclass(frozen=True, slots=True)
class Wish:
    """Something to be carried out."""

    verb: Verb
    #: Of one run.
    key: str = ""
    run: str = ""
    #: What is asked before it is done; empty: nothing.
    asks: str = ""


@dataclass
class State:
    """Everything that decides what is seen."""

    #: The daemon's last answer, in the form of the verb ``status``.
    found: Item = field(default_factory=dict)
    #: Why there is no fresh one.
    trouble: str = ""
    mode: Mode = Mode.LIST
    #: The selected line of the runs.
    place: int = 0
    #: Which run that is; it may move.
    chosen: str = ""
    question: Wish | None = None
    notice: str = ""
    output: Output = field(default_factory=Output)
    #: The first line of the help that is shown.
    help_top: int = 0

    @property
    def runs(self) -> list[Item]:
        """What runs, in the order in which it is shown."""
        return list(self.found.get("running") or ())

    @property
    def selected(self) -> Item | None:
        """The run that keys are about."""
        runs = self.runs
        return runs[self.place] if self.place < len(runs) else None

    def learn(self, found: Item, trouble: str = "") -> None:
        """Take a new answer; the same run stays selected as long as it is there.

        Also over an answer that has no runs: a daemon that has just begun may not have taken up
        those of the last one.
        """
        self.found, self.trouble = found, trouble
        names = [one.get("run") for one in self.runs]
        if self.chosen in names:
            self.place = names.index(self.chosen)
        else:
            self._select(self.place)

    def press(self, key: str, page: int = 10) -> Wish | None:
        """Do what a key means here; return what has to be done elsewhere."""
        self.notice = ""
        if self.question is not None:
            question, self.question = self.question, None
            if key in {"y", "Y"}:
                return question
            self.notice = f"not done: {question.verb}"
            return None
        if key in {"q", "Q"}:
            return Wish(Verb.QUIT)
        if self.mode is Mode.HELP:
            self._press_in_help(key, page)
            return None
        if self.mode is Mode.OUTPUT:
            return self._press_in_output(key, page)
        return self._press_in_list(key, page)

    def _press_in_help(self, key: str, page: int) -> None:
        if key in _SCROLLS:
            self.help_top -= _SCROLLS[key](page)
        else:
            self.mode = Mode.LIST

    def _press_in_list(self, key: str, page: int) -> Wish | None:
        if key in _MOVES:
            self._select(_MOVES[key](self.place, page, len(self.runs)))
            return None
        if key == "?":
            self.mode, self.help_top = Mode.HELP, 0
            return None
        if key == keys.ENTER:
            return self._open()
        self._ask(key)
        return None

    def _press_in_output(self, key: str, page: int) -> Wish | None:
        if key in {keys.ESCAPE, keys.ENTER}:
            self.mode = Mode.LIST
            return Wish(Verb.LEAVE)
        if key in _SCROLLS:
            self.output.scroll(_SCROLLS[key](page))
            return None
        self._ask(key)
        return None

    def _ask(self, key: str) -> None:
        """Whatever acts on the daemon is asked for before."""
        if key == "c":
            self._ask_to_cancel()
        if key == "d":
            many = len(self.runs)
            self.question = Wish(
                Verb.DRAIN,
                asks=f"drain: receive nothing more, and end when {many} under way have ended?",
            )
        if key == "s":
            self.question = Wish(
                Verb.SUSPEND, asks="suspend: claim nothing more until it is resumed?"
            )
        if key == "r":
            self.question = Wish(Verb.RESUME, asks="resume: claim experiments again?")

    def _ask_to_cancel(self) -> None:
        run = self.output.run if self.mode is Mode.OUTPUT else None
        one = next((one for one in self.runs if one.get("run") == run), None)
        one = self.selected if run is None else one
        if one is None:
            self.notice = "nothing to cancel"
            return
        key = str(one.get("key", ""))
        self.question = Wish(Verb.CANCEL, key, str(one.get("run", "")), asks=f"cancel {word(key)}?")

    def _open(self) -> Wish | None:
        one = self.selected
        if one is None:
            self.notice = "nothing runs"
            return None
        key, run = str(one.get("key", "")), str(one.get("run", ""))
        self.mode, self.output = Mode.OUTPUT, Output(key, run)
        return Wish(Verb.FOLLOW, key, run)

    def _select(self, place: int) -> None:
        runs = self.runs
        self.place = max(0, min(place, len(runs) - 1))
        if runs:
            self.chosen = str(runs[self.place].get("run", ""))


_MOVES: Mapping[str, Callable[[int, int, int], int]] = {
    keys.UP: lambda place, _, __: place - 1,
    "k": lambda place, _, __: place - 1,
    keys.DOWN: lambda place, _, __: place + 1,
    "j": lambda place, _, __: place + 1,
    keys.PAGE_UP: lambda place, page, _: place - page,
    keys.PAGE_DOWN: lambda place, page, _: place + page,
    keys.HOME: lambda *_: 0,
    "g": lambda *_: 0,
    keys.END: lambda _, __, many: many,
    "G": lambda _, __, many: many,
}
#: By how many lines to go up.
_SCROLLS: Mapping[str, Callable[[int], int]] = {
    keys.UP: lambda _: 1,
    "k": lambda _: 1,
    keys.DOWN: lambda _: -1,
    "j": lambda _: -1,
    keys.PAGE_UP: lambda page: page,
    keys.PAGE_DOWN: lambda page: -page,
    " ": lambda page: -page,
    keys.HOME: lambda _: 1 << 30,
    "g": lambda _: 1 << 30,
    keys.END: lambda _: -(1 << 30),
    "G": lambda _: -(1 << 30),
}
