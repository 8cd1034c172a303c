"""The page behind a real listener, with a daemon whose every answer the test decides."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from anyio.from_thread import start_blocking_portal

from runner.redaction import Secret
from runner.web.assets import Assets
from runner.web.message import ACTS, Answer, Request, document
from runner.web.site import Page, Site
from tests.web.browser import listening

Json = dict[str, Any]
GIB = 1 << 30


@dataclass(eq=False)
class Stage:
    """What is told, and what was asked for."""

    status: Json
    #: Of every run alike.
    output: str = ""
    url: str = ""
    #: In the place of the usual answers, by path.
    instead: dict[str, Callable[[Request], Answer]] = field(default_factory=dict)
    #: Paths of what was done.
    done: list[str] = field(default_factory=list)

    @property
    def site(self) -> Site:
        """Return all pages."""
        acts = ("/cancel", "/suspend", "/resume", "/drain")
        return Site(
            {
                **Assets().pages,
                "/status.json": Page(self._answer),
                "/output.json": Page(self._answer),
                **{path: Page(self._answer, methods=ACTS) for path in acts},
            }
        )

    async def _answer(self, request: Request) -> Answer:
        if request.method in ACTS:
            self.done.append(request.path)
        if request.path in self.instead:
            return self.instead[request.path](request)
        if request.path == "/output.json":
            start = int(request.asked("from"))
            end = len(self.output)
            piece = {"stream": "one", "start": start, "end": end, "is_over": False}
            return document({**piece, "text": self.output[start:]})
        return document(self.status if request.path == "/status.json" else {})


@contextmanager
def staged(token: str = "") -> Iterator[Stage]:
    """Serve the page on a free port, from a thread of its own."""
    stage = Stage(standing())
    opened = listening(site=stage.site, token=Secret(token))
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(opened) as listener:
        stage.url = f"http://{listener.addresses[0]}"
        yield stage


def standing(**changes: Any) -> Json:
    """Return the status of a daemon that does nothing; ``changes`` go into its ``daemon``."""
    now = time.time()
    first = int(now) // 3600 * 3600 - 23 * 3600
    hours = [
        {"start": first + number * 3600, "completed": 0, "failed": 0, "other": 0}
        for number in range(24)
    ]
    size = {"cores": 16, "memory": 64 * GIB, "disk": 512 * GIB, "gpus": []}
    daemon = {
        "pid": 1,
        "version": "1",
        "revision": "",
        "host": "gpu-1",
        "started": now - 60,
        "now": now,
        "draining": False,
        "suspended_by": [],
        "fuse": "",
        "messages": "in clear",
        "not_reloaded": "",
        "capacity": size,
        "free": size,
        "gpus": [],
        "why_no_gpus": "",
        "cache": None,
        "environments": None,
        "waits": "",
        "queues": [],
        "passed_over": [],
        "sources": [],
        "hours": hours,
    }
    return {"version": 1, "daemon": {**daemon, **changes}, "running": [], "recent": []}


def running(key: str, **changes: Any) -> Json:
    """Return what status tells of an experiment that runs."""
    usual = {
        "key": key,
        "queue": "local_test",
        "account": "local:",
        "project": "digits",
        "attempt": 1,
        "stage": "run",
        "phase": "running",
        "since": time.time() - 40,
        "started": time.time() - 30,
        "limit": 600,
        "cores": 2,
        "memory": GIB,
        "disk": GIB,
        "gpus": [],
        "used": {"cores": 1.5, "memory": GIB // 2, "disk": 0},
        "idle_since": None,
        "image": "",
        "run": f"run-{key}",
        "output": None,
    }
    return {**usual, **changes}


def ending(key: str, **changes: Any) -> Json:
    """Return what status tells of an experiment that has ended."""
    usual = {
        "key": key,
        "queue": "local_test",
        "project": "digits",
        "attempt": 1,
        "cause": "completed",
        "exit_code": 0,
        "detail": "",
        "settled": "acked",
        "ended": time.time() - 10,
        "seconds": 30.0,
        "advice": "",
    }
    return {**usual, **changes}
