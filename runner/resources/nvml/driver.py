"""The driver: started, asked for all that it knows, started anew when it has gone."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from runner.resources.nvml import card, links
from runner.resources.nvml.xids import Xids

#: Seconds between two new starts because of cards that do not answer: some come back by it.
PATIENCE = 60.0
#: The library in memory is not the one that fits: a new process loads another.
_LIBRARY_NOT_FOUND, _MISMATCH = 12, 18

Json = dict[str, Any]


class Driver:
    """Whatever happens to it, there is an answer: ``cards`` in its order, or an ``error``."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._nvml: Any = None
        self._since: float | None = None
        self._is_doubtful = False
        self._links: list[tuple[str, str, int]] = []
        self._linked: frozenset[str] = frozenset()
        self._xids = Xids()
        #: Only another process can have another answer.
        self.is_stale = False

    def look(self, number: int, received: int) -> Json:
        """Answer a question; Xids of answers up to ``received`` have been told."""
        self._xids.forget(received)
        if self._is_doubtful and self._since is not None and self._is_time():
            self._stop()
        found = self._look(number)
        if found is None:  # gone under our feet; it may be another one by now
            self._stop()
            found = self._look(number)
        return found or {"error": "the NVIDIA driver does not answer: it goes away again and again"}

    def _is_time(self) -> bool:
        return self._since is not None and self._clock() - self._since >= PATIENCE

    def _look(self, number: int) -> Json | None:
        """Return ``None`` when a driver that was there is not there any more."""
        was_there = self._since is not None
        error = "" if was_there else self._start()
        if error:
            return {"error": error}
        try:
            count = int(self._nvml.nvmlDeviceGetCount())
        except self._nvml.NVMLError as trouble:
            if was_there:
                return None
            self._stop()
            return {"error": f"the NVIDIA driver does not answer: {trouble}"}
        handles, cards = card.all_of(self._nvml, count)
        self._is_doubtful = any(one["lost"] for one in cards)
        self._look_beside(handles)
        return {
            "cards": cards,
            "links": self._links,
            "xids": self._xids.since(self._nvml, number),
            "driver": card.tried(self._nvml, "nvmlSystemGetDriverVersion") or "",
            "cuda": card.tried(self._nvml, "nvmlSystemGetCudaDriverVersion_v2") or 0,
        }

    def _look_beside(self, handles: dict[str, Any]) -> None:
        """Look at what changes only with the cards: asking each pair of them takes a while."""
        self._xids.watch(self._nvml, handles)
        if self._linked != frozenset(handles):
            self._links = links.between(self._nvml, handles)
            self._linked = frozenset(handles)

    def _start(self) -> str:
        """Start it, or say why that cannot be."""
        try:
            import pynvml  # noqa: PLC0415 - its absence is an answer too
        except ImportError as error:
            self.is_stale = True
            return f"the package nvidia-ml-py is not installed ({error})"
        self._nvml = pynvml
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            self.is_stale = error.value in {_LIBRARY_NOT_FOUND, _MISMATCH}
            if error.value == _LIBRARY_NOT_FOUND:
                return "no NVIDIA driver is installed (libnvidia-ml.so.1 is not found)"
            return f"the NVIDIA driver does not answer: {error}"
        self._since = self._clock()
        return ""

    def _stop(self) -> None:
        self._since, self._linked = None, frozenset()
        self._xids.stop(self._nvml)
        card.tried(self._nvml, "nvmlShutdown")
