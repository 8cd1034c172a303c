"""Where experiments come from: local queues, and a broker for every credential."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import cast

from runner import blocking
from runner.app.choosing import choice, named_local, timeout
from runner.app.credentials import credential_sources
from runner.app.masking import mask
from runner.lifecycle.ownership.keeper import Keeper
from runner.lifecycle.sources.receiving import names_queue
from runner.lifecycle.sources.source import Complain, Make
from runner.lifecycle.sources.supply import Fixed, Supply
from runner.queues import BROKERS
from runner.queues.base import Broker, BrokerOptions
from runner.queues.credential import Credential
from runner.queues.credentials import Credentials
from runner.queues.drawer import Drawer
from runner.redaction import Redactor
from runner.settings import Settings

_LOADING = blocking.Limit(2)


async def opened(
    stack: AsyncExitStack,
    settings: Settings,
    *,
    owner: str,
    drawer: Drawer,
    keeper: Keeper,
    complain: Complain,
    redactor: Redactor,
) -> Supply:
    """Return what opens the brokers, itself open until ``stack`` ends. Raises Misconfigured."""
    credentials = await stack.enter_async_context(
        Credentials(credential_sources(settings, os.environ), found=redactor.add)
    )
    supply = Supply(
        keeper,
        complain,
        fixed=local(settings, owner),
        make=maker(settings, owner, drawer),
        credentials=credentials.changes(),
        learn=partial(mask, redactor),
        refused=credentials.refused,
        unusable=lambda: credentials.unusable,
    )
    return await stack.enter_async_context(supply)


def local(settings: Settings, owner: str) -> list[Fixed]:
    """Return the broker of local queues, not yet opened; ``owner`` is written into claims."""
    if settings.queue_root is None:
        return []
    broker: Broker = BROKERS.load("local")(
        settings.queue_root,
        choice=choice(settings, "local"),
        lease=settings.lease,
        owner=owner,
        poll=settings.queue_poll,
    )
    return [(broker, f"--queue-root {settings.queue_root}")]


def maker(settings: Settings, owner: str, drawer: Drawer) -> Make:
    """Return what makes the broker of a credential, not yet opened."""

    async def make(credential: Credential) -> Broker:
        # In a thread: importing an SDK for the first time takes up to a second.
        backend = await blocking.call(lambda _: BROKERS.load(credential.broker), limit=_LOADING)
        options = BrokerOptions(
            owner=owner,
            choice=choice(settings, credential.broker),
            lease=settings.lease,
            refresh=settings.queue_refresh,
            timeout=timeout(settings, credential.broker),
            drawer=drawer,
        )
        return cast("Broker", backend(credential, options))

    return make


def named(settings: Settings) -> Callable[[str], bool]:
    """Return what tells whether the operator wrote a queue's name in --queue-match or --queue.

    Of the latter those that a credential opens are the credential's own to know.
    """
    written = settings.queue_match.pattern if settings.given("queue_match") else ""

    def is_named(queue: str) -> bool:
        is_in_pattern = re.search(rf"(?<![\w-]){re.escape(queue)}(?![\w-])", written) is not None
        return is_in_pattern or names_queue(named_local(settings), queue)

    return is_named
