"""The smallest good request, to be spoiled in one place by each test."""

from __future__ import annotations

import json
from typing import Any

from runner.model import Message, Request
from runner.request.schema import decode


def sample() -> dict[str, Any]:
    """Return a new plain request for the local store."""
    return {
        "experiment": {
            "key": "exp1",
            "filename": "train.py",
            "args": [],
            "artifacts": {
                "workspace": {
                    "mutable": False,
                    "unpack": True,
                    "qualified": "file:///store/workspace.tar",
                }
            },
            "resources_needed": {"cpus": 1, "gpus": 0, "ram": "2gb", "hdd": "3gb"},
        },
        "config": {"storage": {"type": "local", "endpoint": "/store", "bucket": "b"}},
    }


def changed(path: str, value: object) -> dict[str, Any]:
    """Return the sample with one member set, ``experiment.key`` say."""
    document = sample()
    *way, last = path.split(".")
    place = document
    for name in way:
        place = place.setdefault(name, {})
    place[last] = value
    return document


def decoded(document: object) -> Request:
    """Decode a document as a message."""
    return decode(Message("1", json.dumps(document).encode(), "local_q"))
