"""The shared copy stays as it was built: as root, as another user, as an ordinary user."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from runner.environments import protection
from runner.environments.base import Attachment, Environment, EnvironmentSpec
from runner.errors import Misconfigured, RequirementsFailed
from runner.model import Identity
from runner.removal import remove_quickly
from tests.contracts.environments import run
from tests.environments import packages
from tests.environments.conftest import NOBODY, Opener, until

pytestmark = pytest.mark.anyio

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who can be anybody")
APPEND = "open({path!r}, 'a').write('print(1)')"


def spec(*requirements: str, scope: str = "us") -> EnvironmentSpec:
    """Return what an experiment wants."""
    return EnvironmentSpec(None, requirements, scope)


def module_of(environment: Environment) -> Path:
    """Return a file of the shared copy."""
    return next(environment.root.glob("lib/*/site-packages/colours/__init__.py"))


def as_nobody(attachment: Attachment, code: str) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in the attachment as the experiment's user."""
    return subprocess.run(
        [str(attachment.python), "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={"HOME": "/nonexistent", **attachment.variables},
        user=NOBODY.uid,
        group=NOBODY.gid,
        extra_groups=(),
    )


async def test_a_changed_environment_is_built_anew_at_the_next_attachment(
    opener: Opener, reports: list[str], tmp_path: Path
) -> None:
    """Where experiments run as the owner, a look at every attachment finds what one changed."""
    async with opener() as environments, environments.lease(spec("colours==1.0")) as environment:
        await environments.attach(environment, tmp_path / "first")
        module = module_of(environment)
        module.chmod(0o644)
        with module.open("a") as file:
            file.write("VERSION = 'spoilt'\n")
        attachment = await environments.attach(environment, tmp_path / "second")
        code = "import colours; print(colours.VERSION)"
        assert run(attachment, code, tmp_path) == "1.0"
        await environments.attach(environment, tmp_path / "third")
    assert len([text for text in reports if "changed by an experiment" in text]) == 1


async def test_times_and_sizes_put_back_do_not_deceive(opener: Opener, tmp_path: Path) -> None:
    """A change of equal length with the old times restored is found."""
    async with opener() as environments, environments.lease(spec("colours==1.0")) as environment:
        module = module_of(environment)
        before = module.stat()
        module.chmod(0o644)
        module.write_text(module.read_text().replace("1.0", "9.9"))
        module.chmod(0o444)
        os.utime(module, ns=(before.st_atime_ns, before.st_mtime_ns))
        attachment = await environments.attach(environment, tmp_path / "run")
        assert run(attachment, "import colours; print(colours.VERSION)", tmp_path) == "1.0"


async def test_an_added_module_is_found(opener: Opener, tmp_path: Path) -> None:
    """What a run put among the shared packages is gone for the next one."""
    async with opener() as environments, environments.lease(spec("colours==1.0")) as environment:
        folder = module_of(environment).parent.parent
        folder.chmod(0o755)
        (folder / "planted.py").write_text("")
        attachment = await environments.attach(environment, tmp_path / "run")
        with pytest.raises(AssertionError, match="No module named 'planted'"):
            run(attachment, "import planted", tmp_path)


@as_root
async def test_another_user_cannot_write(opener: Opener, public: Path) -> None:
    """The files are root's; the experiment imports them, runs pip, and can change nothing."""
    async with (
        opener(root=public / "envs", uv_cache=None, run_identity=NOBODY) as environments,
        environments.lease(spec("colours==1.0")) as environment,
    ):
        attachment = await environments.attach(environment, public / "run")
        fine = as_nobody(attachment, "import colours; print(colours.VERSION)")
        assert (fine.stdout, fine.stderr) == ("1.0\n", "")
        refused = as_nobody(attachment, APPEND.format(path=str(module_of(environment))))
        assert "Permission denied" in refused.stderr
        own = as_nobody(attachment, "import site; open(site.getsitepackages()[0] + '/x.py', 'w')")
        assert own.returncode == 0


@as_root
async def test_root_is_stopped_by_a_read_only_bind(opener: Opener, tmp_path: Path) -> None:
    """With ``Environment.root`` bound read-only even root cannot append, and all works."""
    async with opener() as environments, environments.lease(spec("colours==1.0")) as environment:
        attachment = await environments.attach(environment, tmp_path / "run")
        module = module_of(environment)
        before = module.read_text()
        bind = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && exec "$2" -c "$3"'
        code = "import colours; " + APPEND.format(path=str(module))
        python = str(attachment.python)
        argv = ["/usr/bin/unshare", "-m", "/bin/sh", "-c", bind, "sh", str(environment.root)]
        done = await anyio.run_process([*argv, python, code], check=False)
        if b"unshare" in done.stderr or b"mount:" in done.stderr:
            pytest.skip("this container may not mount")
        assert b"Read-only file system" in done.stderr
        assert module.read_text() == before


@as_root
async def test_a_build_that_runs_code_does_so_as_another_user(opener: Opener, public: Path) -> None:
    """What it leaves is given to root, without the set-user bits it may have set."""
    folder = public / "shelf"
    packages.source(folder, "handmade", code="os.chmod(os.getcwd(), 0o700)")
    folder.chmod(0o755)
    options = {"find_links": (str(folder),), "uv_cache": None, "build_identity": NOBODY}
    async with (
        opener(root=public / "envs", **options) as environments,
        environments.lease(spec("handmade")) as environment,
    ):
        attachment = await environments.attach(environment, public / "run")
        done = as_nobody(attachment, "import handmade; print(handmade.BY)")
        assert (done.stdout, done.stderr) == (f"{NOBODY.uid}\n", "")
    owners = {path.lstat().st_uid for path in environment.root.rglob("*")}
    assert owners == {0}
    caches = list((public / "envs" / "uv" / "scopes").iterdir())
    assert [path.stat().st_uid for path in caches] == [0]


@as_root
async def test_a_directory_that_the_user_cannot_enter_is_refused(
    opener: Opener, tmp_path: Path
) -> None:
    """The operator is told which directory is closed."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(Misconfigured, match="may not pass through"):
        async with opener(root=closed / "envs", run_identity=NOBODY):
            pass


@as_root
def test_sealing_refuses_what_is_not_the_builders_own(tmp_path: Path) -> None:
    """A second name of somebody else's file would become readable to all."""
    (tmp_path / "tree").mkdir()
    os.chown(tmp_path / "tree", NOBODY.uid, NOBODY.gid)
    (tmp_path / "secret").write_text("secret")
    os.link(tmp_path / "secret", tmp_path / "tree" / "name")
    with pytest.raises(RequirementsFailed, match="not its own"):
        protection.seal(tmp_path / "tree", NOBODY)


def test_sealing_refuses_devices_and_pipes(tmp_path: Path) -> None:
    """Only files, links and directories belong into an environment."""
    (tmp_path / "tree").mkdir()
    os.mkfifo(tmp_path / "tree" / "pipe")
    with pytest.raises(RequirementsFailed, match="no ordinary file"):
        protection.seal(tmp_path / "tree", None)


def test_sealing_takes_set_user_bits_and_follows_no_link(tmp_path: Path) -> None:
    """A link's target keeps its mode; a program stays executable, and no more than that."""
    outside, tree = tmp_path / "outside", tmp_path / "tree"
    outside.write_text("")
    outside.chmod(0o640)
    tree.mkdir()
    (tree / "program").write_text("")
    (tree / "program").chmod(0o4755)
    (tree / "link").symlink_to(outside)
    protection.seal(tree, None)
    assert stat.S_IMODE((tree / "program").stat().st_mode) == 0o555
    assert stat.S_IMODE(outside.stat().st_mode) == 0o640
    remove_quickly(tree)
    assert not tree.exists()
    assert outside.exists()


_KILLED = """\
import anyio, sys
from pathlib import Path
from runner.environments.base import EnvironmentSpec
from runner.environments.uv import UvEnvironments
from runner.model import Bytes

async def main(root, shelf):
    options = {"limit": Bytes(1 << 30), "find_links": (shelf,), "no_index": True}
    async with UvEnvironments(Path(root), **options) as environments:
        async with environments.lease(EnvironmentSpec(None, ("slow",), "us")):
            pass

anyio.run(main, *sys.argv[1:])
"""


async def test_a_killed_daemon_leaves_no_half_build(
    opener: Opener, shelf: Path, tmp_path: Path
) -> None:
    """SIGKILL in the middle: the next start ends what still builds, sweeps, and builds again."""
    ready = tmp_path / "ready"
    marker = f"import os, time\nopen({str(ready)!r}, 'w').write(str(os.getpid()))\n"
    packages.source(shelf, "slow", code=marker + "time.sleep(1000)")
    command = [sys.executable, "-c", _KILLED, str(tmp_path / "envs"), str(shelf)]
    async with await anyio.open_process(command, stdin=None, stdout=None, stderr=None) as daemon:
        await until(lambda: ready.exists() and ready.read_text())
        daemon.kill()
    builder = int(ready.read_text())
    assert list((tmp_path / "envs" / "built").iterdir()) == []
    packages.source(shelf, "slow")
    async with opener() as environments:
        assert list((tmp_path / "envs" / "staging").iterdir()) == []
        await until(lambda: not _runs(builder))
        async with environments.lease(spec("slow")) as environment:
            assert not environment.reused


def _runs(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_two_daemons_on_one_directory_build_once(opener: Opener) -> None:
    """What one builds the other waits for; and neither evicts what the other uses."""
    reused: list[bool] = []
    async with opener() as one, opener() as two:

        async def ask(which: int) -> None:
            async with (one, two)[which].lease(spec("colours==1.0")) as found:
                reused.append(found.reused)

        async with anyio.create_task_group() as group:
            group.start_soon(ask, 0)
            group.start_soon(ask, 1)
    assert sorted(reused) == [False, True]


def test_an_ordinary_daemon_is_nobody_else() -> None:
    """Without root the identities mean nothing, and every attachment is looked at."""
    if os.geteuid() == 0:
        found = protection.Protection.of(None, Identity(0, 0))
        assert found.is_root
    else:
        found = protection.Protection.of(NOBODY, NOBODY)
        assert (found.builder, found.runner, found.is_root) == (None, None, False)
    assert not found.is_by_ownership


def test_removing_what_is_not_there_is_fine(tmp_path: Path) -> None:
    """Two that sweep at once do not fall over each other."""
    remove_quickly(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
