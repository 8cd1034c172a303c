"""The paths of the listener, and what stands behind each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import anyio

from runner.errors import RunnerError
from runner.log import get_logger
from runner.web.guard import Policy, refusal
from runner.web.message import ACTS, SAFE, Answer, Request, sentence

_log = get_logger(__name__)
#: Seconds that an answer may take to be found.
PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class Page:
    """What answers requests for one path."""

    answer: Callable[[Request], Awaitable[Answer]]
    #: Shown to everybody who reaches the listener.
    is_open: bool = False
    #: Without a token it is for root alone: experiments may ask, too.
    is_private: bool = False
    methods: frozenset[str] = SAFE

    @property
    def is_action(self) -> bool:
        """It changes something."""
        return self.methods == ACTS


@dataclass(frozen=True, slots=True)
class Site:
    """All pages, by path."""

    pages: Mapping[str, Page]
    patience: float = PATIENCE

    async def answer(self, request: Request, policy: Policy) -> Answer:
        """Answer whatever was asked; never raises."""
        page = self.pages.get(request.path)
        refused = refusal(
            request,
            policy,
            is_open=page is None or page.is_open,
            is_action=page is not None and page.is_action and request.method not in SAFE,
        )
        if refused is not None:
            return refused
        if page is not None and page.is_private and not policy.token:
            refused = await _not_ours(request)
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


async def _not_ours(request: Request) -> Answer | None:
    if request.peer is not None and await request.peer.is_trusted():
        return None
    return sentence(
        403,
        "without a token this is for root alone, since experiments reach this page, too: start the "
        "daemon with --web-token-file FILE, and enter what is in it",
    )
