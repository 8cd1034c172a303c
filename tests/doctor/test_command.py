"""The command: what is looked at, what is printed, and that it can be ended at any time."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from subprocess import PIPE

import pytest

from runner.cli import main
from runner.doctor.check import STATUS, VERSION, Area
from runner.doctor.subjects import NAMES
from tests.own_places import stand_in

_ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand on a machine with nothing on it."""
    stand_in(tmp_path, monkeypatch)
    monkeypatch.setenv("ALLOW_ROOT_EXPERIMENTS", "true")
    monkeypatch.setenv("LISTEN", "127.0.0.1:0")
    return tmp_path


def test_the_document_names_version_status_and_checks(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the classes that were asked for alone; the exit status is in it."""
    (home / "certs" / "bad").mkdir(parents=True)
    (home / "certs" / "bad" / "url").write_text("amqp://nobody\n")
    status = main(["doctor", "--json", "credentials", "machine"])
    told = json.loads(capsys.readouterr().out)
    assert told["version"] == VERSION
    assert status == told["status"] == 10
    assert {one["name"] for one in told["checks"]} == {"credentials", "keys", "machine"}
    assert set(told["checks"][0]) == {
        *("name", "area", "verdict", "sentence", "remedy", "about", "seconds")
    }


def test_lines_come_for_people(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A class takes all that belongs to it."""
    assert main(["doctor", "stores", "--write", "--store", str(home / "other")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sorted(line.split()[2] for line in lines[:3]) == ["fleet", "stores", "stores"]
    assert str(home / "other") in "".join(lines)
    assert lines[-1].endswith("exit status 0")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["queue"], "did you mean queues?"),
        (["--max-cores", "many"], "--max-cores"),
        (["--store", "gs://"], "gs://BUCKET"),
    ],
)
def test_what_cannot_be_understood_is_said(
    home: Path, argv: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is looked at, with status 2."""
    assert home.is_dir()
    assert main(["doctor", *argv]) == 2
    assert words in capsys.readouterr().err


def test_every_class_has_subjects() -> None:
    """And each can be asked for by its name."""
    assert {str(area) for area in Area} <= set(NAMES)


def test_an_interrupt_leaves_nothing(home: Path) -> None:
    """Ctrl-C in the midst of a look at a store that never answers: nothing stays of it."""
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        store = f"s3://127.0.0.1:{silent.getsockname()[1]}/bucket"
        command = (sys.executable, "-m", "runner", "doctor", "stores", "sandbox")
        with subprocess.Popen(
            [*command, "--store", store], stdout=PIPE, stderr=PIPE, text=True, cwd=_ROOT
        ) as doctor:
            assert doctor.stdout is not None
            doctor.stdout.readline()
            doctor.send_signal(signal.SIGINT)
            _, said = doctor.communicate(timeout=60)
    assert doctor.returncode == 130, said
    assert "Traceback" not in said
    assert not (home / "state").exists()


def test_the_command_ends_although_a_thread_hangs() -> None:
    """Python would wait for it; the status is that of what was found."""
    script = (
        "import threading; from runner.cli.doctor import ended\n"
        "threading.Thread(target=threading.Event().wait).start()\n"
        "print('all is told'); raise SystemExit(ended(16))"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (16, b"all is told\n")


def test_the_manual_names_every_subject_class_and_status() -> None:
    """What can be asked for is what is documented."""
    text = (_ROOT / "docs/doctor.md").read_text()
    for name in NAMES:
        assert f"`{name}`" in text
    for area, status in STATUS.items():
        assert f"| `{area}` | {status} |" in text
