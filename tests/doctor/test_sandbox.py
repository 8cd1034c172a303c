"""The sandbox is started for real, and looked out of; the user of experiments looks, too."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from runner.doctor import identity, sandbox
from runner.doctor.check import Verdict
from runner.errors import Misconfigured
from runner.settings import Settings
from tests.doctor.conftest import Clinic

pytestmark = pytest.mark.anyio

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root: another user is needed")
_ROOT = Path(__file__).parents[2]


async def test_a_run_starts_and_sees_no_secret(clinic: Clinic) -> None:
    """What is there of credentials, records and messages is looked for from inside."""
    clinic.aws("http://127.0.0.1:1")
    (clinic.root / "state" / "runs").mkdir(parents=True)
    (clinic.root / "state" / "owner").write_text("somebody")
    found = await clinic.look(sandbox.look, await clinic.patient())
    assert found.about("start").verdict is Verdict.OK, found
    hiding = found.about("hiding")
    assert hiding.verdict is Verdict.OK, hiding
    assert "sees none of" in hiding.sentence
    assert sorted(path.name for path in (clinic.root / "state").iterdir()) == ["owner", "runs"]


@needs_root
async def test_a_working_directory_that_nobody_may_pass_fails(clinic: Clinic) -> None:
    """With the directory that is closed, and the command that opens it."""
    closed = clinic.root / "closed"
    (closed / "work").mkdir(parents=True)
    clinic.root.chmod(0o711)
    _open_the_way_to(clinic.root)
    closed.chmod(0o700)
    argv = ("--run-as", "65534:65534", "--working-dir", str(closed / "work"))
    told = (await clinic.look(identity.look, await clinic.patient(*argv))).about("--working-dir")
    assert told.verdict is Verdict.FAILED
    assert told.remedy.startswith(f"chmod o+x {closed}")
    # What the daemon opens with its first experiment is no trouble, and not the doctor's to open.
    argv = ("--run-as", "65534:65534", "--working-dir", str(closed))
    patient = await clinic.patient(*argv)
    found = await clinic.look(identity.look, patient)
    assert not [one for one in found.findings if "--working-dir" in one.about]
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@needs_root
async def test_the_user_of_experiments_is_tried_on_the_credentials(clinic: Clinic) -> None:
    """One that can read them is a warning even where a sandbox would hide them."""
    clinic.aws("http://127.0.0.1:1")
    clinic.root.chmod(0o711)
    _open_the_way_to(clinic.root)
    patient = await clinic.patient("--run-as", "65534:65534")
    certs = str(clinic.root / "certs")
    found = await clinic.look(identity.look, patient)
    assert found.about(certs).verdict is Verdict.OK
    (clinic.root / "certs").chmod(0o755)
    found = await clinic.look(identity.look, patient)
    assert found.about(certs).verdict is Verdict.WARNING
    assert found.about(certs).remedy == f"chmod go-rwx {certs}"


@needs_root
async def test_a_number_that_is_no_user_is_a_warning(clinic: Clinic) -> None:
    """It runs, and surprises programs that ask for its name."""
    found = await clinic.look(identity.look, await clinic.patient("--run-as", "54321:54321"))
    assert found.saying("no user of this machine has the number 54321").verdict is Verdict.WARNING


def _somebody(uid: int) -> subprocess.Popen[bytes]:
    sleep = ["/bin/sleep", "600"]
    return subprocess.Popen(sleep, user=uid, group=uid, extra_groups=(), start_new_session=True)


@needs_root
async def test_every_user_of_a_pool_is_looked_at(clinic: Clinic) -> None:
    """How many there are, who has no account, who has processes, and what any of them can read."""
    clinic.aws("http://127.0.0.1:1")
    clinic.root.chmod(0o711)
    _open_the_way_to(clinic.root)
    certs = clinic.root / "certs"
    first = 54_000 + os.getpid() % 5_000 * 2
    certs.chmod(0o750)
    os.chown(certs, 0, first + 1)
    somebody = _somebody(first)
    try:
        pool = f"{first}:{first},{first + 1}:{first + 1}"
        found = await clinic.look(identity.look, await clinic.patient("--run-as", pool))
    finally:
        somebody.kill()
        somebody.wait()
    assert found.saying("a user of its own: 2 at a time").verdict is Verdict.OK
    assert found.saying(f"has the number {first + 1}").verdict is Verdict.WARNING
    assert found.saying(f"{first} has processes now").verdict is Verdict.SKIPPED
    assert found.about(str(certs)).verdict is Verdict.WARNING


def test_a_user_that_is_not_there_is_refused() -> None:
    """By its name, before anything is looked at."""
    with pytest.raises(Misconfigured, match="nobody-of-this-name"):
        Settings.load(["--run-as", "nobody-of-this-name"], {}, command="doctor")


@needs_root
def test_an_ordinary_user_cannot_run_experiments_as_another(tmp_path: Path) -> None:
    """It is told as failed, with both ways out; and the doctor works as that user."""
    tmp_path.chmod(0o777)
    _open_the_way_to(tmp_path)
    places = {"state-dir": "state", "certs-dir": "certs", "queue-root": "queues"}
    options = [word for name, at in places.items() for word in (f"--{name}", str(tmp_path / at))]
    done = subprocess.run(
        [
            *(*_AS_NOBODY, sys.executable, "-m", "runner"),
            *("doctor", "identity", "sandbox", "kernel", *options, "--run-as", "1:1"),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=_ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 14, done.stdout + done.stderr
    assert "only root can run experiments as another user" in done.stdout
    assert "a run was started in the sandbox" in done.stdout
    assert "the doctor itself failed" not in done.stdout


#: The interpreter of the tests may lie where only root can read.
_AS_NOBODY = (
    *("/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
)


def _open_the_way_to(place: Path) -> None:
    """Let other users pass to a directory of the test."""
    for path in place.parents:
        if path.stat().st_uid == 0 and not path.stat().st_mode & 1:
            path.chmod(0o711)
