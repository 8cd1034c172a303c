"""The paths of the listener, and what stands behind each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import anyio

from runner.errors import RunnerError
from runner.log import get_logger
from runner.web.guard import Policy, refusal
from runner.web.message import SAFE, Answer, Request, sentence

_log = get_logger(__name__)
#: Seconds that an answer may take to be found.
PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class Page:
    """What answers requests for one path."""

    answer: Callable[[Request], Awaitable[Answer]]
    #: Shown to everybody who reaches the listener.
    is_open: bool = False
    methods: frozenset[str] = SAFE


@dataclass(frozen=True, slots=True)
class Site:
    """All pages, by path."""

    pages: Mapping[str, Page]
    patience: float = PATIENCE

    async def answer(self, request: Request, policy: Policy) -> Answer:
        """Answer whatever was asked; never raises."""
        page = self.pages.get(request.path)
        refused = refusal(request, policy, is_open=page is None or page.is_open)
        if refused is not None:
            return refused
        if page is None:
            return sentence(404, f"there is nothing here; there are {', '.join(self.pages)}")
        if request.method not in page.methods:
            allowed = ", ".join(sorted(page.methods))
            return sentence(405, f"{request.path} is for {allowed}", allow=allowed)
        return await self._answer(page, request)

    async def _answer(self, page: Page, request: Request) -> Answer:
        try:
            with anyio.fail_after(self.patience):
                return await page.answer(request)
        except TimeoutError:
            return sentence(503, f"no answer was found within {self.patience:.0f} seconds")
        except RunnerError as error:
            return sentence(503, str(error))
        except Exception as error:  # noqa: BLE001 - a defect in a page must not stop the daemon
            _log.error("a page failed", path=request.path, exc_info=error)
            return sentence(500, "the daemon failed to answer; its log says why")
