"""What the overlays are built to, read as the cluster would read it."""

from __future__ import annotations

import functools
import math
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from runner.settings import OPTIONS, Settings
from runner.settings.option import variables

ROOT = Path(__file__).parents[2]
K8S = ROOT / "deploy/k8s"
OVERLAYS = tuple(sorted(path.name for path in (K8S / "overlays").iterdir()))
COMPONENTS = tuple(sorted(path.name for path in (K8S / "components").iterdir()))
#: Where a component is at home that is for one broker.
_HOMES = {"keda-sqs": "eks", "keda-rabbitmq": "on-premise"}
#: What can be deployed: each overlay, and each component on one of them.
BUILDS = (*OVERLAYS, *(f"{_HOMES.get(one, 'gke')}+{one}" for one in COMPONENTS))
#: What makes the pods.
WORKLOADS = ("Deployment", "DaemonSet", "ScaledJob")

Document = dict[str, Any]
_FACTORS = {"": Decimal(1), "m": Decimal("0.001")} | {
    unit: Decimal(factor) ** power
    for units, factor in (("k M G T", 1000), ("Ki Mi Gi Ti", 1024))
    for power, unit in enumerate(units.split(), 1)
}


def quantity(text: str) -> Decimal:
    """Read a Kubernetes quantity: ``250m``, ``6``, ``100Gi``."""
    match = re.fullmatch(r"([0-9.]+)([a-zA-Z]*)", text)
    assert match, f"{text!r} is no quantity"
    return Decimal(match[1]) * _FACTORS[match[2]]


@functools.cache
def _documents(build: str) -> list[Document]:
    # In C where there is any: it is read some hundred times.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [one for one in yaml.load_all(_rendered(build), loader) if one]


def _rendered(build: str) -> str:
    """Build an overlay, with components where ``+NAME`` says so, as an operator would."""
    overlay, *components = build.split("+")
    if not components:
        return kustomize(K8S / "overlays" / overlay)
    with tempfile.TemporaryDirectory() as name:
        real = Path(name).resolve()
        above = os.path.relpath(K8S, real)
        own = {
            "resources": [f"{above}/overlays/{overlay}"],
            "components": [f"{above}/components/{component}" for component in components],
        }
        (real / "kustomization.yaml").write_text(yaml.safe_dump(own), encoding="utf-8")
        return kustomize(real)


def kustomize(directory: Path) -> str:
    """Build a directory with the real kubectl."""
    command = ["kubectl", "kustomize", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass(frozen=True)
class Manifests:
    """The documents of one build."""

    documents: list[Document]

    @classmethod
    def of(cls, build: str) -> Manifests:
        """Return a build's documents, each time new ones."""
        return cls(deepcopy(_documents(build)))

    def copy(self) -> Manifests:
        """Return documents that can be changed without changing these."""
        return Manifests(deepcopy(self.documents))

    def all(self, kind: str) -> list[Document]:
        """Return the documents of a kind."""
        return [one for one in self.documents if one["kind"] == kind]

    def one(self, kind: str) -> Document:
        """Return the only document of a kind."""
        (found,) = self.all(kind)
        return found

    @property
    def workload(self) -> Document:
        """The only document that makes pods."""
        (found,) = [one for one in self.documents if one["kind"] in WORKLOADS]
        return found

    @property
    def deployment(self) -> Document:
        """The specification of the Deployment, or of what stands in its place."""
        spec: Document = self.workload["spec"]
        job: Document = spec.get("jobTargetRef", spec)
        return job

    @property
    def pod(self) -> Document:
        """The specification of the pod."""
        spec: Document = self.deployment["template"]["spec"]
        return spec

    @property
    def container(self) -> Document:
        """The one container."""
        (container,) = self.pod["containers"]
        found: Document = container
        return found

    @property
    def env(self) -> dict[str, str]:
        """The variables that are set, with what the downward API will put in."""
        return {entry["name"]: self._value(entry) for entry in self.container["env"]}

    def _value(self, entry: Document) -> str:
        if "value" in entry:
            return str(entry["value"])
        source = entry["valueFrom"]["resourceFieldRef"]
        where, _, name = source["resource"].partition(".")
        whole = quantity(str(self.container["resources"][where][name]))
        return str(math.ceil(whole / quantity(str(source.get("divisor", "1")))))

    @property
    def settings(self) -> Settings:
        """What the daemon makes of the image's variables and these; files need not be there."""
        fields = option_variables()
        secret = {name for name in self.env if name in fields and OPTIONS[fields[name]].secret}
        return _settings(frozenset(one for one in self.env.items() if one[0] not in secret))

    @property
    def volumes(self) -> Mapping[str, Document]:
        """The volumes by name."""
        return {volume["name"]: volume for volume in self.pod["volumes"]}

    @property
    def mounts(self) -> Mapping[str, Document]:
        """The mounts by the name of their volume."""
        return {mount["name"]: mount for mount in self.container["volumeMounts"]}

    def mounted_at(self, path: str) -> Document | None:
        """Return the volume that is mounted exactly there."""
        names = [name for name, mount in self.mounts.items() if mount["mountPath"] == path]
        return self.volumes[names[0]] if names else None

    def secrets(self) -> Iterator[str]:
        """Yield the names of the secrets that the pod takes, its registry's among them."""
        for volume in self.volumes.values():
            if "secret" in volume:
                yield volume["secret"]["secretName"]
        yield from (one["name"] for one in self.pod["imagePullSecrets"])

    def size_of(self, volume: Document) -> Decimal | None:
        """Return what a volume holds at most; ``None``: nobody says."""
        if "emptyDir" in volume:
            limit = volume["emptyDir"].get("sizeLimit")
            return quantity(str(limit)) if limit else None
        claim = volume.get("ephemeral", {}).get("volumeClaimTemplate")
        if "persistentVolumeClaim" in volume:
            name = volume["persistentVolumeClaim"]["claimName"]
            claims = self.all("PersistentVolumeClaim")
            claim = next((one for one in claims if one["metadata"]["name"] == name), None)
        return quantity(str(claim["spec"]["resources"]["requests"]["storage"])) if claim else None


def image_env() -> dict[str, str]:
    """Return the variables that the image sets."""
    text = (ROOT / "docker/Dockerfile").read_text(encoding="utf-8")
    blocks = re.findall(r"^ENV ((?:.*\\\n)*.*)$", text, re.MULTILINE)
    return {name: value for block in blocks for name, value in re.findall(r"(\w+)=(\S+)", block)}


@functools.cache
def _settings(env: frozenset[tuple[str, str]]) -> Settings:
    return Settings.load([], image_env() | dict(env))


@functools.cache
def option_variables() -> Mapping[str, str]:
    """Return every variable that the daemon reads, with the field of the option."""
    found: dict[str, str] = {}
    for field, option in OPTIONS.items():
        for name in option.names:
            for variable in variables(name):
                found[variable] = field
                if option.file_form:
                    found[f"{variable}_FILE"] = field
    return found
