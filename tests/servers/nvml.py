"""NVIDIA's driver as the real ``pynvml`` sees it: a library, compiled once, whose cards change.

    @pytest.mark.service("nvml")
    def test_...(nvml: Nvml) -> None:                 # a fixture, from tests/conftest.py
        nvml.cards = [Card("NVIDIA L4"), Card("Tesla T4", "GPU-t4"), Card("NVIDIA A100-SXM4-40GB",
                      parts=[Part("1g.5gb"), Part("3g.20gb", "MIG-b")])]
        box.start(variables=nvml.variables)           # LD_LIBRARY_PATH, NVML_STUB; or
        NvmlProbe(variables={**os.environ, **nvml.variables})
        nvml.install(monkeypatch)                     # for this process and its children

Cards without a UUID get ``GPU-00000000``, ``GPU-00000001``… by place, parts ``MIG-00000002-1``…;
without memory they get what such cards have. Everything can be changed live, and is seen by the
next call of whoever has the library loaded; ``card`` is a UUID, of a card or of a part:

    nvml.lose(card)                  falls off the bus: "GPU is lost"; lose(card, UNKNOWN_ERROR)
    nvml.hang(card)                  its next call never returns; hang() is the whole driver
    nvml.mend(card)                  undoes both; mend() everything, also unload and lack
    nvml.change(card, used=1 << 30, utilization=80, temperature=70, power=250_000, ecc=2,
                retiring=True, remapping=True, remap_failed=True, memory=..., name=...)
    nvml.runs(card, pid, memory)     a process computes there, and its memory is in use;
    nvml.runs(card, pid, memory, draws=True)   a desktop
    nvml.runs(card, pid, memory, lives=True)   ends by itself, with that process of this machine
    nvml.ends(card, pid)             it has ended, and its memory is back
    nvml.xid(card, 79)               the driver tells of an Xid, once
    nvml.links = {("GPU-a", "GPU-b"): NVLINK, ("GPU-a", "GPU-c"): SYSTEM}   what is near to what
    nvml.lack("nvmlDeviceGetPowerUsage", card)   the card (or no card, without one) supports it
    nvml.unload() / nvml.load()      the driver's module goes; load: again, all must init anew
    nvml.cards = [...]               other cards; nvml.cards[0].uuid reads them
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

MIB = 1 << 20
#: What such cards have, as their drivers tell it.
MEMORY = {
    "Tesla T4": 15360 * MIB,
    "Tesla V100-SXM2-16GB": 16160 * MIB,
    "NVIDIA L4": 23034 * MIB,
    "NVIDIA A10": 23028 * MIB,
    "NVIDIA A30": 24576 * MIB,
    "NVIDIA A40": 46068 * MIB,
    "NVIDIA GeForce RTX 4090": 24564 * MIB,
    "NVIDIA A100-SXM4-40GB": 40960 * MIB,
    "NVIDIA A100-SXM4-80GB": 81920 * MIB,
    "NVIDIA H100 80GB HBM3": 81559 * MIB,
    "NVIDIA H200": 143771 * MIB,
    "NVIDIA B200": 183359 * MIB,
}
NOT_SUPPORTED, NO_PERMISSION, NOT_LOADED, NOT_FOUND, LOST, UNKNOWN_ERROR = 3, 4, 9, 13, 15, 999
_NEVER = -1
#: What ``links`` may say: as the driver counts, and what no level of it is.
INTERNAL, SINGLE_SWITCH, SWITCHES, HOST_BRIDGE, NODE, SYSTEM = 0, 10, 20, 30, 40, 50
NVLINK = -1


@dataclass(frozen=True)
class Process:
    """One that uses a card."""

    pid: int
    memory: int
    draws: bool = False
    #: Gone when the process is.
    lives: bool = False


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What a card says of itself; ``None`` is not supported by it."""

    used: int = 0
    #: Percent, degrees, milliwatts.
    utilization: int | None = 0
    temperature: int | None = 40
    power: int | None = 60_000
    ecc: int | None = 0
    retiring: bool | None = False
    remapping: bool | None = False
    remap_failed: bool = False
    processes: tuple[Process, ...] = ()


@dataclass(frozen=True)
class Part(Condition):
    """A MIG instance: ``1g.5gb`` has 5 GB."""

    profile: str
    uuid: str = ""
    memory: int = 0

    def named(self, card: str, uuid: str) -> Part:
        """Fill in what was left out."""
        memory = self.memory or (int(self.profile.partition(".")[2].removesuffix("gb")) << 30)
        profile = self.profile if " " in self.profile else f"{card} MIG {self.profile}"
        return replace(self, profile=profile, uuid=self.uuid or uuid, memory=memory)

    @property
    def name(self) -> str:
        """Return what the driver calls it."""
        return self.profile


@dataclass(frozen=True)
class Card(Condition):
    """A card; with ``parts`` it is in MIG mode."""

    name: str = "NVIDIA L4"
    uuid: str = ""
    memory: int = 0
    parts: Sequence[Part] | None = None
    #: Of its device node; by place where none is named.
    minor: int | None = None
    #: Number in the row of all, and code, as told so far.
    xids: tuple[tuple[int, int], ...] = field(default=(), kw_only=True)

    def named(self, place: int) -> Card:
        """Fill in what was left out."""
        parts = self.parts and [
            part.named(self.name, f"MIG-{place:08d}-{number}")
            for number, part in enumerate(self.parts, 1)
        ]
        memory = self.memory or MEMORY[self.name]
        uuid = self.uuid or f"GPU-{place:08d}"
        minor = place if self.minor is None else self.minor
        return replace(self, uuid=uuid, memory=memory, parts=parts, minor=minor)


class Nvml:
    """The driver of one test; see the top of the file."""

    def __init__(self, library: Path, file: Path) -> None:
        self.file = file
        #: For a process that is to see these cards.
        self.variables = {"LD_LIBRARY_PATH": str(library), "NVML_STUB": str(file)}
        self._cards: list[Card] = []
        self._links: dict[tuple[str, str], int] = {}
        self._faults: dict[tuple[str, str], int] = {}
        self._generation = 1
        self._xids = 0
        self.driver, self.cuda = "550.54.15", 12040
        self._write()

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have this process's children see the cards; not itself where it has loaded a library."""
        for name, value in self.variables.items():
            monkeypatch.setenv(name, value)

    # ------------------------------------------------------------------ what there is

    @property
    def cards(self) -> Sequence[Card]:
        """Return the cards, in the driver's order."""
        return tuple(self._cards)

    @cards.setter
    def cards(self, cards: Sequence[Card]) -> None:
        self._cards = [card.named(place) for place, card in enumerate(cards)]
        self._write()

    @property
    def links(self) -> Mapping[tuple[str, str], int]:
        """Return how near cards are; of pairs that are not named, the driver knows nothing."""
        return dict(self._links)

    @links.setter
    def links(self, links: Mapping[tuple[str, str], int]) -> None:
        self._links = dict(links)
        self._write()

    # ------------------------------------------------------------------ what happens to it

    def change(self, card: str, **values: object) -> None:
        """Have a card or a part say something else from now on."""
        for place, whole in enumerate(self._cards):
            if whole.uuid == card:
                self._cards[place] = replace(whole, **values)  # type: ignore[arg-type] # checked there
            parts = list(whole.parts or ())
            for number, part in enumerate(parts):
                if part.uuid == card:
                    parts[number] = replace(part, **values)  # type: ignore[arg-type] # likewise
                    self._cards[place] = replace(whole, parts=parts)
        self._write()

    def runs(
        self, card: str, pid: int, memory: int = 0, *, draws: bool = False, lives: bool = False
    ) -> None:
        """Have a process use a card, and memory of it."""
        found = self._found(card)
        processes = (*found.processes, Process(pid, memory, draws, lives))
        self.change(card, processes=processes, used=found.used + (0 if lives else memory))

    def ends(self, card: str, pid: int) -> None:
        """Have a process gone, with its memory."""
        found = self._found(card)
        gone = sum(one.memory for one in found.processes if one.pid == pid and not one.lives)
        processes = tuple(one for one in found.processes if one.pid != pid)
        self.change(card, processes=processes, used=found.used - gone)

    def xid(self, card: str, code: int) -> None:
        """Have the driver tell of an error; of a whole card, parts have none of their own."""
        self._xids += 1
        xids = next(one.xids for one in self._cards if one.uuid == card)
        self.change(card, xids=(*xids, (self._xids, code)))

    def lose(self, card: str, code: int = LOST) -> None:
        """Have every call about a card fail."""
        self._fault(self._node(card), "*", code)

    def hang(self, card: str | None = None) -> None:
        """Have no call about a card, or none at all, ever return, until it is mended."""
        self._fault("*" if card is None else self._node(card), "*", _NEVER)

    def lack(self, function: str, card: str | None = None, code: int = NOT_SUPPORTED) -> None:
        """Have a function of the library not supported; NOT_FOUND is an older driver."""
        self._fault("*" if card is None else self._node(card), function, code)

    def unload(self, code: int = NOT_LOADED) -> None:
        """Take the driver's module away: no call works, nor does a new start."""
        self._fault("*", "*", code)

    def load(self) -> None:
        """Load the module again: those who knew the one before must start anew."""
        self._generation += 1
        self.mend()

    def mend(self, card: str | None = None) -> None:
        """Have a card, or everything, work again."""
        node = None if card is None else self._node(card)
        kept = {at: code for at, code in self._faults.items() if node and at[0] != node}
        self._faults = kept
        self._write()

    # ------------------------------------------------------------------ how it is told

    def _fault(self, node: str, function: str, code: int) -> None:
        self._faults[node, function] = code
        self._write()

    def _found(self, card: str) -> Card | Part:
        return next(one for _, one in self._nodes() if one.uuid == card)

    def _node(self, card: str) -> str:
        return next(node for node, one in self._nodes() if one.uuid == card)

    def _nodes(self) -> Iterator[tuple[str, Card | Part]]:
        for place, card in enumerate(self._cards):
            yield str(place), card
            for number, part in enumerate(card.parts or (), 1):
                yield f"{place}/{number}", part

    def _write(self) -> None:
        """Replace the file: a call sees all of a change or nothing."""
        new = self.file.with_suffix(".new")
        new.write_text("".join(f"{line}\n" for line in self._lines()))
        new.replace(self.file)

    def _lines(self) -> Iterator[str]:
        yield f"driver {self.driver}"
        yield f"cuda {self.cuda}"
        yield f"generation {self._generation}"
        yield f"count {len(self._cards)}"
        for node, one in self._nodes():
            yield from (f"card {node} {line}" for line in _about(one))
        for (one_card, other), level in self._links.items():
            pair = f"{self._node(one_card)} {self._node(other)}"
            yield f"nvlink {pair} 1" if level == NVLINK else f"near {pair} {level}"
        for (node, function), code in self._faults.items():
            yield f"fault {node} {function} {code}"


def _about(one: Card | Part) -> Iterator[str]:
    yield from (f"uuid {one.uuid}", f"name {one.name}", f"memory {one.memory}", f"used {one.used}")
    for name in ("utilization", "temperature", "power", "ecc", "retiring", "remapping"):
        value = getattr(one, name)
        if value is not None:
            yield f"{name} {int(value)}"
    yield f"remap_failed {int(one.remap_failed)}"
    for process in one.processes:
        kind = "lives" if process.lives else f"process {'graphics' if process.draws else 'compute'}"
        yield f"{kind} {process.pid} {process.memory}"
    if isinstance(one, Card):
        yield f"mig {int(one.parts is not None)}"
        yield f"minor {one.minor}"
        yield from (f"xid {place} {code}" for place, code in one.xids)


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the driver's library and return its directory."""
    return compiled(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def nvml(nvml_library: Path, tmp_path: Path) -> Nvml:
    """Return a driver that has no cards yet."""
    return Nvml(nvml_library, tmp_path / "nvml-cards")


def compiled(directory: Path) -> Path:
    """Compile the driver's library in a directory; also for what is no test."""
    return _compiled(directory, "libnvidia-ml.so.1", "nvml_stub.c")


def compiled_cuda(directory: Path, nvml: Nvml) -> Path:
    """Compile in a directory the library by which programs compute on these cards."""
    return _compiled(directory, "libcuda.so.1", "cuda_stub.c", f'-DNVML_FILE="{nvml.file}"')


def _compiled(directory: Path, library: str, source: str, *options: str) -> Path:
    command = ["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", *options]
    where = ["-o", str(directory / library), str(Path(__file__).with_name(source))]
    subprocess.run([*command, f"-Wl,-soname,{library}", *where], check=True)
    return directory
