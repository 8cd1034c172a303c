"""Transfers against boto3, the minio SDK, obstore and GNU tar, with SeaweedFS on loopback.

python benchmarks/transfers.py [--quick] [--rounds N] [large] [small] [tar] [memory]

Everybody's transfer ends with the checksum of what was moved. Who is first changes from round to
round; all figures are medians (of two rounds, means). ``--quick`` moves a sixteenth.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.transferring import large, memory, small, unpacking
from benchmarks.transferring.contenders import OursMinio, Place
from tests.servers import seaweed

LARGE = 1 << 30
SMALL, EXPERIMENTS = 2000, 40
MEMBERS = 20_000
HUGE, AT_ONCE = 5 << 30, 4
#: A volume has room for a transfer, and there are enough of them.
ROOM = ("-volume.max=100", "-master.volumeSizeLimitMB=1024")

Part = Callable[[Place], Iterable[Table]]


def parts(rounds: int, scale: int) -> dict[str, Part]:
    """Return what can be measured, by name."""
    size, members = LARGE // scale, MEMBERS // scale
    count, experiments = SMALL // scale, EXPERIMENTS // scale
    return {
        "large": lambda place: large.measure(place, size, rounds),
        "small": lambda place: [small.measure(place, count, experiments, rounds)],
        "tar": lambda place: [unpacking.measure(place, OursMinio, size, members, rounds)],
        "memory": lambda place: [memory.measure(place, "minio", HUGE // scale, AT_ONCE)],
    }


def main(names: list[str], rounds: int, scale: int) -> None:
    """Measure each on a server of its own, and print it at once."""
    for name, part in parts(rounds, scale).items():
        if names and name not in names:
            continue
        with tempfile.TemporaryDirectory() as directory:
            folder, files = Path(directory) / "server", Path(directory) / "files"
            folder.mkdir()
            files.mkdir()
            with seaweed.running(folder, *ROOM) as server, server.bucket() as bucket:
                for table in part(Place(server, bucket, files)):
                    Console(width=120).print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", choices=[[], "large", "small", "tar", "memory"])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    main(given.what, given.rounds, 16 if given.quick else 1)
