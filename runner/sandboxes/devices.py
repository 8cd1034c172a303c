"""The device nodes of NVIDIA's cards, for sandboxes that hide devices."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

_DEV = Path("/dev")
#: Of the driver itself: every program that uses a card opens them.
_COMMON = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset")
#: The driver keeps who may use a MIG instance in there.
_CAPABILITIES = "nvidia-caps"


def of_cards(
    minors: Collection[int] | None, dev: Path = _DEV, *, capabilities: Collection[int] | None = None
) -> tuple[Path, ...]:
    """Return what is there for the cards with these minor numbers; ``None``: for all cards.

    ``capabilities``: the numbers of what opens parts of them; ``None``: all that there is. Which
    cards a run sees is told to it by its variables in any case.
    """
    if minors is None:
        found = [path for path in dev.glob("nvidia*") if path.name[6:].isdigit()]
    else:
        found = [dev / f"nvidia{minor}" for minor in minors]
    common = [dev / name for name in _COMMON]
    there = [path for path in (*sorted(found), *common) if path.is_char_device()]
    return (*there, *_opening(dev / _CAPABILITIES, capabilities))


def _opening(folder: Path, numbers: Collection[int] | None) -> Iterator[Path]:
    if numbers is None:
        yield from [folder] if folder.is_dir() else []
        return
    nodes = (folder / f"nvidia-cap{number}" for number in sorted(numbers))
    yield from (node for node in nodes if node.is_char_device())
