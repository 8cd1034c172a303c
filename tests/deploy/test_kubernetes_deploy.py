"""``make deploy`` and ``make undeploy``, by the real kubectl against an imitated cluster."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deploy.manifests import ROOT
from tests.servers.kubernetes import Cluster, imitation

pytestmark = pytest.mark.service("kubectl")


@dataclass
class Lab:
    """A cluster, and somebody who types at it."""

    cluster: Cluster
    config: Path

    def make(self, verb: str, **variables: str) -> tuple[int, str]:
        """Run the script with these variables; return its status and all that it said."""
        return self._run(verb, subprocess.DEVNULL, variables)

    def _run(self, verb: str, stdin: int, variables: Mapping[str, str]) -> tuple[int, str]:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.config.parent),
            "KUBECONFIG": str(self.config),
            "TMPDIR": str(self.config.parent),
        }
        done = subprocess.run(
            [shutil.which("make") or "make", "--silent", "--no-print-directory", verb],
            cwd=ROOT,
            env={**environment, **variables},
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    def answer(self, word: str) -> tuple[int, str]:
        """Deploy to the laptop at a terminal, without naming a cluster, and answer the question."""
        person, terminal = os.openpty()
        try:
            os.write(person, f"{word}\n".encode())
            return self._run("deploy", terminal, {"OVERLAY": "laptop"})
        finally:
            os.close(person)
            os.close(terminal)

    def done(self, verb: str, **variables: str) -> str:
        """Run it, and return what it said; it must succeed."""
        status, said = self.make(verb, **variables)
        assert status == 0, said
        return said


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A cluster with the namespace alone."""
    with imitation(tmp_path) as (cluster, config):
        cluster.have("Namespace", "studio-runner")
        yield Lab(cluster, config)


def test_a_runner_comes_and_goes(lab: Lab) -> None:
    """A dry run shows and changes nothing; a deploy makes all parts, and a second changes none.

    Undeploy, dry and then in earnest, keeps volumes, secrets and namespace, and says how they end.
    """
    mine = {"OVERLAY": "laptop", "CONTEXT": "lab"}
    lab.cluster.have("Secret", "studio-runner-aws")
    assert "+kind: Deployment" in lab.done("deploy", OVERLAY="laptop", DRY_RUN="1")
    assert lab.cluster.changes == []

    said = lab.done("deploy", **mine)
    assert "overlay laptop, context lab, namespace studio-runner, image studio-runner:" in said
    assert "not needed unless you use them: studio-runner-google studio-runner-rabbitmq" in said
    assert lab.cluster.names("deployments") == {"studio-runner"}
    assert lab.cluster.names("configmaps") == {"studio-runner-state"}
    claims = {"studio-runner-local", "studio-runner-state"}
    assert lab.cluster.names("persistentvolumeclaims") == claims

    before = list(lab.cluster.changes)
    lab.done("deploy", **mine)
    lab.done("undeploy", OVERLAY="laptop", DRY_RUN="1")
    assert lab.cluster.changes == before

    said = lab.done("undeploy", **mine)
    left = {one["kind"] for one in lab.cluster.objects.values()}
    assert left == {"Namespace", "PersistentVolumeClaim", "Secret"}
    assert "delete pvc --selector app.kubernetes.io/component=storage" in said
    lab.done("undeploy", **mine)


def test_a_cluster_that_was_not_named_is_asked_about(lab: Lab) -> None:
    """At a terminal the current context is shown, and nothing happens but after a yes."""
    status, said = lab.answer("n")
    assert status != 0
    assert "context lab, namespace studio-runner" in said
    assert "nothing was changed" in said
    assert lab.cluster.changes == []
    status, said = lab.answer("y")
    assert status == 0, said
    assert lab.cluster.names("deployments") == {"studio-runner"}


def test_a_drained_runner_stays_drained(lab: Lab) -> None:
    """A STATE that somebody set is left alone, and said."""
    lab.cluster.have("ConfigMap", "studio-runner-state", data={"STATE": "DrainAndSuspend"})
    said = lab.done("deploy", OVERLAY="laptop", CONTEXT="lab")
    assert "STATE is DrainAndSuspend, and stays so" in said
    (path,) = (
        path
        for path in lab.cluster.objects
        if path.endswith("/studio-runner-state") and "/configmaps/" in path
    )
    assert lab.cluster.objects[path]["data"] == {"STATE": "DrainAndSuspend"}


def test_the_image_is_the_one_that_was_pushed(lab: Lab) -> None:
    """REGISTRY, PROJECT and VERSION_TAG name the image as they do for ``make push``."""
    lab.cluster.have("StorageClass", "premium-rwo")
    named = {"REGISTRY": "eu.example.com/", "PROJECT": "ml/runners", "VERSION_TAG": "7.7"}
    lab.done("deploy", OVERLAY="gke", CONTEXT="lab", **named)
    (made,) = (one for one in lab.cluster.objects.values() if one["kind"] == "Deployment")
    pod = made["spec"]["template"]["spec"]
    images = {one["image"] for one in (*pod["initContainers"], *pod["containers"])}
    assert images == {"eu.example.com/ml/runners/studio-runner:7.7"}


@pytest.mark.parametrize(
    ("said", "variables"),
    [
        ("name an overlay", {}),
        ("there is no overlay azure: choose gke", {"OVERLAY": "azure"}),
        ("whose registry?", {"OVERLAY": "gke", "CONTEXT": "lab"}),
        ("Amazon's example account", {"OVERLAY": "eks", "REGISTRY": "r.io", "CONTEXT": "lab"}),
        ("has a character that no image's name has", {"OVERLAY": "gke", "PROJECT": "a;b"}),
        ("make deploy OVERLAY=laptop CONTEXT=lab", {"OVERLAY": "laptop"}),
        ("no storageclass premium-rwo", {"OVERLAY": "gke", "REGISTRY": "r.io", "CONTEXT": "lab"}),
        (
            "no runtimeclass nvidia",
            {"OVERLAY": "on-premise", "REGISTRY": "r.io", "CONTEXT": "lab"},
        ),
        ("there is no nokubectl in PATH", {"OVERLAY": "laptop", "KUBECTL": "nokubectl"}),
    ],
)
def test_what_is_missing_is_said_before_anything_changes(
    lab: Lab, said: str, variables: dict[str, str]
) -> None:
    """Each mistake has one sentence with the remedy, and the cluster stays as it is."""
    status, printed = lab.make("deploy", **variables)
    assert status != 0
    assert said in printed
    assert lab.cluster.changes == []


def test_a_namespace_is_not_made_in_passing(lab: Lab) -> None:
    """Without the namespace nothing is applied, and the command that makes it is said."""
    lab.cluster.objects.clear()
    status, said = lab.make("deploy", OVERLAY="laptop", CONTEXT="lab")
    assert status != 0
    assert "kubectl --context lab create namespace studio-runner" in said
    assert lab.cluster.changes == []


def test_what_may_not_be_looked_at_is_not_missing(lab: Lab) -> None:
    """An operator without rights outside the namespace can deploy all the same."""
    lab.cluster.forbidden = {
        "/api/v1/namespaces/studio-runner",
        "/apis/node.k8s.io/v1/runtimeclasses/nvidia",
    }
    lab.done("deploy", OVERLAY="on-premise", CONTEXT="lab", REGISTRY="r.io")


def test_a_secret_that_the_pod_needs_must_be_there(lab: Lab, tmp_path: Path) -> None:
    """A component's secret is asked for before the pod waits for it."""
    above = os.path.relpath(ROOT / "deploy/k8s", tmp_path.resolve())
    (tmp_path / "kustomization.yaml").write_text(
        f"resources: [{above}/overlays/laptop]\ncomponents: [{above}/components/slack]\n"
    )
    mine = {"OVERLAY": str(tmp_path), "CONTEXT": "lab"}
    status, said = lab.make("deploy", **mine)
    assert status != 0
    assert "there is no secret studio-runner-slack, without which the pod does not start" in said
    lab.cluster.have("Secret", "studio-runner-slack")
    said = lab.done("deploy", **mine)


def with_component(directory: Path, overlay: str, component: str) -> dict[str, str]:
    """Write a kustomization of one's own, and return what deploys it."""
    above = os.path.relpath(ROOT / "deploy/k8s", directory.resolve())
    (directory / "kustomization.yaml").write_text(
        f"resources: [{above}/overlays/{overlay}]\ncomponents: [{above}/components/{component}]\n"
    )
    return {"OVERLAY": str(directory), "CONTEXT": "lab", "REGISTRY": "r.io"}


def test_a_form_is_not_put_beside_another_one(lab: Lab, tmp_path: Path) -> None:
    """A DaemonSet is not made where the Deployment still is; the command that ends it is said."""
    lab.done("deploy", OVERLAY="laptop", CONTEXT="lab")
    before = list(lab.cluster.changes)
    mine = with_component(tmp_path, "laptop", "daemonset")
    status, said = lab.make("deploy", **mine)
    assert status != 0
    assert "there is a deployment studio-runner from before" in said
    assert "delete deployment studio-runner" in said
    assert lab.cluster.changes == before
    lab.done("undeploy", OVERLAY="laptop", CONTEXT="lab")
    said = lab.done("deploy", **mine)
    assert "rollout status daemonset/studio-runner" in said
    assert lab.cluster.names("daemonsets") == {"studio-runner"}


def test_a_queue_of_nobodys_is_not_waited_for(lab: Lab, tmp_path: Path) -> None:
    """The example's queue is refused at both places, and so is a cluster without such kinds."""
    mine = with_component(tmp_path, "laptop", "keda-rabbitmq")
    patches = (
        "/triggers/0/metadata/queueName, value: rmq_a",
        "/jobTargetRef/template/spec/containers/0/env/0/value, value: ^rmq_a$",
    )
    file = tmp_path / "kustomization.yaml"
    file.write_text(file.read_text() + "patches:\n- target: {kind: ScaledJob}\n  patch: |-\n")
    for patch in patches:
        file.write_text(f"{file.read_text()}    - {{op: replace, path: /spec{patch}}}\n")
        status, said = lab.make("deploy", **mine)
        assert status != 0
        assert ("write yours into its scaled-job.yaml" in said) == (patch is patches[0])
    assert "the cluster has no ScaledJob: install KEDA first" in said
    assert lab.cluster.changes == []
