"""The probes of cards: what every one promises, and how the process that asks lives and dies."""

from __future__ import annotations

import os
import re
import shlex
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import anyio
import psutil
import pytest

from runner.resources.base import GpuInventory, GpuProbe
from runner.resources.gpu import NvmlProbe
from runner.resources.no_gpu import NoGpuProbe
from tests.contracts.resources import GpuProbeContract
from tests.servers.nvml import Card, Nvml

PYTHON = shlex.quote(sys.executable)
pytestmark = pytest.mark.anyio

_PATIENCE = 60.0
_DAEMON = """
import anyio, sys
from runner.resources.gpu import NvmlProbe
async def main():
    probe = NvmlProbe()
    print("looking", flush=True)
    print((await probe.look()).gpus[0].uuid, flush=True)
    await anyio.sleep_forever()
anyio.run(main)
"""


def _script(path: Path, *lines: str) -> str:
    """Write a program that is started instead of Python."""
    path.write_text("".join(f"{line}\n" for line in ("#!/bin/sh", *lines)))
    path.chmod(0o755)
    return str(path)


def _asking() -> list[psutil.Process]:
    """Return our processes that ask the driver."""
    return [one for one in psutil.Process().children() if "nvml/main.py" in str(one.cmdline())]


@pytest.fixture
async def probe(nvml: Nvml) -> AsyncIterator[NvmlProbe]:
    """Ask a driver that has two cards."""
    nvml.cards = [Card("Tesla V100-SXM2-16GB"), Card("NVIDIA L4")]
    async with aclosing(NvmlProbe(variables=nvml.variables, timeout=_PATIENCE)) as probe:
        yield probe


@pytest.mark.service("nvml")
class TestNvmlProbe(GpuProbeContract):
    """The real probe, its process and pynvml, with two cards."""

    @pytest.fixture
    async def probe(self, nvml: Nvml) -> AsyncIterator[GpuProbe]:
        """Ask a driver that has two cards."""
        nvml.cards = [Card("Tesla V100-SXM2-16GB"), Card("NVIDIA L4")]
        async with aclosing(NvmlProbe(variables=nvml.variables)) as probe:
            yield probe


class TestNvmlProbeWithoutDriver(GpuProbeContract):
    """The real probe where no driver is found."""

    @pytest.fixture
    async def probe(self, tmp_path: Path) -> AsyncIterator[GpuProbe]:
        """Ask a driver that cannot be loaded, also where there is a real one."""
        (tmp_path / "libnvidia-ml.so.1").write_bytes(b"no library")
        async with aclosing(NvmlProbe(variables={"LD_LIBRARY_PATH": str(tmp_path)})) as probe:
            yield probe


class TestNoGpuProbe(GpuProbeContract):
    """The probe of a machine that gives out no cards."""

    @pytest.fixture
    def probe(self) -> GpuProbe:
        """Ask nobody."""
        return NoGpuProbe()


# ---------------------------------------------------------------------- one process, many looks


@pytest.mark.service("nvml")
async def test_all_looks_are_asked_of_one_process(probe: NvmlProbe) -> None:
    """Starting Python for each would cost more than the driver takes to answer."""
    pids = []
    for _ in range(3):
        await probe.look()
        pids += [process.pid for process in _asking()]
    assert len(pids) == 3
    assert len(set(pids)) == 1


@pytest.mark.service("nvml")
async def test_those_who_wait_share_what_is_asked_after_they_came(
    nvml: Nvml, probe: NvmlProbe
) -> None:
    """Never what was asked before: what they want to see may have happened since."""
    await probe.look()
    found: list[GpuInventory] = []

    async def look() -> None:
        found.append(await probe.look())

    nvml.hang()
    async with anyio.create_task_group() as group:
        group.start_soon(look)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(look)
        group.start_soon(look)
        await anyio.wait_all_tasks_blocked()
        nvml.mend()
    assert found[0] is not found[1]
    assert found[1] is found[2]


@pytest.mark.service("nvml")
async def test_it_holds_nothing_of_the_daemons(probe: NvmlProbe) -> None:
    """No descriptor, so no lock; no terminal, so no Ctrl-C; no directory that is to be removed."""
    reading, writing = os.pipe()
    try:
        os.set_inheritable(reading, True)  # noqa: FBT003 - positional only
        await probe.look()
        (process,) = _asking()
        kinds = {
            number: os.stat(f"/proc/{process.pid}/fd/{number}").st_mode  # noqa: PTH116 - not the link
            for number in os.listdir(f"/proc/{process.pid}/fd")  # noqa: PTH208 - numbers
        }
        assert set(kinds) == {"0", "1", "2"}
        assert stat.S_ISCHR(kinds["2"])
        assert os.getsid(process.pid) == process.pid
        assert process.cwd() == "/"
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.service("nvml")
async def test_a_process_that_was_killed_is_replaced_unnoticed(probe: NvmlProbe) -> None:
    """The kernel may kill it for want of memory; no card is lost by that."""
    before = await probe.look()
    _asking()[0].kill()
    assert await probe.look() == before


# ---------------------------------------------------------------------- a driver that hangs


@pytest.mark.service("nvml")
async def test_a_hung_driver_call_is_given_up(nvml: Nvml) -> None:
    """A driver that never answers costs the timeout, not the daemon; its process is gone."""
    nvml.cards = [Card(), Card()]
    nvml.hang("GPU-00000001")
    async with aclosing(NvmlProbe(variables=nvml.variables, timeout=0.5)) as probe:
        for _ in range(2):
            found = await probe.look()
            assert found.why_none == "the NVIDIA driver gave no answer in 0.5 s"
            assert not found.gpus
            assert not _asking()


@pytest.mark.service("nvml")
async def test_a_driver_that_answers_again_is_asked_by_a_new_process(nvml: Nvml) -> None:
    """What hung is given up, not waited for."""
    nvml.cards = [Card()]
    variables = nvml.variables
    async with aclosing(NvmlProbe(variables=variables, timeout=_PATIENCE)) as probe:
        before = await probe.look()
        (process,) = _asking()
        nvml.hang()
        probe._interview._timeout = 0.3
        assert "no answer" in (await probe.look()).why_none
        assert not process.is_running()
        nvml.mend()
        probe._interview._timeout = _PATIENCE
        assert await probe.look() == before


@pytest.mark.service("nvml")
async def test_a_cancelled_look_leaves_no_answer_to_the_next(nvml: Nvml, probe: NvmlProbe) -> None:
    """The next one gets what is so now, and the Xids that the cancelled one would have told."""
    await probe.look()
    nvml.xid("GPU-00000001", 79)
    found = None

    async def look() -> None:
        nonlocal found
        found = await probe.look()

    async with anyio.create_task_group() as group:
        group.start_soon(look)
        while probe._interview._number < 2:  # its question is not on its way
            await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    assert found is None
    nvml.change("GPU-00000000", used=5 << 20)
    found = await probe.look()
    assert found.readings["GPU-00000000"].used == 5 << 20
    assert found.readings["GPU-00000001"].xids == (79,)
    assert (await probe.look()).readings["GPU-00000001"].xids == ()


@pytest.mark.service("nvml")
async def test_closing_ends_a_look_that_hangs(nvml: Nvml, probe: NvmlProbe) -> None:
    """The daemon leaves whatever the driver does, and nobody waits for its answer any more."""
    nvml.hang()
    found: list[GpuInventory] = []

    async def look() -> None:
        found.append(await probe.look())

    with anyio.fail_after(_PATIENCE / 2):
        async with anyio.create_task_group() as group:
            group.start_soon(look)
            await anyio.wait_all_tasks_blocked()
            await probe.aclose()
    assert found[0].why_none == "the process that asks the NVIDIA driver was ended"
    assert not _asking()


@pytest.mark.service("nvml")
@pytest.mark.parametrize("hangs", [False, True])
async def test_it_does_not_outlive_a_killed_daemon(nvml: Nvml, *, hangs: bool) -> None:
    """Neither while it waits for a question nor while it hangs in the driver."""
    nvml.cards = [Card()]
    if hangs:
        nvml.hang()
    root = str(Path(__file__).parents[2])
    environ = {**os.environ, **nvml.variables, "PYTHONPATH": root}
    async with await anyio.open_process(
        [sys.executable, "-c", _DAEMON], env=environ, stderr=subprocess.STDOUT
    ) as daemon:
        assert daemon.stdout is not None
        said = b""
        while (b"looking" if hangs else b"GPU-00000000") not in said:
            said += await daemon.stdout.receive()
        await _until(psutil.Process(daemon.pid).children)
        (asking,) = psutil.Process(daemon.pid).children()
        daemon.send_signal(signal.SIGKILL)
    await _until(lambda: not asking.is_running() or asking.status() == psutil.STATUS_ZOMBIE)


async def _until(is_so: Callable[[], object]) -> None:
    """Wait for something that nobody tells of."""
    for _ in range(2000):
        if is_so():
            return
        await anyio.sleep(0.01)
    pytest.fail("it does not come to that")


# ---------------------------------------------------------------------- a process that is no use


async def test_a_broken_interpreter_is_a_reason(tmp_path: Path) -> None:
    """A probe whose process cannot even be started does not raise."""
    found = await NvmlProbe(python=str(tmp_path / "none")).look()
    assert "cannot be started" in found.why_none


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (["echo nonsense; read more"], "said b'nonsense'"),
        (["echo '{\"gpus\": [7]}'; read more"], "said b'{"),
        (["read question; exec >&-; exec sleep 1000"], "closed its pipe"),
        (["read question; exit 3"], "ended with exit status 3"),
        (["read question; kill -SEGV $$"], "ended with SIGSEGV"),
        (['echo \'{"number": 1, "cards": [7]}\'; read more'], "cannot be read"),
        (['echo \'{"number": 1, "cards": 7}\'; read more'], "cannot be read"),
        (["read question; exec tr '\\0' x < /dev/zero"], "said far too much"),
    ],
)
async def test_whatever_the_process_does_is_a_reason(
    tmp_path: Path, lines: list[str], why: str
) -> None:
    """And the next look starts another one; none is left behind."""
    python = _script(tmp_path / "python", *lines)
    async with aclosing(NvmlProbe(python=python, timeout=_PATIENCE)) as probe:
        for _ in range(2):
            found = await probe.look()
            assert why in found.why_none
            assert not found.gpus


@pytest.mark.service("nvml")
async def test_a_mistake_of_ours_about_the_driver_is_a_reason(nvml: Nvml, tmp_path: Path) -> None:
    """The process tells what went wrong before it ends, and where."""
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    (wrong / "pynvml.py").write_text("class NVMLError(Exception): ...\n")
    nvml.cards = [Card()]
    python = _script(
        tmp_path / "python", f'exec {shlex.quote(sys.executable)} "$1" "$2" "$3" {wrong}'
    )
    async with aclosing(NvmlProbe(variables=nvml.variables, python=python)) as probe:
        why = (await probe.look()).why_none
    assert re.search(r"the question failed: AttributeError .*nvmlInit.*\(driver.py:\d+\)", why)


async def test_a_missing_package_is_named(tmp_path: Path) -> None:
    """Somebody installed the daemon without its dependencies."""
    python = _script(
        tmp_path / "python", f'exec {shlex.quote(sys.executable)} "$1" "$2" "$3" {tmp_path}'
    )
    async with aclosing(NvmlProbe(python=python)) as probe:
        assert "nvidia-ml-py is not installed" in (await probe.look()).why_none
