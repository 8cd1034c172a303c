"""The artifacts of a request (protocol sections 2.2 and 4.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from runner.errors import BadField
from runner.model import Artifact, Location, StoreConfig
from runner.request.credentials import decode_credentials
from runner.request.fields import Fields
from runner.request.location import IMAGE_LABEL, IMAGE_SCHEMES, decode_location
from runner.request.names import label as checked_label

WORKSPACE_LABEL = "workspace"
#: Real requests have about ten.
MAX_ARTIFACTS = 1000

_ARCHIVE = re.compile(r"\.(tar(\.\w{1,4})?|tgz|tbz2?|txz|zip)(\?.*)?$", re.IGNORECASE)


def decode_artifacts(experiment: Fields, storage: StoreConfig) -> Mapping[str, Artifact]:
    """Return the artifacts by label. Raises BadField, Unsupported."""
    found = experiment.child("artifacts")
    items = found.items()
    path = experiment.at("artifacts")
    if len(items) > MAX_ARTIFACTS:
        raise BadField(path, f"{len(items)} labels", f"write {MAX_ARTIFACTS} at most")
    artifacts = {
        name: _artifact(name, found, storage)
        for name, value in items
        if value is not None and checked_label(f"{path} label", name)
    }
    if WORKSPACE_LABEL not in artifacts and IMAGE_LABEL not in artifacts:
        raise BadField(
            path,
            sorted(artifacts),
            f"there must be one with the label {WORKSPACE_LABEL} or {IMAGE_LABEL}",
        )
    _no_two_writers(path, artifacts)
    return MappingProxyType(artifacts)


def _artifact(name: str, owner: Fields, storage: StoreConfig) -> Artifact:
    fields = owner.child(name)
    location = decode_location(name, fields, storage)
    mutable = fields.flag("mutable") or False
    if mutable and location.scheme in {"http", "https", *IMAGE_SCHEMES}:
        raise fields.bad("mutable", f"{location.scheme} can only be read; write false")
    unpack = fields.flag("unpack")
    if unpack is None:  # clients leave it open for what they reuse
        unpack = _ARCHIVE.search(location.key) is not None
    return Artifact(name, location, mutable, unpack, decode_credentials(fields))


def _no_two_writers(path: str, artifacts: Mapping[str, Artifact]) -> None:
    """Two labels that are written to one object would destroy each other's results."""
    written: dict[Location, str] = {}
    for artifact in artifacts.values():
        if not artifact.mutable:
            continue
        other = written.setdefault(artifact.location, artifact.label)
        if other != artifact.label:
            raise BadField(
                f"{path}.{artifact.label}",
                str(artifact.location),
                f"{other} is written to the same place; give each mutable artifact its own",
            )
