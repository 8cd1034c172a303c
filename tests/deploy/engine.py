"""A container engine of the tests' own, and an image of Python that it gets without a registry."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.services import SYSTEM_PATH

#: Unpacking a distribution takes a minute: kept beside what else tests install.
BASE_FILES = Path(__file__).parents[2] / ".make/python-base.tar"
BASE = "python:3.11-slim"
_PACKAGES = "ca-certificates,python3,python3-dev,python3-venv"
#: The machine's own, where it checks what it talks to by an authority of its own.
_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
_PATIENCE = 60.0
PATH = os.pathsep.join(("/usr/bin:/bin", SYSTEM_PATH))


@dataclass(frozen=True, slots=True)
class Engine:
    """A running dockerd."""

    socket: Path

    @property
    def client(self) -> str:
        """The words before every command, for a shell too."""
        return f"docker --host unix://{self.socket}"

    @property
    def environ(self) -> Mapping[str, str]:
        """What the client needs; the classic builder."""
        return {"PATH": PATH, "HOME": str(self.socket.parent), "DOCKER_BUILDKIT": "0"}

    def run(self, *words: str, check: bool = True) -> str:
        """Run a command of the client; return what it prints, complaints included."""
        done = subprocess.run(
            [*self.client.split(), *words],
            env=dict(self.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if check and done.returncode != 0:
            pytest.fail(f"docker {' '.join(words)}: {done.stdout}", pytrace=False)
        return done.stdout.strip()

    def inspect(self, what: str, form: str) -> str:
        """Return one thing of an image or container."""
        return self.run("inspect", "--format", form, what)


@contextmanager
def engine(directory: Path) -> Iterator[Engine]:
    """Run dockerd in an empty directory, without any network of its own; end it and its traces."""
    place = Engine(directory / "docker.sock")
    command = ["dockerd", "--host", f"unix://{place.socket}", "--pidfile", f"{directory}/pid"]
    command += ["--data-root", f"{directory}/data", "--exec-root", f"{directory}/exec"]
    command += ["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"]
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen(
            command, env=dict(place.environ), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        _wait(place, server, directory / "log")
        yield place
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(_PATIENCE)
        _unmount(directory)
        shutil.rmtree(directory / "data")


def _unmount(directory: Path) -> None:
    """Take away what dockerd leaves: the mount that keeps its own network namespace."""
    mounts = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    for place in (line.split()[1] for line in reversed(mounts)):
        if Path(place).is_relative_to(directory):
            subprocess.run(["umount", place], env={"PATH": PATH}, check=True)  # noqa: S607 - found in PATH


def _wait(place: Engine, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _PATIENCE
    while "Server Version" not in place.run("info", check=False):
        if server.poll() is not None or time.monotonic() > end:
            pytest.fail(f"dockerd is not ready\n{log.read_text()[-4000:]}", pytrace=False)
        time.sleep(0.2)


def import_base(place: Engine, scratch: Path) -> None:
    """Give the engine an image of Debian with its Python, made here from Debian's packages."""
    if not BASE_FILES.exists():
        _make_base(scratch / "base", BASE_FILES)
    authorities = f"ENV SSL_CERT_FILE={_AUTHORITIES} PIP_CERT={_AUTHORITIES}"
    place.run("import", "--change", authorities, str(BASE_FILES), BASE)


def _make_base(root: Path, result: Path) -> None:
    environ = {"PATH": PATH, "HOME": str(root.parent), "LC_ALL": "C"}
    words = ["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", "bookworm", str(root)]
    done = subprocess.run(words, env=environ, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.fail(f"debootstrap: {done.stdout[-2000:]}{done.stderr[-2000:]}", pytrace=False)
    shutil.copyfile(_AUTHORITIES, root / _AUTHORITIES.relative_to("/"))
    shutil.rmtree(root / "var/cache/apt")
    result.parent.mkdir(exist_ok=True)
    part = result.with_suffix(".part")
    words = ["tar", "--create", "--file", str(part), "--directory", str(root), "."]
    subprocess.run(words, env=environ, check=True)
    part.rename(result)
    shutil.rmtree(root)
