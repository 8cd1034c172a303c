"""Which queues there are: what the account lists, and what is named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runner import log
from runner.errors import Misconfigured, QueueDenied, QueueGone, RunnerError
from runner.queues import addresses
from runner.queues.choice import Choice
from runner.queues.credential import AwsCredential
from runner.queues.sqs.account import Account
from runner.queues.sqs.receipt import word

_log = log.get_logger(__name__)

#: Of one page; without it SQS gives the first thousand and no more.
_PAGE = 1000

Urls = Mapping[str, str]


@dataclass
class Discovery:
    """Looks at one account; what is refused is said once, as long as something is found."""

    account: Account
    choice: Choice
    _said: set[str] = field(default_factory=set)

    async def look(self) -> tuple[Urls, frozenset[str]]:
        """Return the queues to take from, name to URL, and the names of those that are left.

        Raises QueueUnavailable; QueueDenied where nothing may be seen and nothing is named.
        """
        refused: list[QueueDenied] = []
        listed: dict[str, str] = {}
        try:
            listed = await self.listed(self.choice.prefix)
        except QueueDenied as error:
            refused.append(error)
        named = await self._named(listed, refused)
        if refused and not named:
            raise refused[0]
        for refusal in refused:
            self._say(refusal)
        taken, left = self.choice.divide(listed)
        urls = {name: listed[name] for name in taken} | named
        return urls, left - named.keys()

    async def listed(self, prefix: str = "") -> dict[str, str]:
        """Return name and URL of all queues of the account whose names begin so."""
        asked: dict[str, Any] = {"MaxResults": _PAGE}
        if prefix:
            asked["QueueNamePrefix"] = prefix
        found: dict[str, str] = {}
        while True:
            answer = await self.account.ask("list_queues", **asked)
            urls = map(str, answer.get("QueueUrls") or ())
            found |= {url.rpartition("/")[2]: url for url in urls}
            if not answer.get("NextToken"):
                return found
            asked["NextToken"] = answer["NextToken"]

    async def _named(self, listed: Urls, refused: list[QueueDenied]) -> dict[str, str]:
        """Find what has a name and is not listed, or is another account's."""
        sees_all = not refused and not self.choice.prefix
        found: dict[str, str] = {}
        for address in self._addresses():
            url = _url(address, self.account.credential)
            if sees_all and not url:
                url = listed.get(address.name, "")
            else:
                url = await self._asked(address.name, url, refused)
            if url:
                found[address.name] = url
        return found

    async def _asked(self, name: str, url: str, refused: list[QueueDenied]) -> str:
        """Return the URL of one queue; empty for one that is not there, or whose URL nobody tells.

        With a URL it counts as there where we may not ask: receiving is another right.
        """
        try:
            if not url:
                answer = await self.account.ask("get_queue_url", QueueName=name)
                return word(answer, "QueueUrl")
            await self.account.ask(
                "get_queue_attributes", QueueUrl=url, AttributeNames=["QueueArn"]
            )
        except QueueGone:
            return ""
        except QueueDenied as error:
            if not url:
                refused.append(error)
        return url

    def _addresses(self) -> list[addresses.SqsAddress]:
        credential = self.account.credential
        found = [addresses.SqsAddress(name=name) for name in sorted(self.choice.named)]
        for written in credential.queues:
            try:
                address = addresses.parse(
                    written, plain="sqs", option=f"a queue of {credential.origin}"
                )
            except Misconfigured as error:
                self._say(error)
                continue
            if isinstance(address, addresses.SqsAddress) and address.matches(credential):
                found.append(address)
            else:
                self._say(
                    Misconfigured(
                        f"{credential.origin} names the queue {address}, which is not one of "
                        f"region {credential.region}: put it beside a credential for its region"
                    )
                )
        return found

    def _say(self, error: RunnerError) -> None:
        if str(error) not in self._said:
            self._said.add(str(error))
            _log.warning("queues are not seen", trouble=str(error))


def _url(address: addresses.SqsAddress, credential: AwsCredential) -> str:
    """Return the URL of a queue whose account is known."""
    if not address.account:
        return ""
    china = ".cn" if credential.region.startswith("cn-") else ""
    base = credential.endpoint or f"https://sqs.{credential.region}.amazonaws.com{china}"
    return f"{base.rstrip('/')}/{address.account}/{address.name}"
