"""The store that a client command works with: a directory of this machine, or a bucket."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING, Any

from runner.cli.telling import PERSON
from runner.client import opening
from runner.client.opening import STORE_KEYS as KEYS
from runner.client.opening import STORE_SETTINGS as SETTINGS
from runner.client.opening import STORE_VARIABLE, chosen_store, first, knowing
from runner.errors import Misconfigured, RunnerError
from runner.settings import Settings

if TYPE_CHECKING:
    from runner.client.shop import Shop

__all__ = [
    "KEYS",
    "SETTINGS",
    "add_options",
    "chosen_store",
    "first",
    "knowing",
    "opened",
    "unknown",
]


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


def unknown(
    key: str, shops: Sequence[Shop], chosen: Namespace, environ: Mapping[str, str]
) -> RunnerError:
    """Return what to say of an experiment that none of the stores knows. Raises what they raise."""
    if keys := _of_sweep(key, shops):
        return RunnerError(f"{key!r} is a sweep: name one of its experiments, {keys}")
    if not chosen_store(chosen, environ):
        return RunnerError(f"the experiment {key!r} is not known here: name its store with --store")
    return RunnerError(
        f"the experiment {key!r} is not known in {', '.join(map(str, shops))}: no runner has begun "
        "it yet, or its store is another one (--store)"
    )


def _of_sweep(name: str, shops: Sequence[Shop]) -> str:
    from runner.client import listings  # noqa: PLC0415 - for who has named a wrong key

    with suppress(Misconfigured):  # no sweep can be called so
        for shop in shops:
            if known := listings.of_sweep(shop, name):
                return f"{known[0].key} to {known[-1].key}" if known[1:] else known[0].key
    return ""


def opened(
    settings: Settings, chosen: Namespace, environ: Mapping[str, str]
) -> AbstractContextManager[Sequence[Shop]]:
    """Open the store that is named, else every local one; transfers are shown."""
    return opening.opened(settings, chosen, environ, PERSON)
