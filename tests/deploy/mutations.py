"""Mistakes that somebody could make in the manifests, and what must be said of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.deploy.manifests import Document, Manifests


@dataclass(frozen=True)
class Mistake:
    """A change, and words of the sentence that it must lead to."""

    said: str
    make: Callable[[Manifests], Any]
    build: str = "gke"


def _set(name: str, value: str) -> Callable[[Manifests], None]:
    """Set a variable of the container."""

    def make(manifests: Manifests) -> None:
        entries = manifests.container["env"]
        entries[:] = [entry for entry in entries if entry["name"] != name]
        entries.append({"name": name, "value": value})

    return make


def _secret(manifests: Manifests) -> Document:
    found: Document = manifests.volumes["aws"]["secret"]
    return found


def _security(manifests: Manifests) -> Document:
    found: Document = manifests.container["securityContext"]
    return found


def _closing(manifests: Manifests) -> Document:
    (found,) = manifests.pod["initContainers"]
    container: Document = found
    return container


def _policy(manifests: Manifests) -> Document:
    found: Document = manifests.one("NetworkPolicy")["spec"]
    return found


def _add(kind: str, **more: Any) -> Callable[[Manifests], None]:
    def make(manifests: Manifests) -> None:
        name = {"name": "more", "namespace": "studio-runner", "labels": {}}
        manifests.documents.append({"kind": kind, "metadata": name} | more)

    return make


def _drop(kind: str) -> Callable[[Manifests], None]:
    def make(manifests: Manifests) -> None:
        manifests.documents[:] = [one for one in manifests.documents if one["kind"] != kind]

    return make


def _resources(which: str, name: str, value: str) -> Callable[[Manifests], None]:
    return lambda m: m.container["resources"][which].update({name: value})


MISTAKES: tuple[Mistake, ...] = (
    Mistake("MAX_CPUS is no option", _set("MAX_CPUS", "4")),
    Mistake("LIMIT_INTERVAL has no effect", _set("LIMIT_INTERVAL", "5m")),
    Mistake("the daemon refuses the values", _set("MAX_DISK", "plenty")),
    Mistake("out of the kubelet's reach", _set("LISTEN", "127.0.0.1:9464")),
    Mistake("the listener's is 9465", _set("LISTEN", ":9465")),
    Mistake(
        "liveness probe", lambda m: m.container["livenessProbe"]["httpGet"].update(path="/readyz")
    ),
    Mistake("readiness probe", lambda m: m.container["readinessProbe"]["httpGet"].update(port=80)),
    Mistake("startup probe", lambda m: m.container.pop("startupProbe")),
    Mistake(
        "Prometheus would scrape",
        lambda m: m.deployment["template"]["metadata"]["annotations"].update(
            {"prometheus.io/port": "80"}
        ),
    ),
    Mistake(
        "the network policy lets in", lambda m: m.one("NetworkPolicy")["spec"].update(ingress=[{}])
    ),
    Mistake("a drain may take", lambda m: m.pod.update(terminationGracePeriodSeconds=600)),
    Mistake("a drain may take", _set("GRACE_PERIOD", "1h")),
    Mistake("counts as failed", lambda m: m.deployment.update(progressDeadlineSeconds=600)),
    Mistake("preStop", lambda m: m.container.update(lifecycle={"preStop": {"sleep": {}}})),
    Mistake("too much for a work volume", _set("MAX_DISK", "200gib")),
    Mistake(
        "too much for a work volume",
        lambda m: m.volumes["work"]["emptyDir"].update(sizeLimit="100Gi"),
        build="on-premise",
    ),
    Mistake(
        "no bounded volume is mounted at /var/lib/studio-runner/work",
        lambda m: m.volumes["work"]["emptyDir"].pop("sizeLimit"),
        build="on-premise",
    ),
    Mistake("too much for a state volume", _set("CACHE_SIZE", "60gib")),
    Mistake(
        "no bounded volume is mounted at /var/lib/studio-runner",
        lambda m: m.mounts["state-volume"].update(mountPath="/data"),
    ),
    Mistake("LOCK_DIR below STATE_DIR", _set("LOCK_DIR", "/tmp/locks")),  # noqa: S108
    Mistake("has no sizeLimit", lambda m: m.volumes["tmp"]["emptyDir"].pop("sizeLimit")),
    Mistake("ephemeral-storage", _resources("requests", "ephemeral-storage", "1Gi")),
    Mistake(
        "all of the pod's memory", lambda m: m.volumes["shm"]["emptyDir"].update(sizeLimit="26Gi")
    ),
    Mistake("shared memory is none", lambda m: m.volumes["shm"]["emptyDir"].pop("medium")),
    Mistake("a second pod could share", lambda m: m.deployment.update(replicas=2)),
    Mistake(
        "a second pod could share",
        lambda m: m.deployment.update(strategy={"type": "RollingUpdate"}),
    ),
    Mistake(
        "wait for the cards",
        lambda m: m.deployment["strategy"].pop("rollingUpdate"),
        build="gke+many-nodes",
    ),
    Mistake(
        "two pods could be put on one node",
        lambda m: m.pod["affinity"]["podAntiAffinity"].clear(),
    ),
    Mistake(
        "selects other pods",
        lambda m: m.deployment["template"]["metadata"]["labels"].update(more="yes"),
    ),
    Mistake("CPU_ONLY is True", _set("CPU_ONLY", "true")),
    Mistake("CPU_ONLY is False", _set("CPU_ONLY", "false"), build="laptop"),
    Mistake("REQUIRE_GPUS is 2 with 1 cards", _set("REQUIRE_GPUS", "2")),
    Mistake("nvidia.com/gpu differ", _resources("requests", "nvidia.com/gpu", "2")),
    Mistake("evicted before others", _resources("requests", "memory", "1Gi")),
    Mistake("MAX_CORES is 7", _resources("limits", "cpu", "6500m")),
    Mistake("MAX_CORES is 4", _set("MAX_CORES", "4")),
    Mistake("API server's token", lambda m: m.pod.update(automountServiceAccountToken=True)),
    Mistake(
        "into every pod of the account",
        lambda m: m.one("ServiceAccount").pop("automountServiceAccountToken"),
    ),
    Mistake("have the rights []", _add("ClusterRole")),
    Mistake("have the rights [{}]", _add("Role", rules=[{}])),
    Mistake(
        "have the rights",
        lambda m: m.one("Role")["rules"][0]["resources"].append("secrets"),
        build="gke+state-by-api",
    ),
    Mistake("bound to nobody", _drop("RoleBinding"), build="gke+state-by-api"),
    Mistake("nobody needs it", _set("K8S_CONFIGMAP", "studio-runner-state")),
    Mistake("host's namespaces", lambda m: m.pod.update(hostNetwork=True)),
    Mistake("host's files", lambda m: m.volumes["tmp"].update(hostPath={"path": "/"})),
    Mistake(
        "everybody could rename what lies in /tmp",
        lambda m: _closing(m)["volumeMounts"].pop(1),
    ),
    Mistake(
        "everybody could rename what lies in /srv/studio-runner",
        lambda m: _closing(m)["args"].pop(),
        build="laptop",
    ),
    Mistake("experiments run as", _set("RUN_AS", "10001:10001")),
    Mistake("by another image", lambda m: _closing(m).update(image="busybox")),
    Mistake("of close-volumes is writable", lambda m: _closing(m)["securityContext"].popitem()),
    Mistake("gain privileges", lambda m: _security(m).pop("allowPrivilegeEscalation")),
    Mistake("is writable", lambda m: _security(m).pop("readOnlyRootFilesystem")),
    Mistake(
        "the capabilities of runner are",
        lambda m: _security(m)["capabilities"]["add"].append("SYS_ADMIN"),
    ),
    Mistake("the capabilities of runner are", lambda m: _security(m)["capabilities"].pop("drop")),
    Mistake("seccomp", lambda m: m.pod["securityContext"].pop("seccompProfile")),
    Mistake("the user is not said", lambda m: m.pod["securityContext"].pop("runAsUser")),
    Mistake("set the runner's options", lambda m: m.pod.pop("enableServiceLinks")),
    Mistake("with a mode of", lambda m: _secret(m).pop("defaultMode")),
    Mistake("would not start before", lambda m: _secret(m).pop("optional")),
    Mistake("not mounted read-only", lambda m: m.mounts["aws"].pop("readOnly")),
    Mistake("is a subPath", lambda m: m.mounts["aws"].update(subPath="credentials")),
    Mistake("a secret stands", _add("Secret")),
    Mistake("holds a secret", _set("AMQP_URL", "amqp://user:password@host/%2F")),
    Mistake("no ConfigMap", _set("STATE_FILE", "/etc/studio-runner/STATE")),
    Mistake("no ConfigMap", lambda m: m.volumes["state"]["configMap"].pop("optional")),
    Mistake("says 'Draining'", lambda m: m.one("ConfigMap")["data"].update(STATE="Draining")),
    Mistake("the ConfigMap's key", _set("STATE_FILE", "/etc/studio-runner/state/WISH")),
    Mistake("volumes and mounts differ", lambda m: m.pod["volumes"].pop()),
    Mistake("claims and volumes differ", _drop("PersistentVolumeClaim")),
    Mistake(
        "the namespaces are", lambda m: m.one("ConfigMap")["metadata"].update(namespace="default")
    ),
    Mistake("another service account", lambda m: m.pod.update(serviceAccountName="default")),
    Mistake("ConfigMap is marked", lambda m: m.one("ConfigMap")["metadata"]["labels"].clear()),
    Mistake(
        "the image's tag is",
        lambda m: m.container.update(image="registry.example.com/studio-runner:latest"),
    ),
    Mistake(
        "the autoscaler",
        lambda m: m.deployment["template"]["metadata"]["annotations"].clear(),
    ),
    Mistake("blocks every drain", _add("PodDisruptionBudget", spec={"minAvailable": 1})),
    Mistake(
        "whose runner is suspended",
        lambda m: m.one("PodDisruptionBudget")["spec"].pop("unhealthyPodEvictionPolicy"),
        build="gke+disruption-budget",
    ),
    Mistake(
        "budget is about other pods",
        lambda m: m.one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"].update(a="b"),
        build="gke+disruption-budget",
    ),
    Mistake("counts no such pods", _add("PodDisruptionBudget", spec={}), build="gke+daemonset"),
    Mistake(
        "wait for the cards",
        lambda m: m.deployment["updateStrategy"].pop("rollingUpdate"),
        build="gke+daemonset",
    ),
    Mistake("policy is about other pods", lambda m: _policy(m)["podSelector"].clear()),
    Mistake("a way that it closes", lambda m: _policy(m)["policyTypes"].append("Egress")),
    Mistake(
        "may be out of reach",
        lambda m: _policy(m)["egress"].pop(0),
        build="eks",
    ),
    Mistake(
        "metadata service is within reach",
        lambda m: _policy(m)["egress"][1]["to"][0]["ipBlock"]["except"].pop(0),
        build="aks",
    ),
    Mistake(
        "drains would not be seen",
        lambda m: m.one("Service")["spec"].pop("publishNotReadyAddresses"),
        build="gke+service-monitor",
    ),
    Mistake(
        "Service is about other pods",
        lambda m: m.one("Service")["spec"].update(selector={"app": "other"}),
        build="gke+service-monitor",
    ),
    Mistake(
        "called like",
        lambda m: m.one("Service")["metadata"].update(name="studio-runner"),
        build="gke+service-monitor",
    ),
    Mistake(
        "the ServiceMonitor asks",
        lambda m: m.one("ServiceMonitor")["spec"]["endpoints"][0].update(path="/"),
        build="gke+service-monitor",
    ),
    Mistake("would go on", _set("LIMIT_TASKS", "0"), build="eks+keda-sqs"),
    Mistake(
        "started again", lambda m: m.deployment.update(backoffLimit=6), build="gke+keda-pubsub"
    ),
    Mistake(
        "a new version would end",
        lambda m: m.workload["spec"].pop("rollout"),
        build="gke+keda-pubsub",
    ),
    Mistake(
        "whose own limit is longer",
        lambda m: m.deployment.update(activeDeadlineSeconds=600),
        build="gke+keda-pubsub",
    ),
    Mistake("is counted, and", _set("QUEUE_MATCH", "^rmq_"), build="on-premise+keda-rabbitmq"),
    Mistake(
        "counted twice",
        lambda m: m.workload["spec"]["scalingStrategy"].update(strategy="default"),
        build="on-premise+keda-rabbitmq",
    ),
    Mistake(
        "counted twice",
        lambda m: m.workload["spec"]["triggers"][0]["metadata"].update(scaleOnInFlight="false"),
        build="eks+keda-sqs",
    ),
    Mistake(
        "lets KEDA at",
        lambda m: m.one("TriggerAuthentication")["metadata"].update(name="other"),
        build="eks+keda-sqs",
    ),
)
