"""What the process answers, as cards and readings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from runner.model import Bytes, Gpu
from runner.resources.base import GpuProcess, GpuReading
from runner.resources.nvml import capabilities

Slots = Callable[[str, Bytes], int]
Json = dict[str, Any]
NO_NODES: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Card:
    """One card in one answer: itself, or its parts where it is in MIG mode."""

    #: Of the whole card; empty when it did not even say that.
    uuid: str
    gpus: tuple[Gpu, ...]
    #: Of each of these.
    readings: Mapping[str, GpuReading]
    #: Older names of parts, to their UUIDs.
    aliases: Mapping[str, str]
    #: Why it does not answer.
    lost: str = ""
    #: See ``GpuReading``.
    is_gone: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """All cards, in the driver's order."""

    cards: tuple[Card, ...] = ()
    #: Why nothing was said of any.
    error: str = ""
    driver: str = ""
    cuda: str = ""
    #: By UUID of the whole card.
    xids: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def read(said: Json, slots: Slots, opening: Mapping[str, int] = NO_NODES) -> Answer:
    """Read an answer. Raises ValueError, KeyError, TypeError where it is none.

    ``opening``: see ``capabilities.listed``.
    """
    links = _links(said.get("links", ()))
    xids: dict[str, tuple[int, ...]] = {}
    for uuid, xid in said.get("xids", ()):
        xids[str(uuid)] = (*xids.get(str(uuid), ()), int(xid))
    version = int(said.get("cuda", 0))
    return Answer(
        cards=tuple(_card(card, links, xids, slots, opening) for card in said.get("cards", ())),
        error=str(said.get("error", "")),
        driver=str(said.get("driver", "")),
        cuda=f"{version // 1000}.{version % 1000 // 10}" if version else "",
        xids=xids,
    )


def _card(
    said: Json,
    links: Mapping[str, dict[str, int]],
    xids: Mapping[str, tuple[int, ...]],
    slots: Slots,
    opening: Mapping[str, int],
) -> Card:
    uuid = str(said.get("uuid", ""))
    if said["lost"]:
        is_gone = bool(said.get("gone"))
        return Card(uuid, (), {}, {}, lost=str(said["lost"]), is_gone=is_gone)
    is_whole, minor = said["parts"] is None, said["minor"]
    devices = [said] if is_whole else said["parts"]
    gpus = []
    for device in devices:
        name, memory = str(device["name"]), Bytes(int(device["memory"]))
        gpus.append(
            Gpu(
                str(device["uuid"]),
                name,
                memory,
                slots(name, memory),
                parent="" if is_whole else uuid,
                links=tuple(sorted(links.get(uuid, {}).items())) if is_whole else (),
                minor=minor,
                capabilities=() if is_whole else _opening(opening, minor, device),
            )
        )
    readings = {str(one["uuid"]): _reading(one, said, xids.get(uuid, ())) for one in devices}
    return Card(uuid, tuple(gpus), readings, dict(_aliases(uuid, said["parts"] or ())))


def _opening(opening: Mapping[str, int], minor: int | None, part: Json) -> tuple[int, ...] | None:
    return capabilities.of_part(opening, minor, part["instance"], part["compute"])


def _reading(device: Json, card: Json, xids: tuple[int, ...]) -> GpuReading:
    return GpuReading(
        used=Bytes(int(device["used"])),
        processes=tuple(
            GpuProcess(int(pid), Bytes(int(memory)), bool(draws))
            for pid, memory, draws in device["processes"]
        ),
        utilization=device["utilization"],
        temperature=card["temperature"],
        power=card["power"],
        ecc_errors=int(card["ecc_errors"]),
        repair_pending=bool(card["repair_pending"]),
        repair_failed=bool(card["repair_failed"]),
        xids=xids,
    )


def _aliases(uuid: str, parts: Any) -> Iterator[tuple[str, str]]:
    """Yield what drivers before 470 call a part, and what people still write."""
    for part in parts:
        if part["instance"] is not None and part["compute"] is not None:
            yield f"MIG-{uuid}/{part['instance']}/{part['compute']}", str(part["uuid"])


def _links(pairs: Any) -> dict[str, dict[str, int]]:
    links: dict[str, dict[str, int]] = {}
    for one, other, distance in pairs:
        links.setdefault(str(one), {})[str(other)] = int(distance)
        links.setdefault(str(other), {})[str(one)] = int(distance)
    return links
