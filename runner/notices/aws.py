"""EC2: the interruption notice of a spot instance, by the instance metadata service, version 2.

Two minutes before the instance is stopped or terminated ``spot/instance-action`` appears; Amazon
advises to look every five seconds. A rebalance recommendation says that this has become likelier:
it is no notice, and only logged.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import anyio

from runner import log
from runner.errors import Unavailable
from runner.notices.asking import Answer, ask
from runner.notices.base import Notice, Service, Tell

_log = log.get_logger(__name__)

_ADDRESS = "http://169.254.169.254"
_TOKEN, _TOKEN_SECONDS = "/latest/api/token", "21600"
_ACTION = "/latest/meta-data/spot/instance-action"
_REBALANCE = "/latest/meta-data/events/recommendations/rebalance"
#: What Amazon promises.
_NOTICE = timedelta(minutes=2)
_OK, _UNAUTHORIZED, _NOT_FOUND = 200, 401, 404


class Aws(Service):
    """The metadata service of an EC2 instance."""

    name = "aws"
    #: Seconds between two looks.
    seconds = 5.0

    def __init__(self, environ: Mapping[str, str], *, has_gpus: bool = False) -> None:
        """See ``Service``."""
        super().__init__(environ, has_gpus=has_gpus)
        self._address = environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "") or _ADDRESS
        self._token = ""
        self._recommended = ""

    async def is_there(self) -> bool:
        """See ``Service``."""
        try:
            await self._renew()
        except Unavailable:
            return False
        return True

    async def watch(self, tell: Tell) -> None:
        """See ``Service``."""
        while True:
            await tell(await self.look())
            await self._look_at_recommendations()
            await anyio.sleep(self.seconds)

    async def look(self) -> Notice | None:
        """Ask once what is announced. Raises Unavailable."""
        answer = await self._get(_ACTION)
        return notice(answer) if answer.status == _OK else None

    async def _look_at_recommendations(self) -> None:
        answer = await self._get(_REBALANCE)
        if answer.status == _OK and answer.text != self._recommended:
            _log.info("AWS recommends a rebalance: an interruption is likelier", said=answer.text)
            self._recommended = answer.text

    async def _get(self, path: str) -> Answer:
        """Ask with a token that holds. Raises Unavailable."""
        if not self._token:
            await self._renew()
        answer = await self._ask(path)
        if answer.status == _UNAUTHORIZED:
            await self._renew()
            answer = await self._ask(path)
        if answer.status not in {_OK, _NOT_FOUND}:
            raise Unavailable(f"the instance metadata service answers {answer.status} for {path}")
        return answer

    async def _ask(self, path: str) -> Answer:
        return await ask(self._address, path, {"X-aws-ec2-metadata-token": self._token})

    async def _renew(self) -> None:
        wanted = {"X-aws-ec2-metadata-token-ttl-seconds": _TOKEN_SECONDS}
        answer = await ask(self._address, _TOKEN, wanted, method="PUT")
        if answer.status != _OK or not answer.text:
            raise Unavailable(f"the instance metadata service gives no token: {answer.status}")
        self._token = answer.text


def notice(answer: Answer) -> Notice | None:
    """Read ``{"action": "terminate", "time": "2026-11-22T08:22:00Z"}``.

    How long is left goes by the service's own clock, as its answer tells it. What cannot be read
    is a notice all the same, and the time the shortest that Amazon promises.
    """
    try:
        said: Any = json.loads(answer.text)
        action, at = str(said["action"]), datetime.fromisoformat(str(said["time"]))
        left = min(max(at - _now(answer), timedelta(0)), _NOTICE)
    except (ValueError, KeyError, TypeError, RecursionError):
        action, left = "interrupt", _NOTICE
    return Notice(f"AWS will {action} this spot instance", left)


def _now(answer: Answer) -> datetime:
    try:
        told = parsedate_to_datetime(answer.headers["date"])
    except (KeyError, ValueError):
        return datetime.now(UTC)
    return told if told.tzinfo else told.replace(tzinfo=UTC)
