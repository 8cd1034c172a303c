"""The tutorial's commands do what it says, word for word."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
_PATIENCE = 110.0
#: What root's daemon would have elsewhere lies where an ordinary user's does, and touches no other.
_PLACES = {
    "QUEUE_ROOT": ".local/share/studio-runner/queues",
    "LOCAL_STORE_ROOT": ".local/share/studio-runner/store",
    "STATE_DIR": ".local/state/studio-runner",
    "CERTS_DIR": ".config/studio-runner/certs",
    "LOCK_DIR": "locks",
}
_FOREIGN = ("AWS_", "GOOGLE_", "PUBSUB_", "AMQP_", "STUDIO_RUNNER_", "SLACK_", "XDG_")
#: Beside the commands: nothing is passed over that fails.
_STRICT = "set -euo pipefail\n"


def test_the_set_up_is_one_command() -> None:
    """The first block, where it changes nothing: with another lock it would install that."""
    set_up, *_ = _blocks()
    assert set_up == "make setup\n. .venv/bin/activate\n"
    stamp = ROOT / ".venv/.installed"
    wanted = _stamp()
    if not stamp.is_file() or stamp.read_text() != wanted:
        pytest.skip("make setup would install something: .venv is not of the lock files")
    done = subprocess.run(
        ["/bin/bash", "-c", f"{_STRICT}{set_up}command -v studio-runner"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("MAKE", "MFLAGS"))
        },
    )
    assert done.stdout.strip() == str(ROOT / ".venv/bin/studio-runner")


def test_a_stranger_gets_through_the_tutorial(tmp_path: Path) -> None:
    """Every command, in order, in one shell, with a home of its own."""
    _, *blocks = _blocks()
    said = _play("".join(blocks), tmp_path)
    assert "first: completed, attempt 1" in said
    assert '{"epoch": 200, "accuracy":' in said
    for number, rate in enumerate(("0.01", "0.1", "1"), start=1):
        assert f"rates-{number}\t{rate}\tcompleted\t" in said
    assert "local_iris" in said
    assert "modeldir.tar" in said
    assert "exit status 2" in said
    assert "Read the end of the output" in said
    assert "cancelled" in said
    assert not (tmp_path / ".local/state/studio-runner/control.sock").exists()


def _blocks() -> list[str]:
    return _BLOCK.findall((ROOT / "docs/tutorial.md").read_text(encoding="utf-8"))


def _stamp() -> str:
    files = ("dev.txt", "installer.txt", "install.sh")
    named = [*(f"requirements/{file}" for file in files), "pyproject.toml", "runner/__init__.py"]
    command = f'printf \'%s in %s\' "$(cat {" ".join(named)} | cksum)" "$(pwd -P)"'
    return subprocess.check_output(["/bin/sh", "-c", command], cwd=ROOT, text=True) + "\n"


def _play(commands: str, home: Path) -> str:
    """Run them and return what they said; whatever they started is over afterwards."""
    with subprocess.Popen(
        ["/bin/bash", "-c", _STRICT + commands],
        cwd=ROOT,
        env=_environ(home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as shell:
        try:
            said, _ = shell.communicate(timeout=_PATIENCE)
        except subprocess.TimeoutExpired as late:
            said = str(late)
        finally:  # a daemon that was not drained ends here, and its runs
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGTERM)
                os.killpg(shell.pid, signal.SIGTERM)
    log = home / "iris-daemon.log"
    assert shell.returncode == 0, said + (log.read_text() if log.is_file() else "")
    return said


def _environ(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    places = {name: str(home / place) for name, place in _PLACES.items()}
    as_root = {"ALLOW_ROOT_EXPERIMENTS": "true"} if os.geteuid() == 0 else {}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**kept, **places, **as_root, "HOME": str(home), "PATH": path, "LISTEN": ""}
