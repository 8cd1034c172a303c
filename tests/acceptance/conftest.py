"""Daemons on every broker: a test that takes ``pair`` is parametrised with ``on_every_broker``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.acceptance.accounts import (
    Account,
    LocalAccount,
    PubsubAccount,
    RabbitAccount,
    SqsAccount,
)
from tests.acceptance.box import Box
from tests.acceptance.pair import Pair
from tests.faults.s3_box import s3_box
from tests.web.chromium import browser

__all__ = ["browser", "pair", "world"]

Opening = Callable[[Path], AbstractContextManager[Box]]
Making = Callable[[Box], Account]


@pytest.fixture(scope="session")
def world(broker: str, request: pytest.FixtureRequest) -> tuple[Opening, Making]:
    """Return what makes a box and an account; servers run before anybody looks for leaks.

    With Amazon's queues the claim records lie in S3, else in the local store.
    """
    if broker == "sqs":
        queues, objects = (request.getfixturevalue(f"{one}_server") for one in ("moto", "seaweed"))
        return lambda root: s3_box(root, objects), lambda _: SqsAccount(queues)
    if broker == "rabbitmq":
        rabbit = request.getfixturevalue("rabbit_server")
        return Box, lambda _: RabbitAccount(rabbit)
    if broker == "pubsub":
        emulator = request.getfixturevalue("pubsub_emulator")
        return Box, lambda _: PubsubAccount(emulator)
    return Box, LocalAccount


@pytest.fixture
def pair(tmp_path: Path, world: tuple[Opening, Making]) -> Iterator[Pair]:
    """Return two daemons that are not started yet."""
    opening, making = world
    with opening(tmp_path) as box:
        pair = Pair(box, making(box))
        pair.account.write(pair.certs / "lab")
        yield pair
