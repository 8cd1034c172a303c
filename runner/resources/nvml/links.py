"""How far cards are from each other, where the driver tells."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from runner.resources.nvml.card import Lost, tried

#: Distances as ``Gpu.links`` counts them, by the driver's name of what two cards have in common.
_NVLINK = 0
_DISTANCES = {0: 1, 10: 1, 20: 2, 30: 3, 40: 4, 50: 5}
_P2P_NVLINK, _P2P_OK = 2, 0


def between(nvml: Any, handles: dict[str, Any]) -> list[tuple[str, str, int]]:
    """Return pairs of UUIDs with their distance; a pair of which nothing is known is left out."""
    links = []
    buses = {uuid: _bus(nvml, handle) for uuid, handle in handles.items()}
    beside = {uuid: _linked(nvml, handle) for uuid, handle in handles.items()}
    for one, other in combinations(handles, 2):
        is_linked = buses[other] in beside[one] or buses[one] in beside[other]
        distance = _distance(nvml, handles[one], handles[other], is_linked=is_linked)
        if distance is not None:
            links.append((one, other, distance))
    return links


def _distance(nvml: Any, one: Any, other: Any, *, is_linked: bool) -> int | None:
    try:
        # Through a switch of NVLinks no link leads to the other card itself.
        is_open = tried(nvml, "nvmlDeviceGetP2PStatus", one, other, _P2P_NVLINK) == _P2P_OK
        if is_linked or is_open:
            return _NVLINK
        level = tried(nvml, "nvmlDeviceGetTopologyCommonAncestor", one, other)
    except Lost:
        return None
    return _DISTANCES.get(level)


def _bus(nvml: Any, handle: Any) -> str:
    try:
        found = tried(nvml, "nvmlDeviceGetPciInfo_v3", handle)
    except Lost:
        found = None
    return _text(found) if found is not None else "?"


def _linked(nvml: Any, handle: Any) -> set[str]:
    """Return the places on the bus of what the card's NVLinks lead to."""
    found = set()
    for number in range(nvml.NVML_NVLINK_MAX_LINKS):
        try:
            if not tried(nvml, "nvmlDeviceGetNvLinkState", handle, number):
                continue
            remote = tried(nvml, "nvmlDeviceGetNvLinkRemotePciInfo", handle, number)
        except Lost:
            break
        if remote is not None:
            found.add(_text(remote))
    return found


def _text(pci: Any) -> str:
    bus: str | bytes = pci.busId
    return (bus.decode() if isinstance(bus, bytes) else bus).lower()
