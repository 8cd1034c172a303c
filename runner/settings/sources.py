"""Options about where experiments come from."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from runner.model import Bytes
from runner.redaction import Secret
from runner.settings import kinds
from runner.settings.option import group, option

#: The SDK's own variables, the one that counts first.
_AWS_REGION = ("AWS_REGION", "AWS_DEFAULT_REGION")


@group
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
    queue: tuple[str, ...] = option(
        kinds.ADDRESS,
        "",
        "queue that is taken without being listed, whatever the patterns say: "
        "sqs://REGION/ACCOUNT/NAME, pubsub://PROJECT/SUBSCRIPTION, amqp://HOST/VHOST?QUEUE, "
        "local://NAME; a file named queues beside a credential lists such as well",
        repeatable=True,
    )
    queue_poll: timedelta = option(
        kinds.PERIOD,
        "15s",
        "how often local queues are looked at besides being told of changes; a network file "
        "system does not tell",
    )
    queue_refresh: timedelta = option(
        kinds.PERIOD, "60s", "how often a broker is asked for its queues"
    )
    dead_letter_limit: Bytes = option(
        kinds.SIZE,
        "256mib",
        "dead letters kept below --state-dir, for queues whose owner configured no place for them",
    )
    certs_dir: Path = option(
        kinds.PATH,
        lambda places: str(places.config / "certs"),
        "watched directory of credentials, one directory or file each",
        shown_default="/etc/studio-runner/certs as root, else ~/.config/studio-runner/certs",
    )
    google_certs: Path | None = option(
        kinds.OPTIONAL_PATH, "", "watched directory of Google service account files"
    )
    google_project: str = option(
        kinds.TEXT,
        lambda places: places.environ.get("GOOGLE_CLOUD_PROJECT", ""),
        "project of the machine's own Google identity, see --ambient-credentials",
        shown_default="`GOOGLE_CLOUD_PROJECT`, else what the metadata service says",
    )
    pubsub_timeout: timedelta = option(
        kinds.DURATION, "5s", "limit of one listing of Google subscriptions"
    )
    sqs_certs: Path | None = option(
        kinds.OPTIONAL_PATH, "", "watched directory of AWS credentials, one directory each"
    )
    aws_region: str = option(
        kinds.TEXT,
        lambda places: next(filter(None, map(places.environ.get, _AWS_REGION)), ""),
        "region of the machine's own AWS identity, see --ambient-credentials",
        shown_default="`AWS_REGION` or `AWS_DEFAULT_REGION`, else what the metadata service says",
    )
    sqs_prefix: str = option(kinds.TEXT, "", "take only SQS queues whose name begins with this")
    sqs_timeout: timedelta = option(kinds.DURATION, "15s", "limit of one listing of SQS queues")
    amqp_url: Secret = option(
        kinds.TEXT,
        "",
        "RabbitMQ broker: amqp://USER:PASSWORD@HOST:PORT/VHOST; $VARIABLES are expanded",
        secret=True,
        file_form=True,
    )
    amqp_mgt_url: Secret = option(
        kinds.TEXT,
        "",
        "management interface of the RabbitMQ broker; empty means derived from --amqp-url",
        secret=True,
        file_form=True,
    )
    ambient_credentials: tuple[str, ...] = option(
        kinds.choice("google", "aws", metavar="CLOUD"),
        "",
        "take queues with the machine's own identity (workload identity, instance role, IRSA), "
        "without a file: google, aws",
        repeatable=True,
    )


@group
class MessageOptions:
    """Which messages are believed."""

    GROUP: ClassVar = "Message privacy"

    clear_text_messages: bool = option(
        kinds.FLAG, "false", "accept messages in clear text although keys are configured"
    )
    encrypt_dir: Path | None = option(
        kinds.OPTIONAL_PATH, "", "directory of the key that opens sealed messages"
    )
    request_signatures_dir: Path | None = option(
        kinds.OPTIONAL_PATH,
        "",
        "directory of the public keys that sealed messages are signed with, by queue",
        aliases=("signatures-dir",),
    )
    response_signatures_dir: Path | None = option(
        kinds.OPTIONAL_PATH,
        "",
        "directory of the public keys that reports on response queues are sealed for, by queue; "
        "without a key none are sent, but for --clear-text-responses",
        aliases=("response-keys-dir",),
    )
    clear_text_responses: bool = option(
        kinds.FLAG,
        "false",
        "send reports in clear text to response queues that have no key; never about requests "
        "that came sealed",
    )
