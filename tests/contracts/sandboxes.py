"""What every sandbox promises; a backend inherits this and supplies the fixtures."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from runner.lifecycle.run import Exit, Run
from runner.sandboxes.base import Command, Sandbox
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
