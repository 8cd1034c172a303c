"""Reads ConfigMaps through the Kubernetes API with the pod's own service account."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import urllib3

from runner.errors import Unavailable

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_KEY = "STATE"
_TIMEOUT = urllib3.Timeout(connect=5, read=10)
_NOT_FOUND, _DENIED = 404, (401, 403)


@dataclass(frozen=True)
class Cluster:
    """The API server, and the directory with token, ca.crt and namespace, which may be renewed."""

    address: str
    account: Path = _ACCOUNT

    @classmethod
    def around_us(cls, environ: Mapping[str, str] = os.environ) -> Cluster | None:
        """Find the cluster that this pod runs in; ``None`` outside, or without an account."""
        host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT")
        if not host or not (_ACCOUNT / "token").exists():
            return None
        return cls(f"https://{f'[{host}]' if ':' in host else host}:{port or 443}")

    def get(self, path: str) -> urllib3.BaseHTTPResponse:
        """Ask once. Raises OSError, urllib3's HTTPError."""
        token = (self.account / "token").read_text(encoding="utf-8").strip()
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        # Asked four times a minute: a connection that is kept would be cut in between.
        with urllib3.PoolManager(ca_certs=str(self.account / "ca.crt"), retries=False) as pool:
            return pool.request(
                "GET", self.address + path, headers=headers, timeout=_TIMEOUT, redirect=False
            )

    @property
    def namespace(self) -> str:
        """The pod's own. Raises OSError."""
        return (self.account / "namespace").read_text(encoding="utf-8").strip()


@dataclass(frozen=True)
class ConfigMaps:
    """A ``Place``: of several ConfigMaps the first that says anything counts."""

    cluster: Cluster
    #: Empty: the pod's own.
    namespace: str
    names: tuple[str, ...]

    @property
    def name(self) -> str:
        """See ``Place``."""
        return f"STATE in the ConfigMap {' or '.join(self.names)}"

    def read(self) -> str:
        """See ``Place``. Raises Unavailable, naming the right that is missing."""
        try:
            namespace = self.namespace or self.cluster.namespace
            found = (self._state(namespace, name) for name in self.names)
            return next((text for text in found if text), "")
        except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:
            raise Unavailable(f"the Kubernetes API does not answer: {error}") from error

    def _state(self, namespace: str, name: str) -> str:
        path = f"/api/v1/namespaces/{quote(namespace, '')}/configmaps/{quote(name, '')}"
        answer = self.cluster.get(path)
        if answer.status == _NOT_FOUND:
            return ""
        if answer.status in _DENIED:
            raise Unavailable(
                f"the service account may not read the ConfigMap {name} of namespace {namespace}: "
                "give it a Role with the verb get on the resource configmaps"
            )
        if answer.status != 200:  # noqa: PLR2004 - the status everybody knows
            raise Unavailable(f"the Kubernetes API answers {answer.status} for {path}")
        found = json.loads(answer.data)
        data = found.get("data") if isinstance(found, dict) else None
        return str(data.get(_KEY, "")).strip() if isinstance(data, dict) else ""
