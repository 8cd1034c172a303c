"""How the daemon leaves its runs to the next one: quickly, whatever hangs (design 5.8, detach)."""

from __future__ import annotations

import os
import threading

import anyio

from runner import log
from runner.lifecycle.keeper import Keeper

_log = log.get_logger(__name__)

#: Seconds from the wish to the end of the process, whatever is under way.
_LONGEST = 1.8
_LAST_RENEWAL = 1.0


def begin_to_leave(serving: anyio.CancelScope) -> None:
    """Cancel all work. What hangs then, in a dead file system say, is left as by a kill.

    A kill loses nothing: that is what the records on disk are for.
    """
    timer = threading.Timer(_LONGEST, _end_at_once)
    timer.daemon = True
    timer.start()
    serving.cancel()


async def leave(keeper: Keeper) -> None:
    """Renew every lease a last time: the next daemon has all of it to come."""
    with anyio.move_on_after(_LAST_RENEWAL, shield=True):
        await keeper.renew_all()


def _end_at_once() -> None:
    _log.warning("left without waiting for what hangs")
    os._exit(0)
