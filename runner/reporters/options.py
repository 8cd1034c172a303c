"""What the operator wishes of the reporters that go over the network."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from runner.redaction import Secret


@dataclass(frozen=True, slots=True)
class SlackOptions:
    """How Slack is reached, and where news go in it; one of ``hook`` and ``token`` is there."""

    hook: Secret = field(default_factory=Secret)
    #: A bot's; it goes before the hook.
    token: Secret = field(default_factory=Secret)
    #: Where experiments are told of that name no place, and the host's own news.
    room: str = ""
    #: The places that an experiment may name.
    destinations: tuple[re.Pattern[str], ...] = ()
    api: str = "https://slack.com/api/"
    #: Where the messages of experiments under way are remembered; ``None``: nowhere.
    memory: Path | None = None


@dataclass(frozen=True, slots=True)
class WebhookOptions:
    """Where events go as JSON."""

    #: The whole address; whoever knows it may be believed.
    url: Secret
    #: Signs each event, where it is there.
    secret: Secret = field(default_factory=Secret)
