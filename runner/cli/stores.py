"""The store that a client command works with: a directory of this machine, or a bucket."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runner.cli.bucket import bucket_of, is_bucket
from runner.cli.shop import LocalShop, Shop
from runner.errors import Misconfigured
from runner.settings import Settings
from runner.stores.base import StoreOptions

#: The settings that ``opened`` reads.
SETTINGS = ("local_store_root", "s3_ca", "s3_cert", "s3_key", "s3_http_hosts")
#: What the file of ``--config`` may say besides settings.
KEYS = ("store", "store-keys", "store-records")
_VARIABLE = "STUDIO_RUNNER_STORE"


def add_options(group: Any, default: str) -> None:
    """Add the options that name a store."""
    group.add_argument(
        "--store",
        metavar="DIRECTORY|s3://HOST/BUCKET",
        help=f"default: {_VARIABLE}, else {default}; keys of a bucket come from "
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


def chosen_store(chosen: Namespace, environ: Mapping[str, str]) -> str:
    """Return the store that somebody named; empty: nobody did."""
    return str(chosen.store or environ.get(_VARIABLE, ""))


@contextmanager
def opened(
    settings: Settings, chosen: Namespace, environ: Mapping[str, str]
) -> Iterator[Sequence[Shop]]:
    """Open the store that is named, else every local one. Raises Misconfigured."""
    store = chosen_store(chosen, environ)
    if not store:
        yield [LocalShop(root.absolute()) for root in settings.local_store_root]
    elif not is_bucket(store):
        yield [LocalShop(Path(store).expanduser().absolute())]
    else:
        # Imported late: who has a directory shall not wait for it.
        from runner.cli.remote_shop import remote_shop  # noqa: PLC0415

        bucket = bucket_of(
            store,
            environ,
            keys_file=Path(chosen.store_keys).expanduser() if chosen.store_keys else None,
            records=chosen.store_records or "",
            clear_text=settings.s3_http_hosts,
        )
        with remote_shop(bucket, _options(settings)) as shop:
            yield [shop]


def first(shops: Sequence[Shop]) -> Shop:
    """Return the store to write to. Raises Misconfigured."""
    if not shops:
        raise Misconfigured("there is no store: name a directory or a bucket with --store")
    return shops[0]


def knowing(shops: Sequence[Shop], key: str) -> Shop | None:
    """Return the store that knows an experiment."""
    return next((shop for shop in shops if shop.experiment(key) or shop.claim(key)), None)


def _options(settings: Settings) -> StoreOptions:
    return StoreOptions(
        # The command line is its user's own.
        allow_own_credentials=True,
        s3_ca=settings.s3_ca,
        s3_cert=settings.s3_cert,
        s3_key=settings.s3_key,
        s3_http_hosts=settings.s3_http_hosts,
    )
