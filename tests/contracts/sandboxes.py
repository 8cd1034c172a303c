"""What every sandbox promises; a backend inherits this and supplies the fixtures."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from runner.lifecycle.runs.run import Exit, Run
from runner.sandboxes.base import Bind, Command, Overlay, Sandbox
from tests.lifecycle.runs import ENV, Runs, ended, runs_below

NASTY = ("", " ", "'\"\\", "a\nb", "; rm -rf /", "$(id)", "`id`", "%SLACK_HOOK%", "ü", "\udcff")


class SandboxContract:
    """The promises of ``runner.sandboxes.base``."""

    #: Registry name; set by the subclass.
    backend: str

    @pytest.fixture
    def sandbox(self) -> Sandbox:
        """The backend, as the daemon opens it on this machine."""
        raise NotImplementedError

    @pytest.fixture
    async def runs(self, tmp_path: Path) -> AsyncIterator[Runs]:
        """A directory for runs, without any left afterwards."""
        async with runs_below(tmp_path) as runs:
            yield runs

    async def run(self, sandbox: Sandbox, runs: Runs, command: Command) -> Exit:
        """Run a command in the sandbox under a real supervisor."""
        spec = replace(runs.spec(command.argv), launch=sandbox.launch(command))
        run = await Run.start(spec)
        exit_ = await ended(run)
        await run.forget()
        return exit_

    def command(self, runs: Runs, *argv: str, **changes: object) -> Command:
        """Return a command of the shell that is in every image."""
        command = Command(argv, runs.root, ENV, writable=(runs.root,))
        return replace(command, **changes)  # type: ignore[arg-type] # fields by name

    def test_its_name_is_the_registered_one(self, sandbox: Sandbox) -> None:
        """The backend calls itself what the registry calls it."""
        assert sandbox.name == self.backend

    @pytest.mark.parametrize("code", [0, 1, 42, 255])
    async def test_the_exit_code_passes_through(
        self, sandbox: Sandbox, runs: Runs, code: int
    ) -> None:
        """The exit code of the command is that of the launch."""
        command = self.command(runs, "/bin/sh", "-c", f"exit {code}")
        assert (await self.run(sandbox, runs, command)).code == code

    async def test_nothing_passes_a_shell(self, sandbox: Sandbox, runs: Runs) -> None:
        """Arguments arrive byte for byte."""
        command = self.command(runs, "/usr/bin/printf", "%s\\n-\\n", *NASTY)
        await self.run(sandbox, runs, command)
        assert runs.said().split(b"\n-\n") == [*map(os.fsencode, NASTY), b""]

    async def test_the_environment_arrives_as_it_is(self, sandbox: Sandbox, runs: Runs) -> None:
        """Values arrive byte for byte, and nothing of the daemon's comes along."""
        env = {f"V{i}": value for i, value in enumerate(NASTY)}
        command = self.command(runs, "/usr/bin/env", "-0", env=ENV | env)
        await self.run(sandbox, runs, command)
        seen = dict(item.split(b"=", 1) for item in runs.said().split(b"\0") if item)
        assert {name: seen[os.fsencode(name)] for name in env} == {
            name: os.fsencode(value) for name, value in env.items()
        }
        assert os.fsencode("PYTEST_CURRENT_TEST") not in seen

    async def test_the_command_runs_in_its_directory(self, sandbox: Sandbox, runs: Runs) -> None:
        """What it writes beside itself is there afterwards."""
        work = runs.root / "work"
        work.mkdir()
        command = self.command(runs, "/bin/sh", "-c", "echo made > result", cwd=work)
        assert (await self.run(sandbox, runs, command)).code == 0
        assert (work / "result").read_text() == "made\n"

    async def test_readonly_directories_can_be_read(self, sandbox: Sandbox, runs: Runs) -> None:
        """A directory that may not be changed may still be used."""
        shared = self.shared(runs)
        command = self.command(runs, "/bin/cat", f"{shared}/file", readonly=(shared,))
        assert (await self.run(sandbox, runs, command)).code == 0
        assert runs.said() == b"before\n"

    async def test_readonly_directories_cannot_be_changed(
        self, sandbox: Sandbox, runs: Runs
    ) -> None:
        """Not by the user that owns them either, where the backend says that it protects."""
        if not sandbox.protects:
            pytest.skip(f"{sandbox.name} cannot protect directories on this machine, and says so")
        shared = self.shared(runs)
        script = f"echo x >> {shared}/file; touch {shared}/new; rm {shared}/file; exit 0"
        command = self.command(runs, "/bin/sh", "-c", script, readonly=(shared,))
        assert (await self.run(sandbox, runs, command)).code == 0
        assert [path.name for path in shared.iterdir()] == ["file"]
        assert (shared / "file").read_text() == "before\n"

    def shared(self, runs: Runs) -> Path:
        """Make a directory with one file."""
        shared = runs.root / "shared"
        shared.mkdir()
        (shared / "file").write_text("before\n")
        return shared

    async def test_an_overlay_is_the_runs_own(self, sandbox: Sandbox, runs: Runs) -> None:
        """What a run does to its overlay it finds there again, and the lower directory never."""
        overlay = self.overlay(sandbox, runs)
        before = look(overlay.lower)
        command = self.command(
            runs, "/bin/sh", "-c", DAMAGE, cwd=overlay.target, overlays=(overlay,)
        )
        assert (await self.run(sandbox, runs, command)).code == 0, runs.said()
        assert runs.said() == b"before\nafter\nnew\nfile folder sub\n"
        assert look(overlay.lower) == before
        assert list(overlay.target.iterdir()) == []

    async def test_overlays_have_any_name(self, sandbox: Sandbox, runs: Runs) -> None:
        """No character of a path is taken for an option of the mount."""
        overlay = self.overlay(sandbox, runs, name="a,b:c\\d e=f,lowerdir=ü\n")
        command = self.command(runs, "/bin/cat", "file", cwd=overlay.target, overlays=(overlay,))
        assert (await self.run(sandbox, runs, command)).code == 0, runs.said()
        assert runs.said() == b"before\n"

    async def test_what_is_hidden_cannot_be_seen(self, sandbox: Sandbox, runs: Runs) -> None:
        """Not by its absolute path either, although an overlay was made from it."""
        overlay = self.overlay(sandbox, runs)
        before = look(overlay.lower)
        script = f"echo x >> {overlay.lower}/file; echo x > {overlay.lower}/more; cat file"
        command = self.command(
            runs,
            "/bin/sh",
            "-c",
            f"{{ {script}; }} 2> /dev/null",
            cwd=overlay.target,
            overlays=(overlay,),
            hidden=(overlay.lower.parent, runs.root / "gone"),
        )
        assert (await self.run(sandbox, runs, command)).code == 0, runs.said()
        assert runs.said() == b"before\n"
        assert look(overlay.lower) == before

    async def test_hidden_files_and_directories_are_closed(
        self, sandbox: Sandbox, runs: Runs
    ) -> None:
        """Neither read nor changed, whatever their modes; what is not there yet is no trouble."""
        self.need_hiding(sandbox)
        secrets = runs.root / "secrets"
        (secrets / "below").mkdir(parents=True)
        key = runs.root / "key"
        for file in (key, secrets / "one", secrets / "below" / "two"):
            file.write_text("before\n")
            file.chmod(0o666)
        script = (
            f"cat {key} {secrets}/one {secrets}/below/two; ls {secrets}; echo x >> {key}; "
            f"echo x >> {secrets}/one; echo x > {secrets}/new; mkdir {secrets}/more; echo done"
        )
        command = self.command(
            runs,
            *("/bin/sh", "-c", f"{{ {script}; }} 2> /dev/null"),
            hidden=(secrets, key, runs.root / "gone"),
        )
        assert (await self.run(sandbox, runs, command)).code == 0
        assert runs.said() == b"done\n"
        assert sorted(path.name for path in secrets.iterdir()) == ["below", "one"]
        assert {file.read_text() for file in (key, secrets / "one")} == {"before\n"}

    async def test_what_is_its_own_stays_in_a_hidden_directory(
        self, sandbox: Sandbox, runs: Runs
    ) -> None:
        """Overlays included: the run finds its directories, and nothing beside them."""
        self.need_hiding(sandbox)
        overlay = self.overlay(sandbox, runs, name="state")
        state = runs.root / "state"
        own, shared, needed = (state / "a" / name for name in ("own", "shared", "needed"))
        for path in (own, shared, needed, state / "a" / "other", own / "tree"):
            path.mkdir(parents=True)
            (path / "file").write_text(f"{path.name}\n")
        (own / "tree" / "file").unlink()
        script = (
            "cat file tree/file ../shared/file ../needed/file; (cd ..; echo *); echo x > new; "
            "echo x > tree/new; echo x > ../needed/new; echo x > ../shared/new; echo x > ../new; :"
        )
        command = self.command(
            runs,
            *("/bin/sh", "-c", f"{{ {script}; }} 2> /dev/null"),
            cwd=own,
            writable=(own,),
            readonly=(shared,),
            visible=(needed,),
            overlays=(replace(overlay, target=own / "tree"),),
            hidden=(state / "a", state),
        )
        assert (await self.run(sandbox, runs, command)).code == 0
        said = b"own\nbefore\nshared\nneeded\nneeded own shared\n"
        assert runs.said() == said
        places = {str(path.relative_to(state)) for path in state.rglob("new")}
        assert places == {"a/own/new", "a/needed/new"}
        assert (overlay.upper / "new").exists()

    @pytest.mark.parametrize("access", ["ro", "rw"])
    async def test_what_the_operator_binds_is_seen_as_it_is_meant(
        self, sandbox: Sandbox, runs: Runs, access: str
    ) -> None:
        """Also where it comes from a hidden place, and nothing that lies beside it there."""
        self.need_hiding(sandbox)
        if not sandbox.binds:
            pytest.skip(f"{sandbox.name} cannot bind on this machine, and says so")
        sets, target = runs.root / "home" / "sets", runs.root / "a b\\target"
        for path in (sets / "below", target):
            path.mkdir(parents=True)
        (sets / "below" / "file").write_text("data\n")
        secret = sets.parent / "secret"
        secret.write_text("secret\n")
        script = f"cat '{target}/below/file' {secret}; echo x > '{target}/new'; true"
        command = self.command(
            runs,
            *("/bin/sh", "-c", f"{{ {script}; }} 2> /dev/null"),
            hidden=(sets.parent,),
            binds=(Bind(sets, target, writable=access == "rw"),),
        )
        assert (await self.run(sandbox, runs, command)).code == 0
        assert runs.said() == b"data\n"
        assert (sets / "new").exists() == (access == "rw")

    async def test_without_a_network_it_still_reaches_itself(
        self, sandbox: Sandbox, runs: Runs
    ) -> None:
        """Programs that talk among themselves at 127.0.0.1 go on; the machine's own are away."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            script = TALK.format(port=server.getsockname()[1])
            argv = ("/bin/sh", "-c", 'python3 -c "$0" 2> /dev/null', script)
            await self.run(sandbox, runs, self.command(runs, *argv))
            assert runs.said() == b"itself\nmachine\n"
            runs.output.unlink()
            await self.run(sandbox, runs, self.command(runs, *argv, network=False))
            assert runs.said() == b"itself\n"

    def need_hiding(self, sandbox: Sandbox) -> None:
        """Skip where the backend says that it hides nothing."""
        if not sandbox.hides:
            pytest.skip(f"{sandbox.name} cannot hide anything on this machine, and says so")

    async def test_leases_are_held_as_long_as_the_run_lives(
        self, sandbox: Sandbox, runs: Runs
    ) -> None:
        """Until its last process has ended nobody gets the file for himself."""
        lock, go = runs.root / "lock", runs.root / "go"
        lock.touch()
        os.mkfifo(go)
        command = self.command(
            runs, "/bin/sh", "-c", f"echo begun; read line < {go}", leases=(lock,)
        )
        run = await Run.start(replace(runs.spec(command.argv), launch=sandbox.launch(command)))
        await runs.says(b"begun")
        assert not is_free(lock)
        run.leave()
        assert not is_free(lock)
        adopted = await Run.adopt(run.directory)
        go.write_text("on\n")
        await ended(adopted)
        assert is_free(lock)
        await adopted.forget()

    async def test_a_lease_that_came_to_nothing_ends_the_run(
        self, sandbox: Sandbox, runs: Runs
    ) -> None:
        """What was removed before the supervisor could keep it is told; nothing is started."""
        command = self.command(runs, "/bin/echo", "ran", leases=(runs.root / "gone",))
        exit_ = await self.run(sandbox, runs, command)
        assert (exit_.reason, exit_.code) == ("start-failed", None)
        assert "gone" in exit_.detail
        assert runs.said() == b""

    def overlay(self, sandbox: Sandbox, runs: Runs, name: str = "kept") -> Overlay:
        """Make a small tree and the directories for an overlay of it."""
        lower = runs.root / name / "tree"
        (lower / "folder" / "sub").mkdir(parents=True)
        (lower / "file").write_text("before\n")
        (lower / "folder" / "inner").write_text("inner\n")
        (lower / "folder" / "link").symlink_to("inner")
        own = tuple(runs.root / f"{name}-{part}" for part in ("target", "upper", "work"))
        for path in own:
            path.mkdir()
        if not sandbox.try_overlays(lower=lower, upper=runs.root):
            pytest.skip(f"{sandbox.name} has no overlays on this machine, and says so")
        target, upper, work = own
        return Overlay(target, lower, upper, work)


#: Says whom it reached.
TALK = """
import socket
with socket.create_server(('127.0.0.1', 0)) as own:
    socket.create_connection(own.getsockname(), 5).close()
print('itself', flush=True)
socket.create_connection(('127.0.0.1', {port}), 5).close()
print('machine')
"""

#: Everything that a script can do to a tree; at the end it shows what it made of it.
DAMAGE = """
cat file
echo after > file
chmod 777 file folder
rm folder/inner
mv folder/sub sub
: > folder/inner
truncate -s 100 folder/inner
ln folder/inner folder/second
touch -d 2001-01-01 folder file
rm -r folder
mkdir folder
echo new > folder/new
cat file folder/new
echo *
"""


def look(root: Path) -> dict[str, object]:
    """Return all that is to be known of a tree: names, modes, times, owners, content."""
    found: dict[str, object] = {}
    for path in (root, *root.rglob("*")):
        state = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        facts = (state.st_mode, state.st_mtime_ns, state.st_ctime_ns, state.st_uid, state.st_gid)
        found[str(path.relative_to(root))] = (*facts, state.st_nlink, content)
    return found


def is_free(lock: Path) -> bool:
    """Tell whether nobody holds a lock on the file."""
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
