"""In an image an experiment starts, ends and is ended as everywhere else."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from runner.errors import Misconfigured
from runner.lifecycle.runs import exits
from runner.lifecycle.runs.run import Run, RunSpec
from runner.model import Cause
from runner.sandboxes.apptainer import ApptainerSandbox
from runner.sandboxes.base import Bind, Command, Identity
from runner.supervisor.processes import descendants, look, of_run
from tests.lifecycle.runs import DAEMON, ENV, Runs, end_of, ended, recorded, until
from tests.passage import open_to_all
from tests.servers.apptainer import NAME, NAME_FILE, make_image
from tests.supervisor.test_mounts import ending, give, supervised

pytestmark = [pytest.mark.anyio, pytest.mark.service("apptainer")]

NOBODY = Identity(65534, 65534)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to be another user")


class Inside:
    """Describes commands in an image; they may write below the root of the runs."""

    def __init__(self, runs: Runs, image: Path) -> None:
        self.runs = runs
        self.image = image

    def command(self, *argv: str, **changes: object) -> Command:
        """Return the command with its image."""
        root = self.runs.root
        made = Command(argv, root, ENV, writable=(root,), image=self.image)
        return replace(made, **changes)  # type: ignore[arg-type] # fields by name

    def spec(self, *argv: str, **changes: object) -> RunSpec:
        """Return what a supervisor is told."""
        launch = ApptainerSandbox().launch(self.command(*argv, **changes))
        return replace(self.runs.spec(argv), launch=launch)

    def shell(self, script: str, **changes: object) -> RunSpec:
        """Describe a shell script."""
        return self.spec("/bin/sh", "-c", script, **changes)

    async def says(self, script: str, **changes: object) -> list[str]:
        """Run a shell script to its end and return the lines that it said."""
        exit_ = await self.runs.finish(self.shell(script, **changes))
        assert exit_.reason == exits.EXITED, exit_
        return self.runs.said().decode().splitlines()


@pytest.fixture
def inside(runs: Runs, image: Path) -> Inside:
    """A directory that is an image."""
    return Inside(runs, image)


@pytest.fixture
def ordinary(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> Inside:
    """The same for the daemon of an ordinary user, for ``supervised``."""
    monkeypatch.setattr("runner.sandboxes.apptainer.os.geteuid", lambda: NOBODY.uid)
    return inside


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL, signal.SIGTERM])
async def test_a_signal_is_told_from_the_exit_code_that_looks_like_it(
    inside: Inside, number: signal.Signals
) -> None:
    """Apptainer itself would tell both as 128 and more."""
    died = await inside.runs.finish(inside.shell(f"kill -{number.value} $$"))
    assert end_of(died) == (exits.EXITED, None, number)
    left = await inside.runs.finish(inside.shell(f"exit {128 + number.value}"))
    assert end_of(left) == (exits.EXITED, 128 + number.value, None)


async def test_a_stop_reaches_the_experiment_and_its_answer_counts(inside: Inside) -> None:
    """Nothing around it ends before the experiment has saved its state."""
    script = "trap 'sleep 0.3; echo saved; exit 7' TERM; echo begun; while :; do sleep 0.05; done"
    run = await Run.start(inside.shell(script))
    await inside.runs.says(b"begun")
    await run.stop(Cause.CANCELLED)
    exit_ = await ended(run)
    await run.forget()
    assert end_of(exit_) == ("cancelled", 7, None)
    assert b"saved" in inside.runs.said()


async def test_what_it_leaves_behind_is_told_and_ended(inside: Inside) -> None:
    """A process that left its session hears TERM, and then nobody is left."""
    lines = (
        *DAEMON,
        "def act():",
        "    signal.signal(signal.SIGTERM, lambda *_: (print('told', flush=True), os._exit(0)))",
        "    print('ready', flush=True)",
        "    time.sleep(1000)",
        "daemon(act)",
        "time.sleep(0.5)",
    )
    exit_ = await inside.runs.finish(inside.spec("python3", "-c", "\n".join(lines)))
    assert end_of(exit_) == (exits.EXITED, 0, None)
    assert exit_.survivors == 0
    assert b"told" in inside.runs.said()


async def test_nobody_outlives_a_supervisor_that_was_killed(inside: Inside) -> None:
    """The kernel ends all: Apptainer goes, with it the first process, with it the others."""
    script = "(setsid sleep 1000 &); echo begun; exec sleep 1000"
    run = await Run.start(inside.shell(script))
    await inside.runs.says(b"begun")
    found = _family(await recorded(run))
    assert len(found) >= 5
    os.kill(await recorded(run), signal.SIGKILL)
    await until(lambda: not any(look(pid) for pid in found))
    exit_ = await ended(run)
    assert exit_.reason == exits.VANISHED
    assert of_run(run.run_id) == []
    await run.forget()


def _family(root: int) -> list[int]:
    return [process.pid for process in descendants(root)]


async def test_a_limit_ends_even_who_hears_nothing(inside: Inside) -> None:
    """KILL is sent from outside, where all processes can be seen."""
    spec = inside.shell("trap '' TERM; echo begun; (setsid sleep 1000 &); sleep 1000; sleep 1000")
    limits = {Cause.TIME_LIMIT: timedelta(seconds=1)}
    spec = replace(spec, limits=limits, grace=timedelta(seconds=0.2))
    exit_ = await inside.runs.finish(spec)
    assert exit_.stopped_for == Cause.TIME_LIMIT
    assert exit_.survivors == 0


async def test_a_program_that_the_image_has_not_is_named(inside: Inside) -> None:
    """The error is the experiment's, in our words and not in Apptainer's."""
    exit_ = await inside.runs.finish(inside.spec("/gone/program"))
    assert exit_.reason == exits.START_FAILED
    assert "'/gone/program' cannot be executed" in exit_.detail
    exit_ = await inside.runs.finish(inside.spec("/bin/true", cwd=Path("/gone")))
    assert exit_.reason == exits.START_FAILED
    assert "working directory" in exit_.detail


@pytest.mark.parametrize("image", ["gone", "text.sif"])
async def test_what_apptainer_says_reaches_the_operator(inside: Inside, image: str) -> None:
    """An image that cannot be opened is told with the reason, and its path."""
    (inside.runs.root / "text.sif").write_text("no image at all\n")
    path = inside.runs.root / image
    exit_ = await inside.runs.finish(inside.spec("/bin/echo", "ran", image=path))
    assert exit_.reason == exits.SANDBOX_UNAVAILABLE
    assert "apptainer cannot put up its walls" in exit_.detail
    assert image in exit_.detail
    assert inside.runs.said() == b""


async def test_it_is_in_the_image_and_sees_nothing_of_the_machine(inside: Inside) -> None:
    """Not its home, its files in /etc or its processes; and it cannot change the image."""
    secret = inside.runs.root.parent / "secret"
    secret.write_text("secret\n")
    script = f"cat {NAME_FILE}; echo; cat {secret} /etc/shadow; echo x > /new"
    words = await inside.says(f"{{ {script}; }} 2> /dev/null; cat /proc/[0-9]*/comm")
    assert words[0] == NAME
    assert set(words[1:]) <= {"appinit", "sinit", "sh", "cat", "starter"}
    assert not (inside.image / "new").exists()


async def test_a_file_is_an_image_as_well(runs: Runs, image_file: Path) -> None:
    """In Apptainer's own format."""
    assert await Inside(runs, image_file).says(f"cat {NAME_FILE}") == [NAME]


async def test_the_environment_of_the_image_lies_below_the_experiments(
    runs: Runs, tmp_path: Path
) -> None:
    """What only the image says is there; of what both say the experiment's counts, or is first."""
    root = make_image(tmp_path / "other")
    script = "export PATH=/image/bin:$PATH\nexport ONLY='a  \"b\"\nc'\nexport BOTH=image\n"
    (root / ".singularity.d/env/90-environment.sh").write_text(script)
    env = {"BOTH": "mine", "PATH": "/mine"}
    program = "import os, json; print(json.dumps(dict(os.environ)))"
    spec = Inside(runs, root).spec("/usr/bin/python3", "-c", program, env=env)
    assert (await runs.finish(spec)).code == 0
    seen = json.loads(runs.said())
    assert seen["BOTH"] == "mine"
    assert seen["ONLY"] == 'a  "b"\nc'
    assert seen["PATH"].startswith("/mine:/image/bin:")
    assert "APPTAINER_BIND" not in seen


async def test_the_daemons_environment_stays_outside(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither what is named for Apptainer nor the rest of it arrives."""
    for name in ("APPTAINERENV_SECRET", "SINGULARITYENV_SECRET", "SECRET", "APPTAINER_BIND"):
        monkeypatch.setenv(name, "/etc")
    words = await inside.says("env")
    assert [word for word in words if "SECRET" in word] == []
    assert not any("/etc" in word for word in words)


async def test_the_runscript_is_a_program_like_others(inside: Inside) -> None:
    """It gets its arguments as they are."""
    spec = inside.spec("/.singularity.d/runscript", "one", "two  three", "$(id)")
    assert (await inside.runs.finish(spec)).code == 0
    assert inside.runs.said() == b"runscript: one two  three $(id)\n"


@pytest.mark.parametrize("name", ["a:b", "a,b", 'a"b', "a\\b", "a b", "a\nb", "ü"])
async def test_directories_have_any_name(inside: Inside, name: str) -> None:
    """No character of a path is taken for an option."""
    place = inside.runs.root.parent / f"{inside.runs.root.name}-{name}"
    place.mkdir()
    open_to_all(place)
    spec = inside.spec("/bin/sh", "-c", "echo made > file", cwd=place, writable=(place,))
    exit_ = await inside.runs.finish(spec)
    assert exit_.code == 0, exit_
    assert (place / "file").read_text() == "made\n"


async def test_what_must_not_be_written_to_is_closed_wherever_it_lies(inside: Inside) -> None:
    """In something writable, around something writable, and beside it."""
    root = inside.runs.root
    one, two, three = root / "one", root.parent / f"{root.name}-two", root / "three"
    for path in (one, two / "own", three):
        path.mkdir(parents=True)
    script = f"for d in {one} {two} {two}/own {three} {root}; do echo x > $d/new && echo $d; done"
    words = await inside.says(
        f"{{ {script}; }} 2> /dev/null",
        writable=(root, two / "own"),
        readonly=(one, two),
        binds=(Bind(two, three),),
    )
    assert words == [f"{two}/own", str(root)]


async def test_places_for_all_are_its_own_and_on_disk_where_it_has_a_directory(
    inside: Inside,
) -> None:
    """Nothing is left in the machine's ``/tmp``; what it writes lies below its TMPDIR."""
    scratch = inside.runs.root / "_tmp"
    scratch.mkdir()
    env = {**ENV, "TMPDIR": str(scratch)}
    mine = f"studio-runner-{os.getpid()}"
    places = ["/tmp", "/var/tmp", "/dev/shm"]  # noqa: S108 - it is their names that count
    script = f"for d in {' '.join(places)}; do echo x > $d/{mine} && echo $d; done"
    assert await inside.says(script, env=env) == places
    assert not any(list(Path(place).glob(mine)) for place in places)  # noqa: ASYNC240 - quick
    assert (scratch / "tmp" / mine).exists()


@as_root
async def test_root_has_no_powers_that_lead_out(inside: Inside) -> None:
    """It owns files, but mounts nothing, makes no devices and writes to no setting."""
    settings = ("/proc/sys/kernel/hostname", "/proc/sysrq-trigger")
    tried = "".join(f"echo x > {path} || echo no {path}; " for path in settings)
    script = (
        "touch mine && chown 5:5 mine && echo owned; mount -t tmpfs none /tmp || echo no mount; "
        f"mknod disk b 8 0 || echo no device; {tried}"
        "for f in /sys/kernel/mm/ksm/run /sys/fs/cgroup/*/cgroup.procs; do echo 0 > $f "
        "&& echo $f; done; true"
    )
    words = await inside.says(f"{{ {script}; }} 2> /dev/null")
    assert words == ["owned", "no mount", "no device", *(f"no {path}" for path in settings)]


@as_root
async def test_another_user_is_all_that_it_meets(inside: Inside, tmp_path: Path) -> None:
    """Without groups and powers; what the image runs before it is that user's, too."""
    root = make_image(tmp_path / "other")
    script = "export WHO=$(id -u)$(echo x > /work/new 2> /dev/null && echo root)\n"
    (root / ".singularity.d/env/90-environment.sh").write_text(script)
    script = "id -u; id -g; id -G; grep CapEff /proc/self/status; echo $WHO; echo x > /dev/shm/x"
    words = await inside.says(script, identity=NOBODY, image=root)
    assert words == ["65534", "65534", "65534", "CapEff:\t" + "0" * 16, "65534"]


@as_root
async def test_a_user_without_a_name_is_one_as_well(inside: Inside) -> None:
    """A number is enough."""
    words = await inside.says("id -u; id -g", identity=Identity(64001, 64002))
    assert words == ["64001", "64002"]


@as_root
async def test_an_ordinary_user_has_an_image_around_it_too(ordinary: Inside) -> None:
    """In user namespaces, without root's help; it stays who it is, and its death keeps its name."""
    shared, hidden = ordinary.runs.root / "shared", ordinary.runs.root / "hidden"
    for path in (shared, hidden):
        path.mkdir()
    script = (
        f"id -u; grep CapEff /proc/self/status; cat {NAME_FILE}; echo; echo x > new; "
        "echo x > shared/new; echo x > hidden/new; kill -ABRT $$"
    )
    spec = ordinary.shell(script, readonly=(shared,), hidden=(hidden,), network=False)
    give(ordinary.runs.root)
    record = ending(spec, supervised(spec))
    assert (record["reason"], record["signal"]) == (exits.EXITED, signal.SIGABRT), record
    words = ordinary.runs.said().decode().split("\n")
    assert words[:3] == ["65534", "CapEff:\t" + "0" * 16, NAME]
    assert (ordinary.runs.root / "new").exists()
    assert not (shared / "new").exists()
    assert not (hidden / "new").exists()


@as_root
async def test_an_ordinary_users_run_goes_with_its_supervisor(ordinary: Inside) -> None:
    """The kernel's word holds over all the namespaces in between."""
    spec = ordinary.shell("(setsid sleep 1000 &); echo begun; exec sleep 1000")
    give(ordinary.runs.root)
    supervisor = supervised(spec)
    await ordinary.runs.says(b"begun")
    found = _family(supervisor.pid)
    assert len(found) >= 5
    supervisor.kill()
    supervisor.wait()
    await until(lambda: not any(look(pid) for pid in found))


async def test_without_an_image_there_is_nothing_to_run_in(inside: Inside) -> None:
    """One sentence names both ways to give one."""
    with pytest.raises(Misconfigured, match=r"--container.*_singularity"):
        inside.shell("true", image=None)


def test_the_cards_of_others_are_no_nodes_of_the_run(tmp_path: Path) -> None:
    """``--nv`` shows all that there is, so what is not the run's is closed before."""
    from runner.sandboxes.apptainer import _other_nodes  # noqa: PLC0415 - of this test alone

    for name in ("nvidia0", "nvidia1", "nvidia12", "nvidiactl", "nvidia-caps/nvidia-cap1"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    mine = (tmp_path / "nvidia1", tmp_path / "nvidiactl")
    names = [str(path.relative_to(tmp_path)) for path in _other_nodes(mine, tmp_path)]
    assert names == ["nvidia-caps/nvidia-cap1", "nvidia0", "nvidia12"]
    assert list(_other_nodes((), tmp_path)) == []


async def test_cards_are_asked_for_only_where_there_are_any(inside: Inside) -> None:
    """The driver's programs come with them."""
    assert "--nv" not in inside.shell("true").launch.walls
    assert "--nv" in inside.shell("true", devices=(Path("/dev/nvidiactl"),)).launch.walls


async def test_without_apptainer_the_remedy_is_named(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No run is started in another way than was asked for."""
    monkeypatch.setattr("runner.sandboxes.apptainer._PLACES", "/gone")
    monkeypatch.setenv("PATH", "/gone")
    with pytest.raises(Misconfigured, match="install the package"):
        inside.shell("true")


def test_the_command_stays_what_apptainer_documents(image: Path) -> None:
    """An option that this version does not know would fail every run."""
    command = Command(("true",), Path("/"), {}, image=image, network=False)
    walls = ApptainerSandbox().launch(command).walls
    told = subprocess.run(
        [walls[0], "exec", "--help"], capture_output=True, text=True, check=True
    ).stdout
    options = {word for word in walls[3:] if word.startswith("--")}
    assert [option for option in options if not re.search(rf"{option}[ )]", told)] == []
