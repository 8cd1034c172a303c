"""Options about object stores."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from runner.settings import kinds
from runner.settings.option import group, option


@group
class StorageOptions:
    """What messages may read and write, and what is kept of it."""

    GROUP: ClassVar = "Stores"

    local_store_root: tuple[Path, ...] = option(
        kinds.PATH,
        lambda places: str(places.data / "store"),
        "file:// artifacts are honoured only below these directories",
        shown_default="/var/lib/studio-runner/store as root, "
        "else ~/.local/share/studio-runner/store",
        repeatable=True,
    )
    allow_file_artifacts: bool = option(
        kinds.FLAG, "false", "honour file:// artifacts of messages that no local queue brought"
    )
    allow_env_secrets: bool = option(
        kinds.FLAG,
        "true",
        "take S3 keys from config.env of a message, for artifacts that bring none",
    )
    s3_ca: Path | None = option(
        kinds.OPTIONAL_PATH,
        "",
        "PEM file of the authorities trusted for S3, in place of the system's",
    )
    s3_cert: Path | None = option(
        kinds.OPTIONAL_PATH, "", "client certificate for S3, together with --s3-key"
    )
    s3_key: Path | None = option(
        kinds.OPTIONAL_PATH, "", "key of the client certificate for S3, without a passphrase"
    )
    s3_http_hosts: tuple[str, ...] = option(
        kinds.TEXT,
        "",
        "S3 hosts (patterns such as *.lan) that are spoken to in clear text; loopback always is",
        repeatable=True,
    )
    allow_own_credentials: bool = option(
        kinds.FLAG,
        "false",
        "use the runner's own AWS keys or Google identity for artifacts that bring no credentials",
    )
    google_store_credentials: Path | None = option(
        kinds.OPTIONAL_PATH,
        "",
        "key file for gs:// artifacts of messages that no Pub/Sub queue brought",
    )
    http_private_hosts: tuple[str, ...] = option(
        kinds.TEXT,
        "",
        "hosts (patterns) that http(s):// artifacts may name although their address is private",
        repeatable=True,
    )
