"""The whole view as lines that fit a terminal of any size; pure."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from runner.cli.top import guide, header, sections
from runner.cli.top.grid import fitted, lines, shares
from runner.cli.top.sections import Section
from runner.cli.top.state import Mode, State
from runner.cli.top.words import word

#: Lines of a view that nothing cuts.
UNBOUNDED = 1 << 20
_MARK = "> "
_KEYS = {
    Mode.LIST: "? help, j/k select, Enter output, c cancel, d drain, s suspend, r resume, q quit",
    Mode.OUTPUT: "Esc back, up/down scroll, End follow, c cancel, q quit",
    Mode.HELP: "up/down scroll, q quit, any other key goes back",
}
_ANSWERS = " [y/n]"
#: Lines that the header leaves, as long as it has one itself.
_OTHERS = 4


def whole(state: State, now: float, width: int) -> list[Text]:
    """Return everything there is to show, for a terminal that is no terminal."""
    return [
        *header.lines(state.found, state.trouble, now, width),
        *_body(state, now, width, UNBOUNDED, marked=False),
    ]


def frame(state: State, now: float, width: int, height: int) -> list[Text]:
    """Return ``height`` lines, none wider than ``width``; the last one asks, and tells keys."""
    above = header.lines(state.found, state.trouble, now, width)[: max(1, height - _OTHERS)]
    if state.mode is Mode.HELP:
        above = []
    room = max(0, height - len(above) - 1)
    if state.mode is Mode.HELP:
        body = _help(state, width, room)
    elif state.mode is Mode.OUTPUT:
        body = _output(state, width, room)
    else:
        body = _body(state, now, width, room, marked=True)
    body += [Text("")] * (room - len(body))
    return [*[*above, *body][: height - 1], _footer(state, width)]


def _help(state: State, width: int, room: int) -> list[Text]:
    """Return as much of the help as there is room for, from where it was scrolled to."""
    found = guide.lines(width)
    state.help_top = max(0, min(state.help_top, len(found) - room))
    return found[state.help_top :][:room]


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
    seen = slice(first, first + height)
    titles, *rows = lines(table.columns, table.rows, max(0, width - indent), seen)
    shown = [_indented(titles, "  ", width)]
    for place, row in enumerate(rows, first):
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
        return _question(word(state.question.asks), width)
    if state.notice:
        return fitted(Text(word(state.notice), style="bold"), width)
    return fitted(Text(_KEYS[state.mode], style="dim"), width)


def _question(asks: str, width: int) -> Text:
    """Cut what is asked rather than how it is answered."""
    text = Text(asks, style="bold reverse")
    text.truncate(max(0, width - len(_ANSWERS)), overflow="ellipsis")
    return fitted(text.append(_ANSWERS), width)


def text_of(shown: Sequence[Text]) -> str:
    """Return lines without styles, as a pipe gets them."""
    return "\n".join(line.plain.rstrip() for line in shown)
