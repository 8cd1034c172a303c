"""fauxqs: a second opinion on SQS, whose receipts grow old as they do at Amazon's."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError

from tests.servers.moto_sqs import Sqs
from tests.servers.process import free_ports, serving
from tests.services import SERVICES

_PACKAGE = SERVICES / "node_modules/fauxqs"
#: Its own command listens on all addresses.
_START = """
const { buildApp } = await import(process.argv[1]);
await buildApp({ logger: false }).listen({ port: Number(process.argv[2]), host: "127.0.0.1" });
"""


def absence() -> str:
    """Say why it cannot be had here; empty when it can."""
    if shutil.which("node") is None:
        return "no node in PATH"
    if not (_PACKAGE / "dist/app.js").exists():
        return f"not in {SERVICES}: npm install --prefix {SERVICES} fauxqs"
    return ""


@contextmanager
def running(directory: Path) -> Iterator[Sqs]:
    """Run a server in an empty directory."""
    (port,) = free_ports(1)
    server = Sqs(f"http://127.0.0.1:{port}")
    app = (_PACKAGE / "dist/app.js").as_uri()
    command = [shutil.which("node") or "node", "--input-type=module", "-e", _START, app, str(port)]
    environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(directory)}
    with serving(command, lambda: _is_ready(server), directory=directory, environment=environment):
        yield server


def _is_ready(server: Sqs) -> bool:
    try:
        server.ask("list_queues")
    except BotoCoreError:
        return False
    return True


@pytest.fixture(scope="session")
def fauxqs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sqs]:
    """Run one server for the whole session."""
    if reason := absence():
        pytest.skip(f"service sqs: fauxqs, the second opinion on receipts: {reason}")
    with running(tmp_path_factory.mktemp("fauxqs")) as server:
        yield server
