"""Two Pub/Subs for tests: Google's own emulator, and a small fake that can be told to fail."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import urllib.error
import urllib.request
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.servers.process import free_ports, serving
from tests.services import absence

_SDK = Path("/usr/lib/google-cloud-sdk")
_JARS = "platform/pubsub-emulator/lib/cloud-pubsub-emulator-*-all.jar"
_ROOT = Path(__file__).parents[2]


def new_project() -> str:
    """Return the id of a project that no other test uses."""
    return f"project-{uuid.uuid4().hex[:12]}"


def subscription_path(project: str, name: str) -> str:
    """Return a path of a subscription."""
    return f"projects/{project}/subscriptions/{name}"


def topic_path(project: str, name: str) -> str:
    """Return the path of the topic that a client makes for this subscription."""
    return f"projects/{project}/topics/{name.removesuffix('_sub')}"


class PubsubServer(ABC):
    """A server that is ready; what is done to it beside the broker that is tested."""

    port: int

    @property
    def address(self) -> str:
        """Return what ``PUBSUB_EMULATOR_HOST`` would be."""
        return f"127.0.0.1:{self.port}"

    @abstractmethod
    def create(self, project: str, name: str, **settings: Any) -> None:
        """Make a topic and a subscription as a client does."""

    @abstractmethod
    def delete(self, project: str, name: str) -> None:
        """Delete a subscription."""


@dataclass(frozen=True)
class Emulator(PubsubServer):
    """Google's; it is asked over its REST side."""

    port: int

    def create(self, project: str, name: str, **settings: Any) -> None:
        """Make a topic and a subscription; ``settings`` in JSON's spelling."""
        topic = topic_path(project, name)
        self.ask("PUT", topic, {})
        self.ask(
            "PUT",
            subscription_path(project, name),
            {"topic": topic, "ackDeadlineSeconds": 20, **settings},
        )

    def delete(self, project: str, name: str) -> None:
        """Delete a subscription."""
        self.ask("DELETE", subscription_path(project, name))

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Call the API. Raises OSError."""
        request = urllib.request.Request(
            f"http://{self.address}/v1/{path}",
            None if body is None else json.dumps(body).encode(),
            {"Content-Type": "application/json"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - our own server
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise OSError(f"{method} {path}: {error.code} {error.read()!r}") from None


@dataclass(frozen=True)
class FakeServer(PubsubServer):
    """``tests/servers/pubsub_fake.py`` in a process of its own."""

    port: int
    control_port: int

    def create(self, project: str, name: str, **settings: Any) -> None:
        """Make a topic and a subscription; ``settings`` in Python's spelling."""
        settings = {"topic": topic_path(project, name), **settings}
        self.ask("create", path=subscription_path(project, name), **settings)

    def delete(self, project: str, name: str) -> None:
        """Delete a subscription."""
        self.ask("delete", path=subscription_path(project, name))

    @contextlib.contextmanager
    def failing(self, project: str, method: str, **fault: Any) -> Iterator[None]:
        """Have calls fail: ``status``, ``details``, ``empty``, ``times``; without, they hang."""
        self.ask("fault", project=project, method=method, **fault)
        try:
            yield
        finally:
            self.ask("well", project=project)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop the process: connections stay established, and nobody answers on them."""
        pid = int(self.ask("pid"))
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def stats(self) -> Any:
        """Return what the server counted."""
        return self.ask("stats")

    def ask(self, do: str, **arguments: Any) -> Any:
        """Tell it to do something."""
        with socket.create_connection(("127.0.0.1", self.control_port), timeout=30) as wire:
            wire.sendall(json.dumps({"do": do, **arguments}).encode())
            wire.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: wire.recv(65_536), b""))
        return json.loads(answer)


@contextlib.contextmanager
def emulator(directory: Path) -> Iterator[Emulator]:
    """Run Google's emulator in an empty directory."""
    (port,) = free_ports(1)
    server = Emulator(port)
    (jar, *_) = sorted(_SDK.glob(_JARS))
    command = ["java", "-Xmx256m", "-jar", str(jar), "--host=127.0.0.1", f"--port={port}"]
    environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(directory)}

    def is_ready() -> bool:
        try:
            server.ask("GET", "projects/ready/topics")
        except OSError:
            return False
        return True

    with serving(command, is_ready, directory=directory, environment=environment):
        yield server


@contextlib.contextmanager
def fake(directory: Path) -> Iterator[FakeServer]:
    """Run the fake in an empty directory."""
    port, control_port = free_ports(2)
    server = FakeServer(port, control_port)
    module = "tests.servers.pubsub_fake"
    command = [sys.executable, "-m", module, str(port), str(control_port)]
    environment = {"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": str(_ROOT)}

    def is_ready() -> bool:
        try:
            server.stats()
        except OSError:
            return False
        with socket.socket() as wire:
            return wire.connect_ex(("127.0.0.1", port)) == 0

    with serving(command, is_ready, directory=directory, environment=environment):
        yield server


def start_engine() -> None:
    """Let grpc open what it keeps for the life of the process before the first look for leaks."""
    # Imported here: the fixtures below are known to tests that need no Google.
    import grpc.aio  # noqa: PLC0415

    from runner.queues.pubsub.lines import keep_engine  # noqa: PLC0415

    async def start() -> None:
        keep_engine()
        (port,) = free_ports(1)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await channel.unary_unary("/nobody/answers")(b"", timeout=5)

    anyio.run(start)


@pytest.fixture(scope="session")
def pubsub_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """Run one emulator for the whole session; its tests are marked ``service("pubsub")``."""
    if reason := absence("pubsub"):
        pytest.skip(f"service pubsub: {reason}")
    start_engine()
    with emulator(tmp_path_factory.mktemp("pubsub")) as server:
        yield server


@pytest.fixture(scope="session")
def pubsub_fake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeServer]:
    """Run one fake for the whole session."""
    start_engine()
    with fake(tmp_path_factory.mktemp("pubsub-fake")) as server:
        yield server
