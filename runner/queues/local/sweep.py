"""One look at everything that may have to come back by itself: expired claims, messages now due."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import structlog

from runner.errors import LeaseLost
from runner.queues.local import beats, claims, delays
from runner.queues.local.places import Places
from runner.queues.local.sightings import Beat, Sightings

log = structlog.stdlib.get_logger(__name__)


class Sweep:
    """Looks after all queues below a root, also those that another runner of this root serves."""

    def __init__(self, root: Path, holder: beats.Holder, interval: float) -> None:
        self._root = root
        self._holder = holder
        self._sightings = Sightings(interval)
        #: Of the claims that the last run found.
        self._homes: dict[str, Places] = {}

    @property
    def sees_claims(self) -> bool:
        """Somebody held something when all was looked at last."""
        return bool(self._homes)

    def glance(self) -> None:
        """Look at the beats of known claims alone.

        Their end is noticed the sooner, the oftener one looks; all else can wait for ``run``.
        """
        lease = self._holder.lease
        self._note({token: beats.read(home, token, lease) for token, home in self._homes.items()})

    def run(self) -> float | None:
        """Do what is due and return the seconds until the next delayed message is.

        Trouble with one queue's directory is raised after all others were looked after.
        """
        signs: dict[str, Beat] = {}
        homes: dict[str, Places] = {}
        dues: list[int] = []
        trouble: OSError | None = None
        now = delays.now()
        for places in Places.all(self._root):
            try:
                found = beats.read_all(places, self._holder.lease)
                due = delays.bring_back(places, now)
                beats.sweep(places)
                places.remove_state()
            except OSError as error:
                trouble = error
                continue
            signs.update(found)
            homes.update(dict.fromkeys(found, places))
            if due is not None:
                dues.append(due)
        self._homes = homes
        self._note(signs)
        if trouble is not None:
            raise trouble
        return (min(dues) - now) / 1000 if dues else None

    def _note(self, signs: Mapping[str, Beat]) -> None:
        for token in self._sightings.expired(time.monotonic(), signs):
            self._expire(claims.Claim(self._homes.pop(token), token))

    def _expire(self, claim: claims.Claim) -> None:
        with suppress(LeaseLost):  # another observer was faster, or the holder settled it
            claims.give_back(claim)
            log.info(
                "a claim whose holder stopped beating came back",
                queue=claim.places.queue,
                message=claim.name,
            )
