"""Where news goes: the reporters that the settings ask for, and their senders."""

from __future__ import annotations

import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import cast

import anyio

from runner import log
from runner.errors import Misconfigured
from runner.lifecycle.chore import Chore
from runner.model import Report
from runner.redaction import Redactor
from runner.reporters import REPORTERS
from runner.reporters.base import Reporter
from runner.reporters.options import SlackOptions, WebhookOptions
from runner.settings import Settings

_log = log.get_logger(__name__)

#: Seconds that a daemon which ends waits for its last words to arrive.
_LAST_WORDS = 3.0
#: The same for one that leaves its runs: it has promised to be gone within two.
_PARTING_WORDS = 1.0
#: The facts of a report that says so.
IN_HASTE = {"detached": "true"}
_SCHEMES = ("https://", "http://")


@asynccontextmanager
async def opened(
    settings: Settings, redactor: Redactor, memory: Path, more: Sequence[Reporter] = ()
) -> AsyncIterator[Callable[[Report], Awaitable[None]]]:
    """Yield what tells all reporters, also those of ``more``, while their senders run.

    ``memory``: the file in which Slack's messages are remembered. Raises Misconfigured.
    """
    reporters = [*reporters_for(settings, redactor, memory), *more]
    tell = _to_all(reporters)
    seconds = _LAST_WORDS

    async def report(news: Report) -> None:
        nonlocal seconds
        if news.facts == IN_HASTE:
            seconds = _PARTING_WORDS
        await tell(news)

    async with anyio.create_task_group() as senders:
        for reporter in reporters:
            senders.start_soon(Chore(f"telling news to {reporter.name}", reporter.run).keep)
        try:
            yield report
        finally:
            with anyio.CancelScope(shield=True):
                await _flush(reporters, seconds)
            senders.cancel_scope.cancel()


def reporters_for(settings: Settings, redactor: Redactor, memory: Path) -> list[Reporter]:
    """Return the reporters, not yet running. Raises Misconfigured."""
    reporters: list[Reporter] = [REPORTERS.load("log")()]
    if settings.slack_token or settings.slack_hook:
        reporters.append(_slack(settings, redactor, memory))
    if settings.webhook:
        reporters.append(_webhook(settings, redactor))
    return reporters


def _slack(settings: Settings, redactor: Redactor, memory: Path) -> Reporter:
    if settings.slack_token and not settings.slack_room:
        raise Misconfigured(
            "--slack-token is given, and no --slack-room: name the #channel that the bot writes to"
        )
    if settings.slack_token and settings.slack_hook:
        _log.warning("--slack-hook is not used: the bot of --slack-token tells all that it would")
    if not settings.slack_token:
        check_address("--slack-hook", settings.slack_hook.reveal())
    check_address("--slack-api", settings.slack_api)
    options = SlackOptions(
        hook=settings.slack_hook,
        token=settings.slack_token,
        room=settings.slack_room,
        destinations=settings.slack_destinations,
        api=settings.slack_api,
        memory=memory,
    )
    return cast("Reporter", REPORTERS.load("slack")(options, redactor))


def _webhook(settings: Settings, redactor: Redactor) -> Reporter:
    check_address("--webhook", settings.webhook.reveal())
    options = WebhookOptions(settings.webhook, settings.webhook_secret)
    return cast("Reporter", REPORTERS.load("webhook")(options, redactor))


def check_address(option: str, value: str) -> None:
    """Say nothing of the value itself: whoever has it may be believed."""
    is_plain = value.isascii() and value.isprintable() and " " not in value
    if not (is_plain and value.startswith(_SCHEMES) and _host(value)):
        raise Misconfigured(
            f"{option} is no address: it begins with https:// and a host, and has no blanks"
        )


def _host(address: str) -> str:
    with suppress(ValueError):
        return urllib.parse.urlsplit(address).hostname or ""
    return ""


def _to_all(reporters: Sequence[Reporter]) -> Callable[[Report], Awaitable[None]]:
    async def report(news: Report) -> None:
        for reporter in reporters:
            try:
                await reporter.send(news)
            except Exception as error:  # noqa: BLE001 - news may cost nobody an experiment
                _log.error("a reporter failed", reporter=reporter.name, exc_info=error)

    return report


async def _flush(reporters: Sequence[Reporter], seconds: float) -> None:
    async with anyio.create_task_group() as group:
        for reporter in reporters:
            group.start_soon(reporter.flush, seconds)
