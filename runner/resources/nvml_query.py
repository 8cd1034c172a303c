"""Asks the driver for the cards and prints them as JSON; a program of its own, see ``gpu.py``."""

from __future__ import annotations

import json
import sys


def query() -> dict[str, object]:
    """Return ``gpus`` in the driver's order, or ``error`` with the reason there are none."""
    try:
        import pynvml  # noqa: PLC0415 - its absence is an answer too
    except ImportError as error:
        return {"error": f"the package nvidia-ml-py is not installed ({error})"}
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound:
        return {"error": "no NVIDIA driver is installed (libnvidia-ml.so.1 is not found)"}
    except pynvml.NVMLError as error:
        return {"error": f"the NVIDIA driver does not answer: {error}"}
    gpus: list[dict[str, object] | None] = []
    lost = ""
    for index in range(pynvml.nvmlDeviceGetCount()):
        try:
            card = pynvml.nvmlDeviceGetHandleByIndex(index)
            name, uuid = pynvml.nvmlDeviceGetName(card), pynvml.nvmlDeviceGetUUID(card)
            memory = int(pynvml.nvmlDeviceGetMemoryInfo(card).total)
        except pynvml.NVMLError as error:  # one card that fell off the bus hides no other
            gpus.append(None)
            lost = f"card {index} does not answer: {error}"
        else:
            gpus.append({"name": name, "uuid": uuid, "memory": memory})
    return {"gpus": gpus, "error": lost}


if __name__ == "__main__":
    json.dump(query(), sys.stdout)
