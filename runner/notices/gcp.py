"""Compute Engine: preemption and host maintenance, by long polls of the metadata server.

A preempted machine has 30 seconds. Before a maintenance that ends the machine there are 60, and
for one with GPUs, which cannot be moved, an hour. Being moved to another host is no end.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from urllib.parse import quote

import anyio

from runner import log
from runner.errors import Unavailable
from runner.notices.asking import Answer, ask
from runner.notices.base import Notice, Service, Tell

_log = log.get_logger(__name__)

_HOST = "metadata.google.internal"
_FLAVOR = {"Metadata-Flavor": "Google"}
_ROOT = "/computeMetadata/v1/instance/"
_PREEMPTED, _MAINTENANCE = "preempted", "maintenance-event"
_KEYS = {_PREEMPTED, _MAINTENANCE}
_TERMINATES, _NOTHING = "TERMINATE_ON_HOST_MAINTENANCE", "NONE"
_AFTER_PREEMPTION = timedelta(seconds=30)
_AFTER_EVENT, _WITH_GPUS = timedelta(seconds=60), timedelta(hours=1)
#: Seconds after which the server answers although nothing changed, and what it may take for that.
_POLL, _MARGIN = 60, 10.0
#: Between two polls that are answered at once.
_PAUSE = 1.0
_OK, _NOT_FOUND = 200, 404


class Gcp(Service):
    """The metadata server of a Compute Engine instance."""

    name = "gcp"

    def __init__(self, environ: Mapping[str, str], *, has_gpus: bool = False) -> None:
        """See ``Service``."""
        super().__init__(environ, has_gpus=has_gpus)
        self._address = f"http://{environ.get('GCE_METADATA_HOST', '') or _HOST}"
        #: What was said last, by key.
        self._said: dict[str, str] = {}

    async def is_there(self) -> bool:
        """See ``Service``."""
        try:
            answer = await ask(self._address, _ROOT + _PREEMPTED, _FLAVOR)
        except Unavailable:
            return False
        return answer.status == _OK and answer.headers.get("metadata-flavor") == "Google"

    async def watch(self, tell: Tell) -> None:
        """See ``Service``."""
        troubles: list[Unavailable] = []
        async with anyio.create_task_group() as group:

            async def follow(key: str) -> None:
                try:
                    await self._follow(key, tell)
                except Unavailable as trouble:  # carried past the group
                    troubles.append(trouble)
                    group.cancel_scope.cancel()

            group.start_soon(follow, _PREEMPTED)
            group.start_soon(follow, _MAINTENANCE)
        raise troubles[0]

    async def _follow(self, key: str, tell: Tell) -> None:
        answer = await self._get(key, "")
        if answer.status == _NOT_FOUND:  # of what stands before the server in some clusters
            _log.info("the metadata server does not tell of this", key=key)
            await self._note(key, _NOTHING, tell)
            await anyio.sleep_forever()
        await self._note(key, answer.text, tell)
        while True:
            began = anyio.current_time()
            etag = quote(answer.headers.get("etag", "0"))
            answer = await self._get(
                key, f"?wait_for_change=true&timeout_sec={_POLL}&last_etag={etag}"
            )
            if answer.text != self._said[key]:
                await self._note(key, answer.text, tell)
            elif anyio.current_time() - began < _PAUSE:  # an etag that nobody knows is no wait
                await anyio.sleep(_PAUSE)

    async def _note(self, key: str, said: str, tell: Tell) -> None:
        """Tell what the keys say together; of one alone nobody knows whether it is all."""
        self._said[key] = said
        if self._said.keys() == _KEYS:
            await tell(notice(self._said, has_gpus=self.has_gpus))

    async def _get(self, key: str, query: str) -> Answer:
        seconds = _POLL + _MARGIN if query else _MARGIN
        answer = await ask(self._address, _ROOT + key + query, _FLAVOR, seconds=seconds)
        if answer.status not in {_OK, _NOT_FOUND}:
            raise Unavailable(f"the metadata server answers {answer.status} for {key}")
        return answer


def notice(said: Mapping[str, str], *, has_gpus: bool) -> Notice | None:
    """Decide what the keys say together; being moved is told in the log alone."""
    if said.get(_PREEMPTED, "").upper() == "TRUE":
        return Notice("Google preempts this instance", _AFTER_PREEMPTION)
    event = said.get(_MAINTENANCE, _NOTHING)
    if event == _TERMINATES:
        left = _WITH_GPUS if has_gpus else _AFTER_EVENT
        return Notice("Google will end this instance for the maintenance of its host", left)
    if event != _NOTHING:
        _log.info("the metadata server announces a maintenance", of=event)
    return None
