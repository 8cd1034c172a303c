"""Which device nodes open a MIG instance: the driver lists them in a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

FILE = Path("/proc/driver/nvidia-caps/mig-minors")


def listed(file: Path = FILE) -> Mapping[str, int]:
    """Return the numbers of the nodes by what they open; nothing where there is no such list."""
    try:
        lines = file.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return {}
    pairs = [line.split() for line in lines]
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}  # noqa: PLR2004 - a pair


def of_part(
    opening: Mapping[str, int], minor: int | None, instance: int | None, compute: int | None
) -> tuple[int, ...] | None:
    """Return the numbers for one instance of the card ``minor``; ``None`` where one is missing.

    A program opens its instance of the GPU and, in that, its instance of the compute engines.
    """
    place = f"gpu{minor}/gi{instance}"
    found = [opening.get(f"{place}/access"), opening.get(f"{place}/ci{compute}/access")]
    known = tuple(number for number in found if number is not None)
    return known if len(known) == len(found) else None
