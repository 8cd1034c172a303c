"""What a queue's owner has set: its retention, and where its dead letters go. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

#: What is asked for.
NAMES = ("MessageRetentionPeriod", "RedrivePolicy")


@dataclass(frozen=True, slots=True)
class Facts:
    """Empty where the credential may not ask."""

    #: A message that is as old is deleted, held or not.
    retention: timedelta | None = None
    #: ``arn:aws:sqs:REGION:ACCOUNT:NAME``.
    dead_letter_arn: str = ""

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Facts:
        """Read the attributes of a queue."""
        retention = str(told.get("MessageRetentionPeriod", ""))
        return cls(
            retention=timedelta(seconds=int(retention)) if retention.isdecimal() else None,
            dead_letter_arn=_target(str(told.get("RedrivePolicy", ""))),
        )

    def dead_letters(self, url: str) -> str:
        """Return the URL of the dead letter queue of the queue at ``url``; empty: it has none.

        Both are always in one region. No right is needed to know it.
        """
        parts = self.dead_letter_arn.split(":")
        base = url.rsplit("/", 2)
        if len(parts) < _ARN_PARTS or len(base) < 3:  # noqa: PLR2004 - host, account, name
            return ""
        return "/".join((base[0], *parts[-2:]))


_ARN_PARTS = 6


def _target(policy: str) -> str:
    try:
        return str(json.loads(policy)["deadLetterTargetArn"])
    except (ValueError, KeyError, TypeError):
        return ""
