"""The store that a client command works with: a directory of this machine, or a bucket."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from runner.cli.telling import PERSON
from runner.client import opening
from runner.client.opening import STORE_KEYS as KEYS
from runner.client.opening import STORE_SETTINGS as SETTINGS
from runner.client.opening import STORE_VARIABLE, chosen_store, first, knowing
from runner.client.shop import Shop
from runner.settings import Settings

__all__ = ["KEYS", "SETTINGS", "add_options", "chosen_store", "first", "knowing", "opened"]


def add_options(group: Any, default: str) -> None:
    """Add the options that name a store."""
    group.add_argument(
        "--store",
        metavar="DIRECTORY|s3://HOST/BUCKET",
        help=f"default: {STORE_VARIABLE}, else {default}; keys of a bucket come from "
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and go to the runner with the message",
    )
    group.add_argument(
        "--store-keys", metavar="FILE", help="keys of the bucket, as in ~/.aws/credentials"
    )
    group.add_argument(
        "--store-records",
        metavar="BUCKET",
        help="second bucket of that host, for the experiments' records: cancel needs them to stop "
        "what waits or runs elsewhere",
    )


def opened(
    settings: Settings, chosen: Namespace, environ: Mapping[str, str]
) -> AbstractContextManager[Sequence[Shop]]:
    """Open the store that is named, else every local one; transfers are shown."""
    return opening.opened(settings, chosen, environ, PERSON)
