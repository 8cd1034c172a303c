"""An imitation of the Kubernetes API: enough for kubectl to apply, get, compare and delete."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

Object = dict[str, Any]
#: By group and version: plural, kind, and whether it lies in a namespace.
_RESOURCES: Mapping[str, tuple[tuple[str, str, bool], ...]] = {
    "v1": (
        ("namespaces", "Namespace", False),
        ("configmaps", "ConfigMap", True),
        ("secrets", "Secret", True),
        ("serviceaccounts", "ServiceAccount", True),
        ("persistentvolumeclaims", "PersistentVolumeClaim", True),
    ),
    "apps/v1": (("deployments", "Deployment", True), ("daemonsets", "DaemonSet", True)),
    "apiextensions.k8s.io/v1": (("customresourcedefinitions", "CustomResourceDefinition", False),),
    "networking.k8s.io/v1": (("networkpolicies", "NetworkPolicy", True),),
    "storage.k8s.io/v1": (("storageclasses", "StorageClass", False),),
    "node.k8s.io/v1": (("runtimeclasses", "RuntimeClass", False),),
}
_VERBS = ["get", "list", "create", "patch", "delete"]


class Cluster:
    """What is in it, by path; it defaults, checks and starts nothing."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        #: Verbs and paths of what was changed.
        self.changes: list[str] = []
        #: Paths that nobody may look at.
        self.forbidden: set[str] = set()

    def have(self, kind: str, name: str, **more: Any) -> None:
        """Put an object into it, in the namespace ``studio-runner`` where it lies in one."""
        for version, resources in _RESOURCES.items():
            for plural, known, namespaced in resources:
                if known == kind:
                    place = "/namespaces/studio-runner" if namespaced else ""
                    path = f"{_root(version)}{place}/{plural}/{name}"
                    made = {"apiVersion": version, "kind": kind, "metadata": {"name": name}}
                    self.objects[path] = made | more

    def names(self, plural: str) -> set[str]:
        """Return the names of all objects of a kind."""
        paths = (path.split("/") for path in self.objects)
        return {parts[-1] for parts in paths if parts[-2] == plural}

    def answer(self, verb: str, path: str, body: Object, *, dry: bool) -> tuple[int, Object]:
        """Return status and answer of a request."""
        if path in self.forbidden:
            return _status(403, "Forbidden", f'"{path}" is forbidden')
        if verb == "GET":
            return self._found(path)
        if verb == "POST":
            path = f"{path}/{body['metadata']['name']}"
            made = body | {"metadata": body["metadata"] | {"uid": path, "resourceVersion": "1"}}
            return self._changed(verb, path, made, 201, dry=dry)
        if path not in self.objects:
            return self._found(path)
        if verb == "PATCH":
            return self._changed(verb, path, _merged(self.objects[path], body), 200, dry=dry)
        if not dry:
            self.changes.append(f"{verb} {path}")
            del self.objects[path]
        return 200, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}

    def _changed(
        self, verb: str, path: str, made: Object, status: int, *, dry: bool
    ) -> tuple[int, Object]:
        if not dry:
            self.changes.append(f"{verb} {path}")
            self.objects[path] = made
        return status, made

    def _found(self, path: str) -> tuple[int, Object]:
        if path in self.objects:
            return 200, self.objects[path]
        for version, resources in _RESOURCES.items():
            for plural, kind, _ in resources:
                if path.startswith(_root(version) + "/") and path.endswith(f"/{plural}"):
                    below = [one for at, one in self.objects.items() if at.startswith(path + "/")]
                    empty = {"apiVersion": version, "kind": f"{kind}List", "metadata": {}}
                    return 200, empty | {"items": below}
        return _status(404, "NotFound", f'"{path}" not found')


def _root(version: str) -> str:
    return f"/apis/{version}" if "/" in version else f"/api/{version}"


def _status(code: int, reason: str, message: str) -> tuple[int, Object]:
    known = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    return code, known | {"reason": reason, "message": message, "code": code}


def _merged(old: Any, patch: Any) -> Any:
    if not (isinstance(old, dict) and isinstance(patch, dict)):
        return patch
    whole = {**old, **{name: _merged(old.get(name), value) for name, value in patch.items()}}
    return {name: value for name, value in whole.items() if value is not None}


def _discovery() -> dict[str, Object]:
    """Return the documents by which kubectl learns what there is."""
    groups = [
        {
            "name": name,
            "versions": [{"groupVersion": version, "version": "v1"}],
            "preferredVersion": {"groupVersion": version, "version": "v1"},
        }
        for version in _RESOURCES
        for name in [version.partition("/")[0]]
        if "/" in version
    ]
    documents: dict[str, Object] = {
        "/version": {"major": "1", "minor": "32", "gitVersion": "v1.32.0"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups},
        "/openapi/v3": {
            "paths": {
                _root(version).lstrip("/"): {
                    "serverRelativeURL": f"/openapi/v3{_root(version)}?hash=1"
                }
                for version in _RESOURCES
            }
        },
    }
    for version, resources in _RESOURCES.items():
        documents[_root(version)] = _resource_list(version, resources)
        documents[f"/openapi/v3{_root(version)}"] = _openapi(version, resources)
    return documents


def _resource_list(version: str, resources: tuple[tuple[str, str, bool], ...]) -> Object:
    listed = [
        {
            "name": plural,
            "singularName": kind.lower(),
            "namespaced": namespaced,
            "kind": kind,
            "verbs": _VERBS,
        }
        for plural, kind, namespaced in resources
    ]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": version,
        "resources": listed,
    }


def _openapi(version: str, resources: tuple[tuple[str, str, bool], ...]) -> Object:
    """Say no more than that the server itself checks fields, so that kubectl need not."""
    group, _, number = version.rpartition("/")
    parameters = [
        {"name": name, "in": "query", "schema": {"type": "string"}}
        for name in ("dryRun", "fieldValidation")
    ]
    paths = {
        f"{_root(version)}/{plural}/{{name}}": {
            "patch": {
                "parameters": parameters,
                "responses": {},
                "x-kubernetes-group-version-kind": {
                    "group": group,
                    "version": number,
                    "kind": kind,
                },
            }
        }
        for plural, kind, _ in resources
    }
    return {"openapi": "3.0.0", "info": {"title": "imitation", "version": "1"}, "paths": paths}


@contextmanager
def imitation(directory: Path) -> Iterator[tuple[Cluster, Path]]:
    """Serve an empty cluster; yield it, and a file for ``KUBECONFIG`` with the context ``lab``."""
    cluster, fixed = Cluster(), _discovery()

    class Handler(BaseHTTPRequestHandler):
        def respond(self) -> None:
            url = urlsplit(self.path)
            text = self.rfile.read(int(self.headers.get("content-length", 0)))
            body = json.loads(text) if text else {}
            dry = "dryRun" in parse_qs(url.query) or bool(body.get("dryRun"))
            if url.path in fixed:
                status, answer = 200, fixed[url.path]
            else:
                status, answer = cluster.answer(self.command, url.path, body, dry=dry)
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_DELETE = respond  # noqa: N815 - the server wants these

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield cluster, _kubeconfig(directory, server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


def _kubeconfig(directory: Path, port: int) -> Path:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "lab", "user": {}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
        "current-context": "lab",
    }
    path = directory / "kubeconfig"
    path.write_text(json.dumps(config), encoding="utf-8")
    return path
