"""The settings and the store that a client works with, from names, environment and file."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from runner.client.telling import SILENT, Telling
from runner.errors import Misconfigured
from runner.settings import OPTIONS, Settings
from runner.settings.parser import build_parser
from runner.settings.reading import read

if TYPE_CHECKING:
    from runner.client.shop import Shop
    from runner.stores.base import StoreOptions

#: The settings that ``opened`` reads.
STORE_SETTINGS = ("local_store_root", "s3_ca", "s3_cert", "s3_key", "s3_http_hosts")
#: What the file of ``--config`` may say besides settings.
STORE_KEYS = ("store", "store-keys", "store-records")
STORE_VARIABLE = "STUDIO_RUNNER_STORE"
#: Seconds for which somebody waits for a store of which nothing is there: long enough for one that
#: is started anew.
_ABSENCE = 10.0


def configured(
    named: Mapping[str, str | None], environ: Mapping[str, str]
) -> tuple[Settings, Namespace]:
    """Read what the commands read; ``named`` counts like flags. Raises Misconfigured."""
    from runner.client import access  # noqa: PLC0415 - who opens a store alone needs no brokers

    fields = tuple(dict.fromkeys((*STORE_SETTINGS, *access.SETTINGS)))
    parser = build_parser("client", "", [OPTIONS[one] for one in fields], client_keys=STORE_KEYS)
    for key in STORE_KEYS:
        parser.add_argument(f"--{key}")
    argv = [f"--{name}={text}" for name, text in named.items() if text is not None]
    return read(parser, argv, environ, only=fields)


def chosen_store(chosen: Namespace, environ: Mapping[str, str]) -> str:
    """Return the store that somebody named; empty: nobody did."""
    return str(chosen.store or environ.get(STORE_VARIABLE, ""))


@contextmanager
def opened(
    settings: Settings,
    chosen: Namespace,
    environ: Mapping[str, str],
    telling: Telling = SILENT,
) -> Iterator[Sequence[Shop]]:
    """Open the store that is named, else every local one. Raises Misconfigured."""
    # Imported late: who asks the daemon alone opens none.
    from runner.client.bucket import bucket_of, is_bucket  # noqa: PLC0415
    from runner.client.shop import LocalShop  # noqa: PLC0415

    store = chosen_store(chosen, environ)
    if not store:
        yield [LocalShop(root.absolute(), telling) for root in settings.local_store_root]
    elif not is_bucket(store):
        yield [LocalShop(Path(store).expanduser().absolute(), telling)]
    else:
        # Imported late: who has a directory shall not wait for it.
        from runner.client.remote_shop import remote_shop  # noqa: PLC0415

        bucket = bucket_of(
            store,
            environ,
            keys_file=Path(chosen.store_keys).expanduser() if chosen.store_keys else None,
            records=chosen.store_records or "",
            clear_text=settings.s3_http_hosts,
        )
        with remote_shop(bucket, _options(settings, telling), telling) as shop:
            yield [shop]


def first(shops: Sequence[Shop]) -> Shop:
    """Return the store to write to. Raises Misconfigured."""
    if not shops:
        raise Misconfigured("there is no store: name a directory or a bucket with --store")
    return shops[0]


def knowing(shops: Sequence[Shop], key: str) -> Shop | None:
    """Return the store that knows an experiment."""
    return next((shop for shop in shops if shop.experiment(key) or shop.claim(key)), None)


def _options(settings: Settings, telling: Telling) -> StoreOptions:
    from runner.stores.base import StoreOptions  # noqa: PLC0415 - as above
    from runner.stores.remote.retrying import Plan  # noqa: PLC0415 - as above

    return StoreOptions(
        # Who calls is the keys' owner.
        allow_own_credentials=True,
        s3_ca=settings.s3_ca,
        s3_cert=settings.s3_cert,
        s3_key=settings.s3_key,
        s3_http_hosts=settings.s3_http_hosts,
        plan=Plan(absence=_ABSENCE, told=telling.trouble),
    )
