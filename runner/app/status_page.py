"""The status page's side of the daemon: its files, live output, and what may be done from it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict
from typing import Any

import anyio

from runner import log
from runner.errors import RunnerError
from runner.lifecycle.desk import Desk
from runner.lifecycle.parts import Parts
from runner.lifecycle.runs.tails import Tails
from runner.web.assets import Assets
from runner.web.message import ACTS, Answer, Request, document, sentence
from runner.web.site import Page

_log = log.get_logger(__name__)
_LONGEST = 200
#: Seconds between two looks for outputs that nobody follows any more.
_TIDYING = 30.0

Item = dict[str, Any]
Verb = Callable[[Item], AsyncIterator[Item]]


class StatusPage:
    """The paths of the page besides ``/status.json``, which it lives on."""

    def __init__(self, parts: Parts, desk: Desk) -> None:
        self._tails = Tails(parts.board, parts.redactor)
        self._desk = desk

    @property
    def pages(self) -> Mapping[str, Page]:
        """Return them; what does something is what the verbs of the control socket do."""
        desk = self._desk
        return {
            **Assets().pages,
            "/output.json": Page(self.output, is_private=True),
            "/cancel": _doing("cancel", desk.cancel, "run"),
            "/suspend": _doing("suspend", desk.suspend),
            "/resume": _doing("resume", desk.resume),
            "/drain": _doing("drain", desk.drain),
        }

    async def output(self, request: Request) -> Answer:
        """Give what follows ``from`` of the output of ``run``; see ``Tails``."""
        run, position = request.asked("run")[:_LONGEST], request.asked("from") or "0"
        if not position.isascii() or not position.isdigit() or len(position) > 15:  # noqa: PLR2004
            return sentence(400, "from is a number of characters")
        piece = await self._tails.read(run, request.asked("stream"), int(position))
        if piece is None:
            return sentence(404, "no such run is under way here")
        return document(asdict(piece))

    async def tidy(self) -> None:
        """Close outputs that nobody follows any more, until cancelled; then all."""
        try:
            while True:
                await anyio.sleep(_TIDYING)
                self._tails.forget()
        finally:
            self._tails.close()


def _doing(name: str, verb: Verb, *fields: str) -> Page:
    """Return what has the verb done; the body is an object with ``fields``, or empty."""

    async def answer(request: Request) -> Answer:
        try:
            given = json.loads(request.body or b"{}")
        except (ValueError, RecursionError):
            given = None
        if not isinstance(given, dict) or not all(
            isinstance(given.get(one), str) and given[one] for one in fields
        ):
            wanted = ", ".join(f'"{one}": "…"' for one in fields)
            return sentence(400, f"send the JSON object {{{wanted}}}")
        arguments = {one: given[one][:_LONGEST] for one in fields}
        _log.info("asked for by the status page", verb=name, **arguments)
        async for item in verb(arguments):
            return document(item)
        raise RunnerError(f"the daemon gave no answer to {name}")

    return Page(answer, is_private=True, methods=ACTS)
