"""The driver's error events: collected as long as it runs, told until they have arrived."""

from __future__ import annotations

import ctypes
from typing import Any

from runner.resources.nvml.card import Lost, tried

#: So many are taken at a time: a card that reports without end must not keep us from answering.
_MOST = 1000
#: And so many are kept when nobody receives them.
_KEPT = 10_000


class Xids:
    """Those of all cards; of a part of a card they are told of the card."""

    def __init__(self) -> None:
        self._events: Any = None
        self._watched: dict[int | None, str] = {}
        #: Number of the answer, UUID and Xid, in order.
        self._told: list[tuple[int, str, int]] = []

    def watch(self, nvml: Any, handles: dict[str, Any]) -> None:
        """Take those of further cards, from now on."""
        if self._events is None:
            self._events = tried(nvml, "nvmlEventSetCreate")
        known = set(self._watched.values())
        for uuid in handles.keys() - known if self._events is not None else ():
            handle, kind = handles[uuid], nvml.nvmlEventTypeXidCriticalError
            self._watched[_address(handle)] = uuid
            try:
                tried(nvml, "nvmlDeviceRegisterEvents", handle, kind, self._events)
            except Lost:
                del self._watched[_address(handle)]

    def since(self, nvml: Any, number: int) -> list[tuple[str, int]]:
        """Return those that have not arrived yet, for the answer of that number."""
        for _ in range(_MOST if self._events is not None else 0):
            try:
                event = tried(nvml, "nvmlEventSetWait_v2", self._events, 0)
            except Lost:
                break
            if event is None:  # the driver calls it a timeout
                break
            uuid = self._watched.get(_address(event.device))
            if uuid is not None and event.eventType == nvml.nvmlEventTypeXidCriticalError:
                self._told.append((number, uuid, int(event.eventData)))
        del self._told[:-_KEPT]
        return [(uuid, xid) for _, uuid, xid in self._told]

    def forget(self, received: int) -> None:
        """Drop those that were told up to that answer."""
        self._told = [told for told in self._told if told[0] > received]

    def stop(self, nvml: Any) -> None:
        """Take no more; what was taken is still to be told."""
        if self._events is not None:
            tried(nvml, "nvmlEventSetFree", self._events)
        self._events, self._watched = None, {}


def _address(handle: Any) -> int | None:
    return ctypes.cast(handle, ctypes.c_void_p).value
