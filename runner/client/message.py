"""The StudioML message of a submission, in the form that the StudioML client writes. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from runner.client.bucket import Bucket
from runner.request.location import IMAGE_LABEL
from runner.request.trace import TRACEPARENT

BUCKET, DATABASE = "storage", "studioml-meta"
#: Labels that every experiment of the client has besides its workspace.
_MUTABLE = ("modeldir", "retval", "output", "tb", "_metrics", "_metadata")


@dataclass(frozen=True, slots=True)
class Submission:
    """What is submitted."""

    key: str
    #: Script relative to the workspace, or ``-m`` with the module as first argument.
    filename: str
    args: tuple[str, ...]
    requirements: tuple[str, ...]
    #: ``"3.11"``; ``None``: that of the container.
    python: str | None
    #: Directory of the local store, or a bucket.
    store: Path | Bucket
    #: SHA-256 of the packed workspace.
    workspace: str
    #: Where the workspace was packed; runners ignore it.
    directory: Path
    #: ``resources_needed``, as written.
    needs: Mapping[str, Any]
    #: Seconds since the epoch.
    time_added: float
    project: str | None = None
    max_duration: str | None = None
    lifetime: str | None = None
    checkpoint: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    retry_on: tuple[str, ...] = ()
    max_attempts: int | None = None
    #: The container image that it is to run in; empty: the runner decides.
    container: str = ""
    #: The sweep that it belongs to, and what is different in it there; both are in ``info``.
    sweep: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    #: The trace of who submits, in W3C's form; empty: there is none.
    traceparent: str = ""

    def but(self, **changes: Any) -> Submission:
        """Return the submission with some fields changed."""
        return replace(self, **changes)


def message(submission: Submission) -> dict[str, Any]:
    """Return the message (client section 3): the experiment, and the client's configuration."""
    return {"experiment": experiment(submission), "config": _config(submission)}


def experiment(submission: Submission) -> dict[str, Any]:
    """Return the experiment, which is also the object in the client's database."""
    return {
        "key": submission.key,
        "args": [shlex.quote(arg) for arg in submission.args],
        "filename": submission.filename,
        "pythonenv": list(submission.requirements),
        "project": submission.project,
        "pythonver": submission.python,
        "resources_needed": dict(submission.needs),
        "status": "waiting",
        "time_added": submission.time_added,
        "time_started": None,
        "time_last_checkpoint": None,
        "time_finished": None,
        "info": _info(submission),
        "git": None,
        "metric": None,
        "max_duration": submission.max_duration,
        "owner": "guest",
        "from_compl_service": False,
        "artifacts": _artifacts(submission),
    }


def _info(submission: Submission) -> dict[str, Any]:
    if not submission.sweep:
        return {}
    return {"sweep": submission.sweep, "parameters": dict(submission.parameters)}


def _artifacts(submission: Submission) -> dict[str, Any]:
    workspace = _artifact(submission, workspace_key(submission.workspace), mutable=False)
    found = {"workspace": workspace | {"local": str(submission.directory)}}
    for label in _MUTABLE:
        key = f"experiments/{submission.key}/{label}.tar"
        found[label] = _artifact(submission, key, mutable=True)
    if submission.container:
        # An archive would be one by its name alone.
        found[IMAGE_LABEL] = {"qualified": submission.container, "mutable": False}
    return found


def _artifact(submission: Submission, key: str, *, mutable: bool) -> dict[str, Any]:
    described = {"unpack": True, "mutable": mutable, "key": key}
    store = submission.store
    if isinstance(store, Bucket):
        location = store.location(key)
        described |= {"qualified": str(location), "bucket": location.bucket}
        return described | store.credentials()
    # The client writes one slash less than a URL of a file has; runners know it.
    return described | {"qualified": f"file:/{store}/{BUCKET}/{key}"}


def workspace_key(digest: str) -> str:
    """Return the key of a packed workspace."""
    return f"blobstore/{digest}.tar"


def _config(submission: Submission) -> dict[str, Any]:
    config: dict[str, Any] = {
        **_stores(submission.store),
        "env": dict(submission.env),
        "resources_needed": dict(submission.needs),
        "verbose": "info",
    }
    optional = {
        "experimentLifetime": submission.lifetime,
        "saveWorkspaceFrequency": submission.checkpoint,
    }
    config |= {name: value for name, value in optional.items() if value is not None}
    runner = {
        "retry_on": list(submission.retry_on) or None,
        "max_attempts": submission.max_attempts,
        TRACEPARENT: submission.traceparent or None,
    }
    wanted = {name: value for name, value in runner.items() if value is not None}
    return config | ({"runner": wanted} if wanted else {})


def _stores(store: Path | Bucket) -> dict[str, Any]:
    """Return the members ``storage`` and, where there is one, ``database``."""
    if not isinstance(store, Bucket):
        local = {"type": "local", "endpoint": str(store)}
        return {
            "database": local | {"bucket": DATABASE, "authentication": "none"},
            "storage": local | {"bucket": BUCKET},
        }
    found = {"storage": store.in_message(store.name)}
    if store.records:
        found["database"] = store.in_message(store.records) | {"authentication": "none"}
    return found
