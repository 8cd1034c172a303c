"""What the driver says of each card, and of the parts of one in MIG mode."""

from __future__ import annotations

from typing import Any

#: Codes that are said of the card, whatever was asked; others are said of the question.
_GONE = frozenset({15, 16})
_UNCORRECTED, _VOLATILE = 1, 0
_TEMPERATURE = 0

Json = dict[str, Any]


class Lost(Exception):
    """The card does not answer, in the driver's words."""

    def __init__(self, error: Any) -> None:
        super().__init__(str(error))
        #: Nothing will be answered, whatever is asked.
        self.is_gone = error.value in _GONE


def tried(nvml: Any, function: str, *arguments: Any) -> Any:
    """Return what a function answers, ``None`` where the card or the driver does not know it.

    Raises Lost.
    """
    try:
        return getattr(nvml, function)(*arguments)
    except nvml.NVMLError as error:
        if arguments and error.value in _GONE:
            raise Lost(error) from error
    except nvml.NVMLLibraryMismatchError:  # an older driver has an older function of that name
        pass
    return None


def all_of(nvml: Any, count: int) -> tuple[dict[str, Any], list[Json]]:
    """Return the handles of the cards that answer, by UUID, and what each says."""
    handles: dict[str, Any] = {}
    cards = []
    for index in range(count):
        said: Json = {"lost": ""}
        cards.append(said)
        try:
            handle = _needed(nvml, "nvmlDeviceGetHandleByIndex", index)
            said["uuid"] = _needed(nvml, "nvmlDeviceGetUUID", handle)
            _tell(nvml, handle, said)
            handles[said["uuid"]] = handle
        except Lost as error:
            said |= {"lost": str(error), "gone": error.is_gone}
    return handles, cards


def _needed(nvml: Any, function: str, *arguments: Any) -> Any:
    """Return what a function answers without which there is no card. Raises Lost."""
    try:
        return getattr(nvml, function)(*arguments)
    except nvml.NVMLError as error:
        raise Lost(error) from error


def _tell(nvml: Any, handle: Any, said: Json) -> None:
    """Fill in what a card says; as much as it says before it is lost."""
    mode = tried(nvml, "nvmlDeviceGetMigMode", handle)
    # A container that has parts of a card need not be told the memory of all of it.
    said["minor"] = tried(nvml, "nvmlDeviceGetMinorNumber", handle)
    said["parts"] = _parts(nvml, handle) if mode and mode[0] else None
    if said["parts"] is None:
        said |= _device(nvml, handle)
    said |= _state(nvml, handle)


def _device(nvml: Any, handle: Any) -> Json:
    """Return what a card and a part of one have alike."""
    memory = _memory(nvml, handle)
    rates = tried(nvml, "nvmlDeviceGetUtilizationRates", handle)
    return {
        "name": _needed(nvml, "nvmlDeviceGetName", handle),
        "memory": int(memory.total),
        "used": int(memory.used),
        "processes": _processes(nvml, handle),
        "utilization": None if rates is None else rates.gpu / 100,
    }


def _memory(nvml: Any, handle: Any) -> Any:
    """Ask for the memory; what the driver keeps for itself counts as used to older ones."""
    newer = tried(nvml, "nvmlDeviceGetMemoryInfo", handle, nvml.nvmlMemory_v2)
    return newer if newer is not None else _needed(nvml, "nvmlDeviceGetMemoryInfo", handle)


def _state(nvml: Any, handle: Any) -> Json:
    errors = tried(nvml, "nvmlDeviceGetTotalEccErrors", handle, _UNCORRECTED, _VOLATILE)
    retiring = tried(nvml, "nvmlDeviceGetRetiredPagesPendingStatus", handle)
    remapped = tried(nvml, "nvmlDeviceGetRemappedRows", handle) or (0, 0, 0, 0)
    milliwatts = tried(nvml, "nvmlDeviceGetPowerUsage", handle)
    return {
        "temperature": tried(nvml, "nvmlDeviceGetTemperature", handle, _TEMPERATURE),
        "power": None if milliwatts is None else milliwatts / 1000,
        "ecc_errors": errors or 0,
        "repair_pending": bool(retiring or remapped[2]),
        "repair_failed": bool(remapped[3]),
    }


def _processes(nvml: Any, handle: Any) -> list[tuple[int, int, bool]]:
    """Return pid, memory, and whether it only draws; one that also computes is in both lists."""
    found: dict[int, tuple[int, int, bool]] = {}
    for kind, draws in (("Compute", False), ("Graphics", True)):
        for process in _running(nvml, handle, kind):
            known = found.get(process.pid, (process.pid, 0, draws))
            memory = max(known[1], process.usedGpuMemory or 0)
            found[process.pid] = (process.pid, memory, known[2])
    return list(found.values())


def _running(nvml: Any, handle: Any, kind: str) -> Any:
    """Drivers before 510 know the second version of the function only."""
    newer = tried(nvml, f"nvmlDeviceGet{kind}RunningProcesses_v3", handle)
    if newer is not None:
        return newer
    return tried(nvml, f"nvmlDeviceGet{kind}RunningProcesses_v2", handle) or ()


def _parts(nvml: Any, handle: Any) -> list[Json]:
    """Return the MIG instances; their numbers may have gaps."""
    parts = []
    for number in range(tried(nvml, "nvmlDeviceGetMaxMigDeviceCount", handle) or 0):
        part = tried(nvml, "nvmlDeviceGetMigDeviceHandleByIndex", handle, number)
        if part is None:
            continue
        try:
            parts.append(_part(nvml, part))
        except Lost as error:
            if error.is_gone:
                raise  # else it was taken apart while we looked
    return parts


def _part(nvml: Any, handle: Any) -> Json:
    return {
        "uuid": _needed(nvml, "nvmlDeviceGetUUID", handle),
        "instance": tried(nvml, "nvmlDeviceGetGpuInstanceId", handle),
        "compute": tried(nvml, "nvmlDeviceGetComputeInstanceId", handle),
        **_device(nvml, handle),
    }
