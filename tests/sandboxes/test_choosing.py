"""Which sandbox a daemon takes: tried by a real start, said with its reason, never less."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from runner.app.binds import binds
from runner.app.places import Places
from runner.app.sandbox import AUTO, choose, chosen, container_sandbox, trial
from runner.errors import Misconfigured
from runner.sandboxes.bwrap import BwrapSandbox
from runner.sandboxes.plain import PlainSandbox
from runner.settings import Settings
from tests.passage import open_to_all
from tests.trust.boxes import NO_MOUNTS, TrustBox, trust_box

pytestmark = pytest.mark.anyio


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A state directory."""
    open_to_all(tmp_path)
    return Places(tmp_path, "", None, "somebody")


@pytest.fixture
def no_bubblewrap(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without it."""
    monkeypatch.setenv("PATH", "/gone")
    monkeypatch.setattr("runner.sandboxes.bwrap._PLACES", "/gone")


@pytest.mark.service("bwrap")
async def test_auto_takes_what_starts(places: Places) -> None:
    """The stronger one is tried first, and nothing is left of the trial."""
    choice = await choose(AUTO, places)
    assert (choice.sandbox.name, choice.why) == (
        "bwrap",
        "experiments run in the sandbox 'bwrap': it starts here",
    )
    assert list(places.state.iterdir()) == []


@pytest.mark.usefixtures("no_bubblewrap")
async def test_auto_says_why_it_takes_less(places: Places) -> None:
    """One sentence names what does not start, the reason and the remedy."""
    choice = await choose(AUTO, places)
    assert choice.sandbox.name == "plain"
    assert "bwrap does not start" in choice.why
    assert "apt-get install bubblewrap" in choice.why


@pytest.mark.usefixtures("no_bubblewrap")
async def test_what_is_asked_for_by_name_is_had_or_an_error(places: Places) -> None:
    """There is no silent fall back."""
    with pytest.raises(Misconfigured, match=r"--sandbox bwrap cannot be had.*apt-get install"):
        await choose("bwrap", places)
    assert (await choose("plain", places)).sandbox.name == "plain"


async def test_a_trial_that_fails_leaves_nothing(places: Places, tmp_path: Path) -> None:
    """Whatever it is that stands in the way, it is told and swept."""
    sandbox = BwrapSandbox()
    broken = tmp_path.parent / f"{tmp_path.name}-bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: not today' >&2\nexit 1\n")
    broken.chmod(0o755)
    sandbox._program = str(broken)
    assert "bwrap: not today" in await trial(sandbox, places)
    assert list(places.state.iterdir()) == []


@pytest.mark.parametrize("seconds", [0, 0.001, 0.004, 0.02])
async def test_a_trial_that_is_given_up_leaves_nothing(places: Places, seconds: float) -> None:
    """Whenever that is: a daemon may be told to end while it starts."""
    with anyio.move_on_after(seconds):
        await trial(PlainSandbox(), places)
    assert list(places.state.iterdir()) == []


@pytest.fixture
def box() -> Iterator[TrustBox]:
    """A machine whose daemon and experiments are root."""
    with trust_box("root") as box:
        yield box


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to do without its powers")
@pytest.mark.service("bwrap")
def test_where_it_cannot_start_the_daemon_does_not(box: TrustBox) -> None:
    """As in a container: bubblewrap is installed, and may do nothing."""
    assert box.begin("--sandbox", "bwrap", wrapper=NO_MOUNTS).wait(60) == 1
    assert "--sandbox bwrap cannot be had on this machine" in box.log()


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to do without its powers")
def test_auto_opens_no_credentials_that_nobody_meant_to_open(box: TrustBox) -> None:
    """With a credential there it takes the operator's word; without one it goes on."""
    certs = box.root / "certs"
    (certs / "minio").mkdir(parents=True)
    words = ("--certs-dir", str(certs), "--sandbox")
    assert box.begin(*words, "auto", wrapper=NO_MOUNTS).wait(60) == 1
    assert "accept it with --sandbox plain" in box.log()
    (certs / "minio").rmdir()
    box.begin(*words, "auto", wrapper=NO_MOUNTS)
    assert box.outcome(box.submit("print('ran')"))["cause"] == "completed"


def bound(places: Places, *words: str, can: bool = True) -> list[tuple[str, str, bool]]:
    """Return what ``--bind`` comes to."""
    argv = [word for one in words for word in ("--bind", one)]
    state = ("--state-dir", str(places.state), "--working-dir", str(places.state / "work"))
    sandbox = PlainSandbox()
    sandbox.binds = can
    found = binds(Settings.load([*state, *argv], {}), places, sandbox)
    return [(str(one.source), str(one.target), one.writable) for one in found]


def test_binds_are_read_as_they_are_written(places: Places) -> None:
    """Read-only unless it is said otherwise; at their own place unless another one is named."""
    assert bound(places, "/etc", "/usr:rw", "/usr:/opt", "/usr:/opt:ro") == [
        ("/etc", "/etc", False),
        ("/usr", "/usr", True),
        ("/usr", "/opt", False),
        ("/usr", "/opt", False),
    ]


@pytest.mark.parametrize("text", ["data", "/a:/b:/c", "/a:wr", ":"])
def test_a_bind_that_is_none_is_refused(places: Places, text: str) -> None:
    """The option is named, with what it takes."""
    with pytest.raises(Misconfigured, match="--bind"):
        bound(places, text)


def test_binds_that_would_do_harm_are_refused(places: Places, tmp_path: Path) -> None:
    """What is not there, what is to stay hidden, and what would cover the runner's own."""
    with pytest.raises(Misconfigured, match="no directory"):
        bound(places, str(tmp_path / "gone"))
    (tmp_path / "sub").mkdir()
    with pytest.raises(Misconfigured, match="must not see"):
        bound(places, str(tmp_path / "sub"))
    with pytest.raises(Misconfigured, match="cover the runner's own"):
        bound(places, f"/etc:{tmp_path.parent}")
    with pytest.raises(Misconfigured, match="can mount nothing"):
        bound(places, "/etc", can=False)


@pytest.mark.service("apptainer")
async def test_containers_are_tried_by_a_real_start(places: Places) -> None:
    """Also where no image is at hand: this machine's own programs do, and nothing is left."""
    choice = await container_sandbox(_settings(), places)
    assert choice.sandbox.name == "apptainer"
    assert choice.sandbox.images
    assert list(places.state.iterdir()) == []


@pytest.mark.service("apptainer")
async def test_containers_are_tried_in_the_image_that_there_is(places: Places, image: Path) -> None:
    """One that is none is told with Apptainer's reason."""
    assert (await container_sandbox(_settings(), places, image)).sandbox.images
    broken = places.state.parent / f"{places.state.name}.sif"
    broken.write_text("no image\n")
    with pytest.raises(Misconfigured, match=r"no container can be started.*apptainer cannot"):
        await container_sandbox(_settings(), places, broken)


async def test_without_apptainer_one_sentence_says_so(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Experiments that bring no image are not concerned."""
    monkeypatch.setenv("PATH", "/gone")
    monkeypatch.setattr("runner.sandboxes.apptainer._PLACES", "/gone")
    with pytest.raises(Misconfigured, match=r"no container can be started.*not installed"):
        await container_sandbox(_settings(), places)


async def test_a_sandbox_of_images_needs_one(places: Places) -> None:
    """``--sandbox apptainer`` alone would leave experiments without an image nowhere to run."""
    with pytest.raises(Misconfigured, match=r"--sandbox apptainer needs an image.*--container"):
        await chosen(_settings("--sandbox", "apptainer"), places)


@pytest.mark.parametrize(
    "name", ["plain", pytest.param("bwrap", marks=pytest.mark.service("bwrap"))]
)
async def test_a_network_that_is_off_is_tried_as_well(
    places: Places, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Where it cannot be had the daemon does not start, and says with which option."""
    assert (await choose(name, places, network=False)).sandbox.name == name
    monkeypatch.setattr("runner.sandboxes.bwrap._PLACES", "/gone")
    monkeypatch.setenv("PATH", "/gone")
    if name == "bwrap":
        with pytest.raises(Misconfigured, match=r"cannot be had.*with --network off"):
            await choose(name, places, network=False)


def _settings(*words: str) -> Settings:
    return Settings.load(words, {})
