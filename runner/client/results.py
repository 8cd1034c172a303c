"""What came of an experiment, as its store tells it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

from runner.client import listings, told, values
from runner.client.calls import side_by_side
from runner.client.fetching import fetch
from runner.client.listings import Listed
from runner.client.shop import Shop
from runner.client.standing import Standing, is_of_earlier, of
from runner.client.told import Told
from runner.client.values import STEPS, Points, Series
from runner.lifecycle import history
from runner.lifecycle.ownership.record import State
from runner.model import Cause

#: What ended lately on this machine, in the state directory.
HISTORY = "recent.jsonl"

T = TypeVar("T")


@dataclass(frozen=True)
class Result:
    """One experiment: how it stands, and what it printed and left."""

    key: str
    #: ``waiting``, ``running``, ``released``, ``ended``, or ``stopped`` where that is wanted.
    state: str
    #: Why it ended: ``completed``, ``exit``, ``time-limit`` …; ``None`` before.
    cause: str | None
    exit_code: int | None
    #: One sentence about the end; of one that waits, why the daemon of this machine left it.
    detail: str
    attempt: int
    host: str
    #: From the last attempt's claim to its end, or to its last sign of life.
    seconds: float | None
    #: Seconds since the epoch.
    submitted: float | None
    script: str
    #: Its point in the grid.
    parameters: Mapping[str, str]
    told: Told = field(repr=False)
    shop: Shop = field(repr=False, compare=False)

    @property
    def ended(self) -> bool:
        """It is over, and all that it left is stored."""
        return self.state == State.ENDED

    @property
    def good(self) -> bool:
        """It has done what it should."""
        return self.ended and self.cause == Cause.COMPLETED

    @property
    def output(self) -> str:
        """The stored output, of all attempts; empty where there is none yet.

        A long one is not kept: it is read when it is asked for, whole, as it is then.
        """
        kept = self.told.text
        return told.text(self.shop, self.key) if kept is None else kept

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the JSON lines of its output add up to."""
        return self.told.metadata

    @cached_property
    def values(self) -> Mapping[str, float]:
        """The last of each number in ``metadata``, by path: ``validation/accuracy``."""
        return values.values(self.metadata)

    def series(self, name: str, over: str = "") -> Points:
        """Return each number of that path that it printed, with its place among them, from 1.

        With ``over``, with another number of the same line, such as ``step``.
        """
        found = self.told_with(name, [over] if over else ())
        return found.beside[over] if over else found.points

    def told_with(self, name: str, beside: Sequence[str] = STEPS) -> Series:
        """Return each number of that path, with others of its lines."""
        kept = self.told.text
        if kept is not None:
            return values.series([kept.encode()], name, beside)
        read = partial(told.series_in, name, beside)
        return self.shop.read(told.place(self.key), read) or values.series([], name, beside)

    def fetch(self, *labels: str, to: Path | str = ".") -> Sequence[Path]:
        """Unpack artifacts below ``to``, each in a place of its name; see ``Client.fetch``."""
        return fetch(self.shop, self.key, labels, Path(to))


class Reader:
    """Reads results out of a store, and of each output only what is new."""

    def __init__(self, shop: Shop, state_dir: Path | None = None) -> None:
        """``state_dir`` is that of a daemon on this machine, which may know of refused ones."""
        self.shop = shop
        self._state_dir = state_dir
        self._told: dict[str, tuple[str, Told]] = {}

    def known(self, name: str) -> Sequence[Listed]:
        """Return the experiments of a sweep, else the one of that key; none where unknown."""
        return listings.of_sweep(self.shop, name, "SWEEP|KEY") or self.experiment(name)

    def experiment(self, key: str) -> Sequence[Listed]:
        """Return the experiment of a key; none where it is unknown."""
        # Without a bucket of records nothing but its sweep tells of one that waits.
        sweep = key.rpartition("-")[0]
        others = listings.of_sweep(self.shop, sweep, "KEY") if sweep else ()
        if swept := [one for one in others if one.key == key]:
            return swept
        record = self.shop.experiment(key)
        if record is None and self.shop.claim(key) is None:
            return []
        return [listings.of_record(key, record)]

    def results(self, listed: Sequence[Listed]) -> Iterator[Result]:
        """Yield how each of them stands. Raises what the store raises."""
        lately = self._lately()
        return self._each(listed, lambda one: self._result(one, lately))

    def ended(self, listed: Sequence[Listed]) -> Sequence[Listed]:
        """Return those that are over, by one look each: for who waits, and looks often."""
        lately = self._lately()
        over = self._each(listed, lambda one: self._is_over(one, lately))
        return [one for one, is_over in zip(listed, over, strict=True) if is_over]

    def _each(self, listed: Sequence[Listed], look: Callable[[Listed], T]) -> Iterator[T]:
        return side_by_side(look, listed, self.shop.cut)

    def _is_over(self, one: Listed, lately: Sequence[history.Ending]) -> bool:
        claim = self.shop.claim(one.key)
        if claim is None or is_of_earlier(claim, one.submitted):
            return ended_here(lately, one.key, one.submitted) is not None
        return claim.state is State.ENDED

    def _result(self, one: Listed, lately: Sequence[history.Ending]) -> Result:
        record = self.shop.experiment(one.key) or {}
        if one.submitted is not None:
            record = {"time_added": one.submitted, **record}
        standing = of(one.key, record, self.shop.claim(one.key))
        if standing.state == "waiting":
            why = given_back(lately, one.key, standing.submitted)
            standing = _refused(standing, lately) or replace(standing, detail=why)
        ended = standing.state == State.ENDED
        return Result(
            key=one.key,
            state=standing.state,
            cause=standing.cause if ended else None,
            exit_code=standing.exit_code if ended else None,
            detail=standing.detail,
            attempt=standing.attempt,
            host=standing.host,
            seconds=standing.seconds,
            submitted=standing.submitted,
            script=one.script,
            parameters=one.parameters,
            told=Told() if standing.state == "waiting" else self._printed(one.key),
            shop=self.shop,
        )

    def _printed(self, key: str) -> Told:
        version = self.shop.output_version(key)
        if version is None:
            return Told()
        known, found = self._told.get(key, ("", Told()))
        if known != version:
            found = self.shop.read(told.place(key), told.read) or Told()
            self._told[key] = (version, found)
        return found

    def _lately(self) -> Sequence[history.Ending]:
        return history.read(self._state_dir / HISTORY) if self._state_dir else ()


def ended_here(
    lately: Sequence[history.Ending], key: str, submitted: float | None
) -> history.Ending | None:
    """Return an end that left no record: of a message refused before anything was claimed."""
    for one in reversed(lately):
        if one.key == key and one.settled != "released":
            is_older = submitted is not None and one.ended < submitted
            return None if is_older else one
    return None


def given_back(lately: Sequence[history.Ending], key: str, submitted: float | None) -> str:
    """Say why the daemon of this machine did not keep it; empty where it did, or never had it."""
    for one in reversed(lately):
        if one.key == key and (submitted is None or one.ended >= submitted):
            if one.settled != "released":
                return ""
            why = ". ".join(text.rstrip(".") for text in (one.detail, one.advice) if text)
            return f"the daemon on this machine gave it back, {one.cause}: {why}"
    return ""


def _refused(standing: Standing, lately: Sequence[history.Ending]) -> Standing | None:
    end = ended_here(lately, standing.key, standing.submitted)
    if end is None:
        return None
    return Standing(
        standing.key,
        State.ENDED.value,
        cause=end.cause,
        exit_code=end.exit_code,
        detail=end.detail,
        submitted=standing.submitted,
    )
