"""What the daemon says of itself, as tables: one function for each part of the view; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from rich.text import Text

from runner.cli.top.grid import Column
from runner.cli.top.words import cores, number, of, short, span, word
from runner.request.units import format_duration

Item = dict[str, Any]
Row = list[Text]

#: Above this part of what it was given a run is marked.
_NEAR = 0.9


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the view."""

    columns: Sequence[Column]
    rows: Sequence[Row]


def running(found: Item, now: float) -> Section:
    """What runs here, each against what it was given."""
    runs = found.get("running") or []
    cards = {card.get("uuid"): str(n) for n, card in enumerate(_daemon(found).get("gpus") or [])}
    columns = (
        Column(f"RUNNING {len(runs)}", least=16),
        Column("PROJECT", least=4, most=20, rank=2),
        Column("QUEUE", least=5, most=30, rank=1),
        Column("PHASE", most=30, least=7),
        Column("TIME", least=9, right=True),
        Column("GPU", most=12, right=True, rank=3),
        Column("CPU", least=3, right=True, rank=4),
        Column("MEMORY", right=True, rank=5),
        Column("DISK", right=True, rank=6),
    )
    return Section(columns, [_run(one, now, cards) for one in runs])


def _run(one: Item, now: float, cards: dict[Any, str]) -> Row:
    used = one.get("used") or {}
    held = [cards.get(uuid, "?") for uuid in one.get("gpus") or ()]
    return [
        Text(word(one.get("key"))),
        Text(word(one.get("project"))),
        Text(word(one.get("queue"))),
        Text(word(one.get("phase"))),
        _time(one, now),
        Text(",".join(held) or "-"),
        _share(number(used.get("cores")), number(one.get("cores")), cores, is_bound=False),
        _share(number(used.get("memory")), number(one.get("memory")), short),
        _share(number(used.get("disk")), number(one.get("disk")), short),
    ]


def _time(one: Item, now: float) -> Text:
    """Write how long it runs of how long it may; before that, how long it is with us."""
    started, limit = number(one.get("started")), number(one.get("limit"))
    since = started if started is not None else number(one.get("since"))
    if since is None:
        return Text("")
    taken = now - since
    if started is None or limit is None:
        return Text(span(taken))
    may = format_duration(timedelta(seconds=round(limit)))
    return Text(of(span(taken), may), style=_marked(taken, limit))


def _share(used: float | None, given: float | None, write: Any, *, is_bound: bool = True) -> Text:
    if not given:  # nothing was asked for, or nobody tells
        return Text("-" if used is None else write(used))
    style = _marked(used, given) if is_bound else ""
    return Text(write(given) if used is None else of(write(used), write(given)), style=style)


def _marked(used: float | None, given: float) -> str:
    return "bold yellow" if used is not None and given > 0 and used / given >= _NEAR else ""


def queues(found: Item) -> Section:
    """Where experiments come from, and why a queue is not claimed from."""
    daemon = _daemon(found)
    rows = [_queue(one, daemon) for one in daemon.get("queues") or ()]
    rows += [
        _aside(one.get("name"), one.get("broker"), one.get("why"))
        for one in daemon.get("passed_over") or ()
    ]
    rows += [
        _aside(one.get("origin"), one.get("broker"), one.get("trouble"))
        for one in daemon.get("sources") or ()
        if one.get("trouble")
    ]
    columns = (
        Column(f"QUEUES {len(daemon.get('queues') or ())}", least=8),
        Column("BROKER", least=6, most=10, rank=2),
        Column("WAIT", right=True),
        Column("RUN", right=True, rank=1),
        Column("CLAIMED FROM", least=12, most=200),
    )
    return Section(columns, rows)


def _queue(one: Item, daemon: Item) -> Row:
    waiting, why = one.get("waiting"), one.get("why") or daemon.get("waits") or ""
    return [
        Text(word(one.get("name"))),
        Text(word(one.get("broker"))),
        Text("?" if waiting is None else word(waiting)),
        Text(word(one.get("running", ""))),
        Text(f"no: {word(why)}", style="yellow") if why else Text("yes", style="green"),
    ]


def _aside(name: object, broker: object, why: object) -> Row:
    return [
        Text(word(name)),
        Text(word(broker)),
        Text(""),
        Text(""),
        Text(f"no: {word(why)}", style="yellow"),
    ]


def gpus(found: Item) -> Section:
    """The cards, how they do, and who holds them."""
    cards = _daemon(found).get("gpus") or []
    columns = (
        Column("GPU", right=True),
        Column("NAME", least=6, most=24, rank=1),
        Column("USE", right=True, rank=2),
        Column("MEMORY", right=True, rank=3),
        Column("HEAT", right=True, rank=5),
        Column("POWER", right=True, rank=4),
        Column("HELD BY", least=16, most=200),
    )
    return Section(columns, [_card(place, card) for place, card in enumerate(cards)])


def _card(place: int, card: Item) -> Row:
    return [
        Text(str(place)),
        Text(word(card.get("name"))),
        _measured(_percent(card.get("utilization")), "%"),
        _share(number(card.get("used")), number(card.get("memory")), short),
        _measured(card.get("temperature"), "C"),
        _measured(card.get("power"), "W"),
        _held(card),
    ]


def _percent(share: object) -> float | None:
    found = number(share)
    return None if found is None else 100 * found


def _measured(value: object, unit: str) -> Text:
    found = number(value)
    return Text("-" if found is None else f"{found:.0f}{unit}")


def _held(card: Item) -> Text:
    holders = ", ".join(word(one.get("key")) for one in card.get("held_by") or ())
    if why := card.get("withheld"):
        return Text(f"{holders} not given out: {word(why)}".strip(), style="yellow")
    return Text(holders or "free", style="" if holders else "green")


def ended(found: Item, now: float) -> Section:
    """What ended lately, the latest first, with its cause."""
    endings = list(reversed(found.get("recent") or []))
    columns = (
        Column("ENDED", least=8),
        Column("CAUSE", least=9, most=20),
        Column("TOOK", right=True, rank=1),
        Column("AGO", right=True),
        Column("WHY", least=6, most=200, rank=2),
    )
    return Section(columns, [_ending(one, now) for one in endings])


def _ending(one: Item, now: float) -> Row:
    took, at = number(one.get("seconds")), number(one.get("ended"))
    is_good = one.get("cause") == "completed"
    return [
        Text(word(one.get("key"))),
        Text(word(one.get("cause")), style="green" if is_good else "red"),
        Text("" if took is None else span(took)),
        Text("" if at is None else span(now - at)),
        Text(word(one.get("detail"))),
    ]


def _daemon(found: Item) -> Item:
    daemon: Item = found.get("daemon") or {}
    return daemon
