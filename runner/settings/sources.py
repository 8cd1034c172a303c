"""Options about where experiments come from."""

# ruff: noqa: RUF009 - option() declares a field, as dataclasses.field() does

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from runner.redaction import Secret
from runner.settings import kinds
from runner.settings.option import option


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """Queues, and the credentials that lead to them."""

    GROUP: ClassVar = "Queues"

    queue_root: Path | None = option(
        kinds.OPTIONAL_PATH,
        lambda places: str(places.data / "queues"),
        "directory of local queues, one directory per queue; empty means no local queues",
        shown_default="/var/lib/studio-runner/queues as root, "
        "else ~/.local/share/studio-runner/queues",
    )
    queue_match: re.Pattern[str] = option(
        kinds.PATTERN,
        "^(rmq|sqs|ec2|local)",
        "take only queues in whose name this is found; unless it is given, every subscription of "
        "a Google project is taken",
    )
    queue_mismatch: re.Pattern[str] | None = option(
        kinds.OPTIONAL_PATTERN, "", "leave queues in whose name this is found"
    )
    queue_poll: timedelta = option(
        kinds.LEASE,
        "15s",
        "how often local queues are looked at besides being told of changes; a network file "
        "system does not tell",
    )
    certs_dir: Path = option(
        kinds.PATH,
        lambda places: str(places.config / "certs"),
        "watched directory of credentials, one directory or file each",
        shown_default="/etc/studio-runner/certs as root, else ~/.config/studio-runner/certs",
        idle=True,
    )
    google_certs: Path | None = option(
        kinds.OPTIONAL_PATH, "", "directory of Google service account files", idle=True
    )
    pubsub_timeout: timedelta = option(
        kinds.DURATION, "5s", "limit of one listing of Google subscriptions", idle=True
    )
    sqs_certs: Path | None = option(
        kinds.OPTIONAL_PATH, "", "directory of AWS credentials, one directory each", idle=True
    )
    sqs_prefix: str = option(
        kinds.TEXT, "", "list only SQS queues whose name begins with this", idle=True
    )
    sqs_timeout: timedelta = option(
        kinds.DURATION, "15s", "limit of one listing of SQS queues", idle=True
    )
    amqp_url: Secret = option(
        kinds.TEXT,
        "",
        "RabbitMQ broker: amqp://USER:PASSWORD@HOST:PORT/VHOST",
        secret=True,
        file_form=True,
        idle=True,
    )
    amqp_mgt_url: Secret = option(
        kinds.TEXT,
        "",
        "management interface of the RabbitMQ broker; empty means derived from --amqp-url",
        secret=True,
        file_form=True,
        idle=True,
    )


@dataclass(frozen=True, kw_only=True)
class MessageOptions:
    """Which messages are believed."""

    GROUP: ClassVar = "Message privacy"

    clear_text_messages: bool = option(
        kinds.FLAG, "false", "accept unencrypted messages although keys are configured", idle=True
    )
    encrypt_dir: Path | None = option(
        kinds.OPTIONAL_PATH, "", "directory of the keys that open encrypted messages", idle=True
    )
    request_signatures_dir: Path | None = option(
        kinds.OPTIONAL_PATH,
        "",
        "directory of the public keys that signed messages are checked with",
        aliases=("signatures-dir",),
        idle=True,
    )
    response_signatures_dir: Path | None = option(
        kinds.OPTIONAL_PATH, "", "directory of the keys that encrypt response reports", idle=True
    )
