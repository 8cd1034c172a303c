"""The whole view as lines that fit a terminal of any size; pure."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from runner.cli.top import header, sections
from runner.cli.top.grid import fitted, lines, shares
from runner.cli.top.sections import Section
from runner.cli.top.state import Mode, State
from runner.cli.top.words import word

#: Lines of a view that nothing cuts.
UNBOUNDED = 1 << 20
_MARK = "> "
_KEYS = "? help, j/k select, Enter output, c cancel, d drain, s suspend, r resume, q quit"
_OUTPUT_KEYS = "up/down, page up/down scroll  End follow  c cancel  Esc back  q quit"
_HELP = """\
k, up       the run above         Enter    live output of the selected run
j, down     the run below         Esc      back
g, Home     the first run         c        cancel the selected run; asks first
G, End      the last run          d        drain: finish what runs, and end; asks
page up     a page up             s        suspend: nothing more is claimed
page down   a page down           r        resume: claim again
?           this                  Ctrl-Z   to the shell; fg comes back
q           quit; nothing ends by that

TIME, CPU, MEMORY, DISK: what a run has taken of what it was given; yellow
from 90 %. GPU: the numbers of its cards, as in the list of GPUs."""


def whole(state: State, now: float, width: int) -> list[Text]:
    """Return everything there is to show, for a terminal that is no terminal."""
    return [
        *header.lines(state.found, state.trouble, now, width),
        *_body(state, now, width, UNBOUNDED, marked=False),
    ]


def frame(state: State, now: float, width: int, height: int) -> list[Text]:
    """Return at most ``height`` lines, none wider than ``width``."""
    above = header.lines(state.found, state.trouble, now, width)[: max(1, height - 4)]
    room = max(0, height - len(above) - 1)
    if state.mode is Mode.HELP:
        body = [fitted(Text(line), width) for line in ["", *_HELP.splitlines()]][:room]
    elif state.mode is Mode.OUTPUT:
        body = _output(state, width, room)
    else:
        body = _body(state, now, width, room, marked=True)
    body += [Text("")] * (room - len(body))
    return [*above, *body, _footer(state, width)][:height]


def _body(state: State, now: float, width: int, room: int, *, marked: bool) -> list[Text]:
    """Share out the room: a line of titles for each table that has rows, and the rest for rows."""
    runs = sections.running(state.found, now)
    tables = [
        runs,
        *(
            table
            for table in (
                sections.queues(state.found),
                sections.gpus(state.found),
                sections.ended(state.found, now),
            )
            if table.rows
        ),
    ]
    # A table without room for its titles and a row is left out, the last one first.
    tables = tables[: max(1, room // 2)]
    got = shares([len(table.rows) for table in tables], max(0, room - len(tables)))
    body: list[Text] = []
    for table, height in zip(tables, got, strict=True):
        chosen = state.place if marked and table is runs else None
        body += _table(table, height, width, chosen)
    return body


def _table(table: Section, height: int, width: int, chosen: int | None) -> list[Text]:
    """Return titles and ``height`` rows; the chosen row is among them, and marked."""
    first = max(0, min(chosen or 0, len(table.rows) - 1) - height + 1)
    indent = len(_MARK)
    titles, *rows = lines(table.columns, table.rows, max(0, width - indent))
    shown = [_indented(titles, "  ", width)]
    for place, row in enumerate(rows[first : first + height], first):
        mark = _MARK if place == chosen else "  "
        line = _indented(row, mark, width)
        if place == chosen:
            line.stylize("reverse")
        shown.append(line)
    if shown and len(table.rows) > height:
        more = f" {len(table.rows) - height} more"
        title = fitted(shown[0], max(0, width - len(more)))
        shown[0] = title.append(more, style="dim") if width > len(more) else title
    return shown


def _indented(line: Text, mark: str, width: int) -> Text:
    return fitted(Text(mark).append_text(line), width)


def _output(state: State, width: int, room: int) -> list[Text]:
    output = state.output
    title = fitted(Text(f"{word(output.key)}: {word(output.said)}", style="bold"), width)
    shown = [fitted(Text(line), width) for line in output.window(max(0, room - 1))]
    return [title, *shown][:room]


def _footer(state: State, width: int) -> Text:
    if state.question is not None:
        return fitted(Text(f"{word(state.question.asks)} [y/n]", style="bold reverse"), width)
    if state.notice:
        return fitted(Text(word(state.notice), style="bold"), width)
    keys = _OUTPUT_KEYS if state.mode is Mode.OUTPUT else _KEYS
    return fitted(Text(keys, style="dim"), width)


def text_of(shown: Sequence[Text]) -> str:
    """Return lines without styles, as a pipe gets them."""
    return "\n".join(line.plain.rstrip() for line in shown)
