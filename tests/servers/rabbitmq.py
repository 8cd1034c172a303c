"""RabbitMQ: the real broker with its management interface, without Debian's wrapper around it."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import urllib3

from tests.servers.certificates import self_signed
from tests.servers.process import PATIENCE, free_ports
from tests.services import SYSTEM_PATH, absence

_BIN = Path("/usr/lib/rabbitmq/bin")
#: Two machines' worth of schedulers that wait busily would take the tests' processor time.
_ERLANG = "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none"
_ADVANCED = "[{rabbit, [{channel_tick_interval, 500}]}].\n"
_NOT_FOUND = 404
_EXPECTED = {200, 201, 204, _NOT_FOUND}


class RabbitServer:
    """A broker on 127.0.0.1, whose one administrator is ``guest``."""

    def __init__(self, directory: Path) -> None:
        self.port, self.tls_port, self.management, self._dist, self._epmd = free_ports(5)
        self._directory = directory
        #: Who vouches for the port that speaks TLS.
        self.authority = directory / "authority.pem"
        self._node = f"tests-{secrets.token_hex(4)}@localhost"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Return the URL of the default virtual host."""
        return self.url_for("guest", "guest")

    def url_for(self, user: str, password: str, *, port: int | None = None) -> str:
        """Return a user's URL; ``port`` is that of something in between."""
        return f"amqp://{user}:{quote(password)}@127.0.0.1:{port or self.port}/%2F"

    @property
    def management_url(self) -> str:
        """Return the management interface's URL."""
        return f"http://127.0.0.1:{self.management}"

    # ------------------------------------------------------------------ its life

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run it, ready when the management interface knows that the node is alive."""
        self._write_configuration()
        name_server = self._start("epmd", "-port", str(self._epmd), "-address", "127.0.0.1")
        try:
            self._process = self._start(str(_BIN / "rabbitmq-server"))
            try:
                self._wait()
                yield
            finally:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        finally:
            name_server.kill()
            name_server.wait()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """End the broker and begin it again: what is not durable is gone."""
        self.control("stop_app")
        try:
            yield
        finally:
            self.control("start_app")
            self._wait()

    @contextmanager
    def killed(self) -> Iterator[None]:
        """Kill the broker and begin it again with its data: what is durable is there again."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        try:
            yield
        finally:
            self._process = self._start(str(_BIN / "rabbitmq-server"))
            self._wait()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop all its processes where they are: connections stay, and nothing answers."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self._process.pid, signal.SIGCONT)

    def control(self, *arguments: str) -> str:
        """Run ``rabbitmqctl``."""
        ended = subprocess.run(
            [_BIN / "rabbitmqctl", "--quiet", *arguments],
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    # ------------------------------------------------------------------ management

    def ask(self, method: str, path: str, content: object = None) -> Any:
        """Ask the management interface as its administrator; ``None`` for 204 and 404."""
        with urllib3.PoolManager(retries=False, timeout=60.0) as pool:
            answer = pool.request(
                method,
                f"{self.management_url}/api/{path}",
                json=content,
                headers=urllib3.make_headers(basic_auth="guest:guest"),
            )
        assert answer.status in _EXPECTED, (method, path, answer.status, answer.data)
        return answer.json() if answer.data and answer.status != _NOT_FOUND else None

    def declare(
        self, queue: str, arguments: Mapping[str, Any] | None = None, *, durable: bool = False
    ) -> None:
        """Make exchange, queue and binding as a StudioML client does."""
        exchange = {"type": "topic", "durable": True, "auto_delete": True}
        self.ask("PUT", "exchanges/%2F/StudioML.topic", exchange)
        made = {"durable": durable, "auto_delete": False, "arguments": dict(arguments or {})}
        self.ask("PUT", f"queues/%2F/{quote(queue)}", made)
        key = {"routing_key": f"StudioML.{queue}"}
        self.ask("POST", f"bindings/%2F/e/StudioML.topic/q/{quote(queue)}", key)

    def delete(self, queue: str) -> None:
        """Delete a queue with everything in it."""
        self.ask("DELETE", f"queues/%2F/{quote(queue)}")

    @contextmanager
    def away(self, queue: str) -> Iterator[None]:
        """Have a durable queue be as one of a cluster whose node is down: known, and not there."""
        name = f'{{resource, <<"/">>, queue, <<"{queue}">>}}'
        kept = f"[Q] = mnesia:dirty_read(rabbit_queue, {name}), persistent_term:put(away, Q)"
        self.control("eval", f"{kept}, mnesia:dirty_delete(rabbit_queue, {name}).")
        try:
            yield
        finally:
            self.control("eval", "mnesia:dirty_write(rabbit_queue, persistent_term:get(away)).")

    def queues(self) -> dict[str, Any]:
        """Return all queues by name."""
        return {queue["name"]: queue for queue in self.ask("GET", "queues/%2F")}

    def user(
        self,
        password: str,
        *,
        configure: str = ".*",
        write: str = ".*",
        read: str = ".*",
        tags: str = "management",
    ) -> str:
        """Make a user and return the name; the rights are patterns of names."""
        name = f"user-{secrets.token_hex(4)}"
        self.set_password(name, password, tags=tags)
        rights = {"configure": configure, "write": write, "read": read}
        self.ask("PUT", f"permissions/%2F/{name}", rights)
        return name

    def set_password(self, user: str, password: str, *, tags: str = "management") -> None:
        """Make a user, or give one another password."""
        self.ask("PUT", f"users/{user}", {"password": password, "tags": tags})

    def close_connections(self, user: str) -> None:
        """Close all connections of a user, as an operator does."""
        self.control("close_all_user_connections", user, "a test closes it")

    # ------------------------------------------------------------------ inside

    def _environment(self) -> dict[str, str]:
        folder = self._directory
        return {
            "PATH": f"{os.environ.get('PATH', os.defpath)}:{SYSTEM_PATH}",
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._dist),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _ERLANG,
            "ERL_EPMD_PORT": str(self._epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }

    def _write_configuration(self) -> None:
        self_signed(self._directory)
        (self._directory / "plugins").write_text("[rabbitmq_management].\n")
        (self._directory / "advanced.config").write_text(_ADVANCED)
        (self._directory / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            f"listeners.ssl.1 = 127.0.0.1:{self.tls_port}\n"
            f"ssl_options.cacertfile = {self.authority}\n"
            f"ssl_options.certfile = {self.authority}\n"
            f"ssl_options.keyfile = {self._directory / 'server.key'}\n"
            "management.tcp.ip = 127.0.0.1\n"
            f"management.tcp.port = {self.management}\n"
            "disk_free_limit.absolute = 1MB\n"
            "log.console = false\n"
        )

    def _start(self, *command: str) -> subprocess.Popen[bytes]:
        with (self._directory / "server.log").open("ab") as printed:
            return subprocess.Popen(
                command,
                cwd=self._directory,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
                start_new_session=True,
            )

    def _wait(self) -> None:
        end = time.monotonic() + PATIENCE
        while not self._is_ready():
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > end:
                printed = (self._directory / "server.log").read_text(errors="replace")[-4000:]
                pytest.fail(f"RabbitMQ is not ready\n{printed}", pytrace=False)
            time.sleep(0.1)

    def _is_ready(self) -> bool:
        try:
            found = self.ask("GET", "healthchecks/node")
        except (urllib3.exceptions.HTTPError, AssertionError):
            return False
        return found is not None and found.get("status") == "ok"


@pytest.fixture(scope="session")
def rabbit_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitServer]:
    """Run one broker for the session; tests that use it are marked ``service("rabbitmq")``."""
    if reason := absence("rabbitmq"):
        pytest.skip(f"service rabbitmq: {reason}")
    server = RabbitServer(tmp_path_factory.mktemp("rabbitmq"))
    with server.running():
        yield server
