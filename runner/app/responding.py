"""Response queues: whether reports are sent at all, and by which rule."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from runner.errors import QueueUnavailable
from runner.lifecycle.responses.postroom import Postroom
from runner.lifecycle.responses.responses import Responses
from runner.lifecycle.responses.sealing import Sealing
from runner.lifecycle.sources.supply import Supply
from runner.queues.mailbox import Mailbox
from runner.redaction import Redactor
from runner.settings import Settings


@asynccontextmanager
async def opened(
    settings: Settings, supply: Supply, redactor: Redactor
) -> AsyncIterator[Responses]:
    """Yield what posts reports; nothing does where no option asks for it."""
    sealing = rule(settings)
    if sealing is None:
        yield Responses()
        return

    def mailbox_of(account: tuple[str, str], queue: str) -> Mailbox | None:
        source = supply.find(account)
        if source is None or source.broker is None:
            raise QueueUnavailable(f"the broker of {account[1]} is not open")
        return source.broker.mailbox(queue)

    host = socket.gethostname()
    postroom = Postroom(host, sealing, mailbox_of, redactor, used=supply.used)
    async with postroom.open():
        yield postroom


def rule(settings: Settings) -> Sealing | None:
    """Return how reports are sealed; ``None``: none are sent."""
    directory = settings.response_signatures_dir
    if directory is None:
        return Sealing(clear_text=True) if settings.clear_text_responses else None
    # They import cryptography, which takes a while.
    from runner.privacy.keyring import Keyring  # noqa: PLC0415
    from runner.privacy.response_keys import public_key  # noqa: PLC0415

    return Sealing(Keyring(directory, public_key), clear_text=settings.clear_text_responses)
