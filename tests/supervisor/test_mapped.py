"""Files of one user that are shown as another's: what is kept is root's, and each run's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runner.sandboxes.base import Identity
from runner.sandboxes.plain import try_mounts
from tests.passage import open_to_all

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="takes root, as every pool does")

REPOSITORY = Path(__file__).parents[2]
USER = Identity(61001, 61000)
#: Mounts as the supervisor does, becomes the user, and does all that an owner may.
_SCRIPT = f"""
import json, os, sys
sys.path.append({str(REPOSITORY)!r})
from runner.supervisor import mapped, syscalls
lower, target, upper, work = (os.fsencode(word) for word in sys.argv[1:])
syscalls.leave_mount_namespace()
mapped.show_as(lower, (61001, 61000))
syscalls.mount_overlay(target, lower, upper, work, privileged=True)
os.setgroups([]); os.setresgid(61000, 61000, 61000); os.setresuid(61001, 61001, 61001)
os.chdir(target)
found = {{name: [os.stat(name).st_uid, os.stat(name).st_gid, os.stat(name).st_mode & 0o7777]
         for name in ("script", "folder", "folder/secret")}}
with open("folder/secret", "a") as file:
    file.write("mine")
os.chmod("script", 0o700)
os.utime("script", (1, 1))
os.rename("folder", "moved")
try:
    open(os.path.join(lower, b"script"), "a")
except OSError as error:
    found["lower"] = type(error).__name__
print(json.dumps(found))
"""


def test_a_kept_tree_is_the_users_own_and_stays_as_it_was(tmp_path: Path) -> None:
    """With modes and times; what is changed lies beside it, and is the user's there as well."""
    open_to_all(tmp_path)
    lower, target, upper, work = (tmp_path / name for name in ("lower", "target", "upper", "work"))
    for path in (lower, target, upper, work, lower / "folder"):
        path.mkdir()
    (lower / "script").write_text("kept")
    (lower / "script").chmod(0o755)
    (lower / "folder" / "secret").write_text("kept")
    (lower / "folder" / "secret").chmod(0o600)
    (lower / "folder").chmod(0o700)
    os.chown(upper, USER.uid, USER.gid)
    if not try_mounts(lower=lower, upper=tmp_path, identity=USER):
        pytest.skip("this kernel, or the file system, shows files as they are")
    places = map(str, (lower, target, upper, work))
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, *places], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout) == {
        "script": [USER.uid, USER.gid, 0o755],
        "folder": [USER.uid, USER.gid, 0o700],
        "folder/secret": [USER.uid, USER.gid, 0o600],
        "lower": "OSError",
    }
    kept = {path.name: path.stat() for path in lower.rglob("*")}
    assert {state.st_uid for state in kept.values()} == {0}
    assert kept["script"].st_mode & 0o777 == 0o755
    assert (lower / "folder" / "secret").read_text() == "kept"
    assert (upper / "moved" / "secret").read_text() == "keptmine"
    assert {path.stat().st_uid for path in upper.rglob("*") if path.is_file()} == {USER.uid}


def test_where_it_cannot_be_done_that_is_found_out_first(tmp_path: Path) -> None:
    """Then what is kept is copied for each run: not of a directory that is not there."""
    assert not try_mounts(lower=tmp_path / "gone", upper=tmp_path, identity=USER)
    assert list(tmp_path.iterdir()) == []
