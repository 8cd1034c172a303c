"""How long a card stands idle between experiments with large inputs, staged and not.

PYTHONPATH=. python benchmarks/staging.py [--size 1g] [--experiments 4] [--seconds 6]

The real daemon, a stub of the driver with one card, and the local store: each experiment has an
input of its own of that size, which is fetched and unpacked, and runs for so many seconds. Idle is
the time between the last line of one experiment and the first line of the next, as they write it
themselves. ``--size 5g --seconds 30`` is the case that the goal of a second is meant for; it needs
60 GB of disk.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import statistics
import tarfile
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from runner.request.units import format_size, parse_size
from tests.acceptance.box import Box, until
from tests.servers.nvml import Card, Nvml, compiled

SCRIPT = """
import os, pathlib, sys, time
begun = time.time()
size = sum(path.stat().st_size for path in pathlib.Path('../data').rglob('*'))
assert size >= {size}, size
time.sleep({seconds})
pathlib.Path({note!r}).write_text(f'{{begun}} {{time.time()}}')
"""
_PIECE = 1 << 24
_LONGEST = 1200.0


@dataclass(frozen=True)
class Bench:
    """What is run, and where its parts are."""

    size: int
    experiments: int
    seconds: float
    place: Path
    #: With which a daemon sees the card.
    variables: Mapping[str, str]

    @property
    def inputs(self) -> Path:
        """The directory of the archives."""
        return self.place / "inputs"


def main() -> None:
    """Measure both and print them side by side."""
    options = _options()
    with tempfile.TemporaryDirectory(dir=options.place) as directory:
        place = Path(directory)
        nvml = Nvml(compiled(_made(place / "driver")), place / "cards")
        nvml.cards = [Card("NVIDIA L4")]
        size = int(parse_size(options.size))
        bench = Bench(size, options.experiments, options.seconds, place, nvml.variables)
        _make_inputs(bench)
        _show(bench, {staged: _idle(bench, staged) for staged in (1, 0)})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="seconds that a card stands idle")
    parser.add_argument("--size", default="1g", help="of each experiment's input")
    parser.add_argument("--experiments", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=6.0, help="that each of them runs")
    parser.add_argument("--place", default=None, help="directory with room for everything")
    return parser.parse_args()


def _made(place: Path) -> Path:
    place.mkdir()
    return place


def _make_inputs(bench: Bench) -> None:
    """Make archives of one large file each, no two of which are alike."""
    bench.inputs.mkdir()
    piece = os.urandom(_PIECE)
    for number in range(bench.experiments):
        info = tarfile.TarInfo("data.bin")
        info.size = bench.size
        with (bench.inputs / f"{number}.tar").open("wb") as file:
            file.write(info.tobuf())
            for start in range(0, bench.size, _PIECE):
                file.write((number.to_bytes(8, "big") + piece[8:])[: bench.size - start])
            file.write(bytes(tarfile.RECORDSIZE + -file.tell() % tarfile.RECORDSIZE))


def _idle(bench: Bench, staged: int) -> list[float]:
    """Return the gaps between experiments."""
    with Box(_made(bench.place / f"staged-{staged}")) as box:
        box.start("--staged", str(staged), variables=bench.variables)
        _run_warm_up(box)
        notes = [box.root / f"note-{number}" for number in range(bench.experiments)]
        for number, note in enumerate(notes):
            _submit(box, bench, bench.inputs / f"{number}.tar", note)
        until(lambda: all(map(_is_written, notes)) or None, "all have run", box.log, _LONGEST)
        times = sorted(tuple(map(float, note.read_text().split())) for note in notes)
    shutil.rmtree(box.root)
    return [after[0] - before[1] for before, after in itertools.pairwise(times)]


def _is_written(note: Path) -> bool:
    return note.exists() and note.read_text() != ""


def _run_warm_up(box: Box) -> None:
    """The environment is built, and the daemon has imported what it needs."""
    key = box.submit("print('warm')")
    assert box.outcome(key)["cause"] == "completed"
    time.sleep(3)


def _submit(box: Box, bench: Bench, archive: Path, note: Path) -> None:
    script = SCRIPT.format(size=bench.size, seconds=bench.seconds, note=str(note))
    needs = {"cpus": 1, "ram": "64m", "hdd": f"{2 * bench.size}b", "gpus": 1, "gpuMem": "1g"}
    message = box.message(script, resources_needed=needs)
    key = f"blobstore/{archive.name}"
    os.link(archive, box.storage / key)
    message["experiment"]["artifacts"]["data"] = box.artifact(key, mutable=False)
    box.publish(message)


def _show(bench: Bench, idle: Mapping[int, list[float]]) -> None:
    table = Table(
        "seconds idle between experiments",
        *("median", "longest", "gaps"),
        title=f"{bench.experiments} experiments of {bench.seconds:g} s, each with "
        f"{format_size(bench.size)} of its own, one card",
    )
    for staged, gaps in idle.items():
        name = f"--staged {staged}"
        shown = " ".join(f"{gap:.2f}" for gap in gaps)
        table.add_row(name, f"{statistics.median(gaps):.2f}", f"{max(gaps):.2f}", shown)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
