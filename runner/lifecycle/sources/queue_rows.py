"""The queues as a person wants to see them: what is taken from, and why others are not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from typing import Any

from runner.lifecycle.board import Board
from runner.lifecycle.claiming.intake import Intake
from runner.lifecycle.sources.depths import Depth
from runner.lifecycle.sources.source import Source

Item = dict[str, Any]
#: An account may show hundreds of queues that are none of ours.
_MOST = 100


def rows(
    depths: Iterable[Depth], intake: Intake, board: Board, sources: Iterable[Source]
) -> list[Item]:
    """Return an object for each queue that is taken from."""
    running = Counter(
        (entry.record.broker, entry.record.project, entry.record.message.queue) for entry in board
    )
    troubles = {source.account: source.trouble for source in sources}
    found = []
    for depth in depths:
        why = troubles.get((depth.broker, depth.account), "") or intake.holdup(
            depth.broker, depth.account, depth.name
        )
        at = running[depth.broker, depth.account, depth.name]
        found.append({**asdict(depth), "claimed": not why, "why": why, "running": at})
    return found


def passed_over(sources: Iterable[Source], aside: Iterable[str]) -> list[Item]:
    """Return what is left alone, and why; not all where it is very much."""
    return [
        {"name": name, "broker": broker, "why": why}
        for name, broker, why in islice(_left(sources, aside), _MOST)
    ]


def _left(sources: Iterable[Source], aside: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    for address in aside:
        broker = address.partition(":")[0] if ":" in address else ""
        yield address, broker, "set aside: its messages are no StudioML requests"
    for source in sources:
        for name in sorted(source.broker.left if source.broker else ()):
            yield name, source.account[0], "--queue-match does not take it"
