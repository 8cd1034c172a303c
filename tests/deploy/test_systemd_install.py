"""``install-service`` and ``uninstall-service``, on directories that are machines to them."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from runner.cli import main
from runner.cli.install_service import own_command
from runner.errors import RunnerError
from runner.service import plan, templates
from runner.service.machine import Machine, look
from runner.service.steps import Command, Gone, Note, Step

BARE = Machine(
    root=Path("/"),
    is_booted=True,
    has_sysusers=True,
    has_user=False,
    has_apparmor=True,
    enforces_apparmor=True,
    foreign_profile="",
    made_users=(),
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine that has the user of the experiments already, and AppArmor."""
    passwd = tmp_path / "etc/passwd"
    passwd.parent.mkdir()
    passwd.write_text(f"{templates.USER}:x:990:990::/nonexistent:/usr/sbin/nologin\n")
    (tmp_path / "etc/apparmor.d/abi").mkdir(parents=True)
    (tmp_path / "etc/apparmor.d/abi/4.0").touch()
    return tmp_path


def tree(root: Path) -> dict[str, str]:
    """Return everything below a directory: rights and content by path."""
    return {
        str(path.relative_to(root)): stat.filemode(path.stat().st_mode)
        + (path.read_text() if path.is_file() else "")
        for path in sorted(root.rglob("*"))
    }


def install(root: Path, *words: str) -> int:
    """Install into a directory."""
    return main(["install-service", "--root", str(root), *words])


def uninstall(root: Path, *words: str) -> int:
    """Uninstall from a directory."""
    return main(["uninstall-service", "--root", str(root), *words])


def commands(steps: list[Step]) -> list[str]:
    """Return the command lines among the steps."""
    return [step.describe() for step in steps if isinstance(step, Command)]


# ------------------------------------------------------------------------------ installing


def test_everything_is_made_with_its_rights(root: Path) -> None:
    """Credentials and options are for root alone; experiments pass through the state directory."""
    assert install(root) == 0
    modes = {
        "etc/studio-runner": 0o755,
        "etc/studio-runner/certs": 0o700,
        "etc/studio-runner/environment": 0o600,
        "var/lib/studio-runner": 0o711,
        "etc/systemd/system/studio-runner.service": 0o644,
        "etc/systemd/system/studio-runner-runs.slice": 0o644,
        "etc/apparmor.d/studio-runner-bwrap": 0o644,
        "usr/local/share/man/man1/studio-runner.1": 0o644,
    }
    assert {name: stat.S_IMODE((root / name).stat().st_mode) for name in modes} == modes


def test_again_changes_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second installation finds all done, and says so."""
    install(root)
    before = tree(root)
    capsys.readouterr()
    install(root)
    assert tree(root) == before
    endings = {line.rpartition(": ")[2] for line in capsys.readouterr().out.splitlines()}
    assert endings == {"is there", "kept as it is", "is not there"}


def test_the_operators_options_are_kept_and_our_files_put_right(root: Path) -> None:
    """The environment file is never written over; a unit or rights that were changed are ours."""
    install(root)
    options = root / "etc/studio-runner/environment"
    options.write_text("MAX_CORES=3\n")
    unit = root / "etc/systemd/system/studio-runner.service"
    right = unit.read_text()
    unit.write_text("[Service]\n")
    manual = root / "usr/local/share/man/man1/studio-runner.1"
    page = manual.read_text()
    manual.write_text("of an earlier version")
    (root / "etc/studio-runner/certs").chmod(0o755)
    install(root)
    assert options.read_text() == "MAX_CORES=3\n"
    assert unit.read_text() == right
    assert manual.read_text() == page
    assert stat.S_IMODE((root / "etc/studio-runner/certs").stat().st_mode) == 0o700


def test_a_dry_run_says_all_and_does_nothing(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What would be made is named, and nothing is made."""
    before = tree(root)
    assert install(root, "--dry-run") == 0
    assert tree(root) == before
    said = capsys.readouterr().out
    assert f"{root}/etc/studio-runner/certs/ (0700): would be made" in said
    assert f"{root}/etc/systemd/system/studio-runner.service (0644): would be written" in said


def test_a_link_in_the_place_of_a_file_is_replaced(root: Path, tmp_path: Path) -> None:
    """Nothing is written to where a link leads."""
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    units = root / "etc/systemd/system"
    units.mkdir(parents=True)
    (units / "studio-runner.service").symlink_to(victim)
    install(root)
    assert victim.read_text() == "untouched"
    assert not (units / "studio-runner.service").is_symlink()


def test_draining_on_stop_is_a_choice_that_can_be_taken_back(root: Path) -> None:
    """The drop-in comes with the flag and goes without it."""
    drop_in = root / "etc/systemd/system/studio-runner.service.d/drain-on-stop.conf"
    install(root, "--drain-on-stop")
    assert "KillSignal=SIGTERM" in drop_in.read_text()
    install(root)
    assert not drop_in.parent.exists()


def test_the_manual_is_found_by_man(root: Path) -> None:
    """Where every ``man`` looks, whatever else is installed; it is the page of this version."""
    if shutil.which("man") is None:
        pytest.skip("there is no man")
    install(root)
    place = root / "usr/local/share/man"
    said = subprocess.run(
        ["/usr/bin/env", "man", "-M", str(place), "studio-runner"],
        env={"PATH": os.environ["PATH"], "MANPAGER": "cat", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "install-service" in said.stdout
    uninstall(root)
    assert [path for path in place.rglob("*") if path.is_file()] == []


@pytest.mark.service("systemd")
def test_the_user_is_made(tmp_path: Path) -> None:
    """Where the user is not there, the system's own tool makes it: without a login."""
    (tmp_path / "etc").mkdir()
    install(tmp_path)
    entry = (tmp_path / "etc/passwd").read_text()
    assert entry.startswith(f"{templates.USER}:")
    assert entry.strip().endswith("nologin")
    install(tmp_path)
    assert (tmp_path / "etc/passwd").read_text() == entry


# ------------------------------------------------------------------------- taking it away


def test_uninstalling_is_the_opposite(root: Path) -> None:
    """What was made is gone; credentials, options and state stay."""
    before = tree(root)
    install(root, "--drain-on-stop")
    (root / "etc/studio-runner/certs/key").write_text("secret")
    assert uninstall(root) == 0
    made = set(tree(root)) - set(before)
    kept = {name for name in made if (root / name).is_file()}
    assert kept == {"etc/studio-runner/certs/key", "etc/studio-runner/environment"}
    assert (root / "var/lib/studio-runner").is_dir()


def test_a_purge_leaves_nothing(root: Path) -> None:
    """With --purge no file of ours is left; doing it again is no error."""
    before = tree(root)
    install(root)
    (root / "var/lib/studio-runner/queues").mkdir()
    drop_ins = root / "etc/systemd/system/studio-runner.service.d"
    drop_ins.mkdir()
    (drop_ins / "override.conf").touch()
    assert uninstall(root, "--purge") == 0
    assert {n for n in tree(root) if (root / n).is_file()} == {
        n for n in before if (root / n).is_file()
    }
    assert not (root / "var/lib/studio-runner").exists()
    assert not (root / "etc/studio-runner").exists()
    assert uninstall(root, "--purge") == 0


def test_only_directories_of_our_own_go_when_they_are_empty(tmp_path: Path) -> None:
    """Not one of the system's, such as /etc/sysusers.d, in which ours was the one file."""
    paths = [tmp_path / place / "own.conf" for place in ("sysusers.d", "unit.service.d")]
    for path in paths:
        path.parent.mkdir()
        path.touch()
    Gone(paths[0]).perform(really=True)
    Gone(paths[1], and_empty_parent=True).perform(really=True)
    assert [path.name for path in tmp_path.iterdir()] == ["sysusers.d"]


def test_nothing_goes_in_a_dry_run(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What would be removed is named, and stays."""
    install(root)
    before = tree(root)
    capsys.readouterr()
    assert uninstall(root, "--purge", "--dry-run") == 0
    assert tree(root) == before
    assert f"{root}/var/lib/studio-runner: would be removed" in capsys.readouterr().out


# ---------------------------------------------------------------------------- the decisions


def test_on_a_running_machine_systemd_is_told() -> None:
    """Users, profile and units are made known; before they go, the service and its runs end.

    A service that drains at its stop waits for the runs: it is told first, and waited for last.
    """
    made = commands(plan.install(BARE, plan.Wish()))
    assert made == [
        "systemd-sysusers studio-runner.conf",
        "apparmor_parser --replace --write-cache /etc/apparmor.d/studio-runner-bwrap",
        "systemctl daemon-reload",
    ]
    there = replace(BARE, has_user=True, made_users=(templates.USER,))
    assert commands(plan.uninstall(there, plan.Wish(purge=True))) == [
        "systemctl disable --now --no-block studio-runner.service",
        "systemctl stop studio-runner-runs.slice",
        "systemctl stop studio-runner.service",
        "systemctl daemon-reload",
        "apparmor_parser --remove /etc/apparmor.d/studio-runner-bwrap",
        f"userdel {templates.USER}",
    ]


def test_somebody_elses_user_is_never_removed() -> None:
    """A user that was there before is used, and survives a purge."""
    machine = replace(BARE, has_user=True)
    steps = plan.install(machine, plan.Wish(user="alice"))
    assert Note("user alice", "is there") in steps
    assert not any("user" in line for line in commands(plan.uninstall(machine, plan.Wish())))


def test_without_sysusers_the_older_tool_is_used() -> None:
    """The user is made by useradd, without a home and without a login."""
    made = commands(plan.install(replace(BARE, has_sysusers=False), plan.Wish()))
    assert made[0].startswith("useradd --system --user-group --no-create-home")
    assert made[0].endswith(f"--shell /usr/sbin/nologin {templates.USER}")


def test_a_pool_of_users_is_made_and_named(root: Path) -> None:
    """One each for so many experiments at a time; done again, and without it, nobody is lost."""
    assert install(root, "--run-as-pool", "3") == 0
    names = [f"{templates.USER}-{number}" for number in (1, 2, 3)]
    conf = (root / "etc/sysusers.d/studio-runner.conf").read_text()
    assert [line.split()[1] for line in conf.splitlines() if line.startswith("u ")] == names
    unit = (root / "etc/systemd/system/studio-runner.service").read_text()
    assert f"\nEnvironment=STUDIO_RUNNER_RUN_AS={templates.USER}-[1-3]\n" in unit
    before = tree(root)
    assert install(root, "--run-as-pool", "3") == 0
    assert tree(root) == before
    assert install(root) == 0
    conf = (root / "etc/sysusers.d/studio-runner.conf").read_text()
    assert [line.split()[1] for line in conf.splitlines() if line.startswith("u ")][:3] == names


def test_a_pool_goes_with_a_purge() -> None:
    """And is made by the older tool where there is no other."""
    wish = plan.Wish(user="x", pool=2)
    made = commands(plan.install(replace(BARE, has_sysusers=False), wish))
    assert [line.split()[-1] for line in made if line.startswith("useradd")] == ["x-1", "x-2"]
    there = replace(BARE, has_user=True, made_users=("x-1", "x-2"))
    gone = commands(plan.uninstall(there, plan.Wish(purge=True)))
    assert [line for line in gone if "user" in line] == ["userdel x-1", "userdel x-2"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--run-as-pool", "1"], "2 to 999"),
        (["--run-as-pool=-3"], "2 to 999"),
        (["--run-as-pool", "20", "--user", "x" * 31], "too long"),
    ],
)
def test_a_pool_that_is_none_is_refused(
    root: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is done, with what would do."""
    before = tree(root)
    assert install(root, *words) == 2
    assert said in capsys.readouterr().err
    assert tree(root) == before


@pytest.mark.parametrize(
    ("machine", "word"),
    [
        (replace(BARE, has_apparmor=False), "no profile is needed"),
        (replace(BARE, foreign_profile="bwrap-userns-restrict"), "bwrap-userns-restrict"),
    ],
)
def test_apparmor_is_left_alone_where_it_is_not_needed(machine: Machine, word: str) -> None:
    """Where it does not know namespaces, or somebody wrote a profile already; that is said."""
    steps = plan.install(machine, plan.Wish())
    (note,) = [step for step in steps if isinstance(step, Note)]
    assert word in note.why
    assert not any("apparmor" in line for line in commands(steps))


def test_a_profile_of_bubblewrap_is_recognised(root: Path) -> None:
    """By the program it is for, in whichever file; our own does not count."""
    profiles = root / "etc/apparmor.d"
    (profiles / "studio-runner-bwrap").write_text("profile x /usr/bin/bwrap {\n}\n")
    (profiles / "other").write_text("# /usr/bin/bwrap is not meant\nprofile x /usr/bin/x {\n}\n")
    assert look(root, "nobody").foreign_profile == ""
    (profiles / "bwrap").write_text("abi <abi/4.0>,\nprofile bwrap /usr/bin/bwrap flags=(x) {\n}\n")
    assert look(root, "nobody").foreign_profile == "bwrap"


def test_the_daemon_is_started_as_this_command_was(tmp_path: Path) -> None:
    """A script, a single file without a first line, or the module: whatever works from anywhere."""
    script = tmp_path / "studio-runner"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    single = tmp_path / "studio-runner.pyz"
    with zipfile.ZipFile(single, "w") as archive:
        archive.writestr("__main__.py", "")
    assert own_command(str(script), "/py") == (str(script),)
    assert own_command(str(single), "/py") == ("/py", str(single))
    assert own_command(str(tmp_path / "__main__.py"), "/py") == ("/py", "-m", "runner")


# ------------------------------------------------------------------------------- refusals


def test_it_takes_root() -> None:
    """Without root one sentence says what to do instead; a dry run may be anybody's."""
    user = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    become = (*user, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    words = (*(become if os.geteuid() == 0 else ()), sys.executable, "-m", "runner")
    done = subprocess.run(
        [*words, "install-service"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert "sudo" in done.stderr


@pytest.mark.parametrize("name", ["root", "Alice", "-x", "a b", "", "x" * 33])
def test_who_cannot_be_the_experiments_user_is_refused(
    root: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Root and what is no login name are refused before anything is done."""
    before = tree(root)
    assert install(root, f"--user={name}") == 2
    assert repr(name) in capsys.readouterr().err
    assert tree(root) == before


def test_a_root_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The sentence names the option and the directory."""
    assert install(tmp_path / "gone") == 2
    assert f"--root {tmp_path / 'gone'} is no directory" in capsys.readouterr().err


def test_what_cannot_be_written_is_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first step that fails ends it, with its path and the reason."""
    (root / "var").write_text("no directory")
    assert install(root) == 1
    assert f"{root}/var/lib/studio-runner/ (0711) cannot be done: " in capsys.readouterr().err


def test_a_command_that_fails_says_why() -> None:
    """What the program said is in the error; one that may fail only says so."""
    failing = Command(("ls", "/nowhere/at/all"))
    with pytest.raises(RunnerError, match=r"/nowhere/at/all failed: .*No such file"):
        failing.perform(really=True)
    assert "No such file" in replace(failing, may_fail=True).perform(really=True)
    with pytest.raises(RunnerError, match="no-such-program cannot be run"):
        Command(("no-such-program",)).perform(really=True)


def test_a_link_goes_and_not_what_it_leads_to(tmp_path: Path) -> None:
    """Removing the state directory where it is a link to another disk empties no disk."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk/file").touch()
    (tmp_path / "state").symlink_to(tmp_path / "disk")
    assert Gone(tmp_path / "state").perform(really=True) == "removed"
    assert (tmp_path / "disk/file").exists()
