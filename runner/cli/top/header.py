"""The lines above the tables: which daemon, whether it claims, and what of the machine is taken."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from rich.text import Text

from runner.cli.top.grid import fitted
from runner.cli.top.words import cores, number, of, short, span, word

Item = dict[str, Any]

_BAR = 10
_WIDE = 100


def lines(found: Item, trouble: str, now: float, width: int) -> list[Text]:
    """Return the lines; ``trouble``: why the daemon does not answer, empty where it does."""
    daemon = found.get("daemon") or {}
    kept = Text("  ").join(_kept(daemon))
    shown = [_name(daemon, now, width), _state(daemon, trouble), _machine(daemon, width), kept]
    return [fitted(one, width) for one in shown if one.cell_len]


def _name(daemon: Item, now: float, width: int) -> Text:
    parts = ["studio-runner"]
    if daemon:
        parts.append(f"{word(daemon.get('version'))} on {word(daemon.get('host'))}")
        started = number(daemon.get("started"))
        up = "" if started is None else f", up {span(now - started)}"
        parts.append(f"(pid {word(daemon.get('pid'))}{up})")
    clock = time.strftime("%H:%M:%S", time.localtime(now))
    left = fitted(Text(" ".join(parts), style="bold"), max(0, width - len(clock) - 1))
    return left.append(f" {clock}", style="default")


def _state(daemon: Item, trouble: str) -> Text:
    if trouble:
        return Text(word(trouble), style="bold red")
    if daemon.get("draining"):
        return Text("draining: nothing more is received", style="bold yellow")
    if fuse := daemon.get("fuse"):
        return Text(f"the host fuse has blown: {word(fuse)}", style="bold red")
    if who := " and by ".join(map(word, daemon.get("suspended_by") or ())):
        return Text(f"suspended by {who}", style="bold yellow")
    if why := daemon.get("waits"):
        return Text(f"nothing is claimed now: {word(why)}", style="yellow")
    return Text("taking experiments", style="green") if daemon else Text("")


def _machine(daemon: Item, width: int) -> Text:
    """Write what is taken of what is given out, with bars where there is room."""
    total, free = daemon.get("capacity") or {}, daemon.get("free") or {}
    parts = []
    for name, field, write in (
        ("CPU", "cores", cores),
        ("MEM", "memory", short),
        ("DISK", "disk", short),
    ):
        whole, left = number(total.get(field)), number(free.get(field))
        if whole is not None and left is not None:
            parts.append(_gauge(name, whole - left, whole, write, width))
    if cards := total.get("gpus"):
        taken = len(cards) - len(free.get("gpus") or ())
        parts.append(_gauge("GPU", taken, len(cards), cores, width))
    elif daemon.get("why_no_gpus"):
        parts.append(Text("no GPUs"))
    if users := daemon.get("users"):
        parts.append(Text(f"users {word(users.get('free'))}/{word(users.get('all'))} free"))
    return Text("  ").join(parts)


def _gauge(
    name: str, taken: float, whole: float, write: Callable[[float], str], width: int
) -> Text:
    text = Text(f"{name} ", style="bold")
    if width >= _WIDE:
        full = round(_BAR * min(1.0, taken / whole)) if whole > 0 else 0
        text.append("[", style="default").append("|" * full, style="green")
        text.append("." * (_BAR - full) + "] ", style="default")
    return text.append(of(write(taken), write(whole)), style="default")


def _kept(daemon: Item) -> Iterator[Text]:
    """Tell of cache and environments."""
    for name, counted in (("cache", ("hits", "misses")), ("environments", ("built", "reused"))):
        if kept := daemon.get(name):
            count = "" if kept.get("count") is None else f" {word(kept['count'])},"
            size, limit = short(number(kept.get("used"))), number(kept.get("limit"))
            size = of(size, short(limit)) if limit else size
            numbers = ", ".join(f"{word(kept[one])} {one}" for one in counted if one in kept)
            yield Text(f"{name.capitalize()}{count} {size}, {numbers}")
