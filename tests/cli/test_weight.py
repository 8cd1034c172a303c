"""What the client commands load: no SDK that is not used, nothing that Linux alone has."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.cli.conftest import Desk

_SDKS = ("boto3", "botocore", "google.auth", "google.cloud", "grpc", "aiormq", "minio")
#: What opens stores, packs directories and keeps runs: a question to the daemon needs none of it.
_MORE = (
    *("msgspec", "structlog", "pathspec", "tarfile", "runner.client.shop", "runner.queues.base"),
    *("runner.stores.base", "runner.lifecycle.history", "runner.lifecycle.runs.kept"),
)
#: What Python on macOS does not have.
_LINUX = {
    "os": (
        "sched_getaffinity",
        "pidfd_open",
        "memfd_create",
        "setns",
        "unshare",
        "eventfd",
        "splice",
        "copy_file_range",
        "getxattr",
        "setxattr",
        "listxattr",
        "removexattr",
        "posix_fadvise",
        "posix_fallocate",
        "O_PATH",
        "O_TMPFILE",
        "O_DIRECT",
    ),
    "signal": ("pidfd_send_signal", "SIGPWR"),
    "socket": ("AF_NETLINK", "SO_PEERCRED"),
}


def _run(code: str, *argv: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *argv]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)


@pytest.mark.parametrize(
    "argv",
    [
        ("submit", "--help"),
        ("submit", "train.py"),
        ("queue", "peek", "local_default"),
        ("queue", "list"),
        ("status", "k1", "--help"),
        ("logs", "--help"),
        ("cancel", "--help"),
        ("results", "--help"),
        ("plot", "--help"),
        ("fetch", "--help"),
    ],
)
def test_local_work_loads_no_sdk(desk: Desk, argv: tuple[str, ...]) -> None:
    """Who has local queues and a directory waits for no broker's or store's library."""
    del desk
    done = _run(_without(_SDKS), *argv)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["status", "suspend", "drain", "gpus", "completion"])
def test_who_asks_the_daemon_waits_for_nothing_else(desk: Desk, name: str) -> None:
    """It is what people type most, and what a shell asks for keys: modules are most of its time."""
    del desk
    done = _run(_without(_MORE), name, "--help")
    assert done.returncode == 0, done.stderr


def _without(modules: tuple[str, ...]) -> str:
    """Return a program that runs a command, and ends with 90 where one of these is loaded."""
    return (
        "import sys\nfrom runner.cli import main\n"
        "try:\n    status = main(sys.argv[1:])\nexcept SystemExit as ended:\n"
        "    status = ended.code or 0\n"
        f"loaded = sorted(set({modules!r}) & set(sys.modules))\n"
        "print(loaded, file=sys.stderr) if loaded else None\n"
        "sys.exit(90 if loaded else status)"
    )


def test_the_client_works_where_linux_is_not(desk: Desk) -> None:
    """Submitting, looking, fetching and cancelling need nothing that macOS lacks."""
    code = (
        "import sys\n"
        f"for name, parts in {_LINUX!r}.items():\n"
        "    module = __import__(name)\n"
        "    for part in parts:\n"
        "        if hasattr(module, part): delattr(module, part)\n"
        "import ctypes\n"
        "class Library:\n"
        "    _name = 'none'\n"
        "    def __init__(self, *a, **k): pass\n"
        "ctypes.CDLL = Library\n"
        "from runner.cli import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    for argv, status in (
        (("submit", "--key", "k1", "train.py"), 0),
        (("queue", "list"), 0),
        (("queue", "peek", "local_default"), 0),
        (("status", "k1"), 0),
        (("status",), 0),
        (("logs", "k1"), 1),  # there is no output yet
        (("results", "k1"), 0),
        (("fetch", "k1", "workspace"), 0),
        (("cancel", "k1"), 0),
        (("queue", "purge", "local_default", "--yes", "local_default"), 0),
    ):
        done = _run(code, *argv)
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
    assert desk.messages() == []
