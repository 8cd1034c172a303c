"""Options about where the daemon tells what happens."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import ClassVar

from runner.redaction import Secret
from runner.settings import kinds
from runner.settings.option import group, option

#: A pattern may hold commas, and no name of a channel holds white space.
_PATTERNS = replace(kinds.PATTERN, separator=None)


@group
class NewsOptions:
    """Slack, a program of the operator's own, and a collector of traces."""

    GROUP: ClassVar = "News"

    slack_hook: Secret = option(
        kinds.TEXT,
        "",
        "incoming webhook of Slack: results, failures and what the operator has to know",
        secret=True,
        file_form=True,
    )
    slack_token: Secret = option(
        kinds.TEXT,
        "",
        "token of a Slack bot (xoxb-…): one message an experiment, kept up to date; needs "
        "--slack-room, and goes before --slack-hook",
        secret=True,
        file_form=True,
    )
    slack_room: str = option(
        kinds.TEXT, "", "#channel, or its ID, for all news whose message names none"
    )
    slack_destinations: tuple[re.Pattern[str], ...] = option(
        _PATTERNS,
        "",
        "channels that a message may choose with slack_destination, as in '#team-.*'; without "
        "any its wish is not followed",
        repeatable=True,
    )
    slack_api: str = option(
        kinds.ADDRESS, "https://slack.com/api/", "address of Slack's API, for workspaces elsewhere"
    )
    webhook: Secret = option(
        kinds.TEXT,
        "",
        "address that gets every event as JSON (docs/news.md); it may hold a secret",
        secret=True,
        file_form=True,
    )
    webhook_secret: Secret = option(
        kinds.TEXT,
        "",
        "signs what --webhook gets, with HMAC-SHA256",
        secret=True,
        file_form=True,
    )
    otlp_endpoint: str = option(
        kinds.ADDRESS,
        "",
        "OpenTelemetry collector that gets a trace of each experiment, by OTLP over HTTP, as in "
        "http://collector:4318 (docs/tracing.md)",
        aliases=("otel-exporter-otlp-endpoint",),
    )
