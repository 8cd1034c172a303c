"""Every overlay is valid, and means what the daemon understands."""

from __future__ import annotations

from collections.abc import Callable

import kubernetes_validate
import pytest

from tests.deploy.choices import Rule
from tests.deploy.foreign import complaints, is_foreign, job_of
from tests.deploy.manifests import BUILDS, COMPONENTS, OVERLAYS, Document, Manifests
from tests.deploy.mutations import MISTAKES, Mistake
from tests.deploy.rules import RULES

pytestmark = pytest.mark.service("kubectl")

#: The release whose schemas the documents are checked against.
_KUBERNETES = "1.32"


def _validated(document: Document) -> None:
    if is_foreign(document):
        assert list(complaints(document)) == []
        job = job_of(document)
        if job is None:
            return
        document = job
    used = kubernetes_validate.validate(document, _KUBERNETES, strict=True)
    assert used.startswith(_KUBERNETES), f"checked against {used}"


@pytest.mark.parametrize("build", BUILDS)
def test_every_document_is_valid(build: str) -> None:
    """Each document has only fields that Kubernetes knows, with values of their kinds."""
    for document in Manifests.of(build).documents:
        _validated(document)


def test_an_unknown_field_is_found() -> None:
    """The check is strict: a misspelt field is no field."""
    manifests = Manifests.of("laptop")
    manifests.pod["terminationGracePeriod"] = 10
    with pytest.raises(kubernetes_validate.ValidationError):
        _validated(manifests.one("Deployment"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda spec: spec.update(maxReplicas=3), "spec has no field maxReplicas"),
        (lambda spec: spec.pop("triggers"), "spec lacks triggers"),
        (lambda spec: spec.update(pollingInterval="30s"), "spec.pollingInterval is '30s'"),
        (lambda spec: spec["rollout"].update(strategy="slow"), "spec.rollout.strategy is 'slow'"),
        (lambda spec: spec["triggers"][0]["metadata"].pop("queueURL"), "metadata lacks queueURL"),
        (lambda spec: spec["triggers"][0]["metadata"].update(queueLength=1), "queueLength is 1"),
    ],
    ids=["field", "lacking", "kind", "word", "trigger", "number"],
)
def test_a_foreign_kind_is_looked_at_as_well(
    change: Callable[[Document], object], said: str
) -> None:
    """What KEDA would refuse is found here, as far as the fields that are used go."""
    document = Manifests.of("eks+keda-sqs").one("ScaledJob")
    change(document["spec"])
    assert any(said in sentence for sentence in complaints(document))


def test_a_job_is_looked_at_as_kubernetes_does() -> None:
    """The pod in a ScaledJob is checked against the schema of a Job."""
    document = Manifests.of("eks+keda-sqs").one("ScaledJob")
    document["spec"]["jobTargetRef"]["template"]["spec"]["terminationGracePeriod"] = 10
    with pytest.raises(kubernetes_validate.ValidationError):
        _validated(document)


@pytest.mark.parametrize("build", BUILDS)
def test_every_build_keeps_the_rules(build: str) -> None:
    """No rule has anything to say of any overlay, nor of a component on one."""
    manifests = Manifests.of(build)
    assert [sentence for rule in RULES for sentence in rule(manifests)] == []


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.said.replace(" ", "-"))
def test_a_mistake_is_found(mistake: Mistake) -> None:
    """What somebody could change by accident makes a rule speak."""
    manifests = Manifests.of(mistake.build)
    mistake.make(manifests)
    said = [sentence for rule in RULES for sentence in _heard(rule, manifests)]
    assert any(mistake.said in sentence for sentence in said), said


def _heard(rule: Rule, manifests: Manifests) -> list[str]:
    """Ask a rule; one that breaks down over another's mistake says nothing."""
    try:
        return list(rule(manifests))
    except Exception:  # noqa: BLE001 - only the sentence that is waited for counts
        return []


def test_the_overlays_are_those_that_are_promised() -> None:
    """The overlays and the components are there, and no others."""
    assert OVERLAYS == ("aks", "eks", "gke", "laptop", "on-premise")
    assert COMPONENTS == (
        "daemonset",
        "disruption-budget",
        "keda-pubsub",
        "keda-rabbitmq",
        "keda-sqs",
        "many-nodes",
        "service-monitor",
        "slack",
        "state-by-api",
    )


@pytest.mark.parametrize(
    ("overlay", "cloud", "account"),
    [("gke", "google", ""), ("eks", "aws", "eks.amazonaws.com/role-arn")],
)
def test_clouds_need_no_key(overlay: str, cloud: str, account: str) -> None:
    """On GKE and EKS the pod's own identity opens the queues."""
    manifests = Manifests.of(overlay)
    assert manifests.settings.ambient_credentials == (cloud,)
    annotations = manifests.one("ServiceAccount")["metadata"].get("annotations", {})
    assert not account or account in annotations


def test_on_premise_has_nvidias_runtime() -> None:
    """Cards reach containers of one's own cluster through NVIDIA's runtime."""
    assert Manifests.of("on-premise").pod["runtimeClassName"] == "nvidia"


def test_a_laptop_needs_no_card_and_no_registry() -> None:
    """What kind and minikube have is enough: any processor, no GPU, an image that was loaded."""
    manifests = Manifests.of("laptop")
    assert manifests.pod["nodeSelector"] == {"kubernetes.io/os": "linux"}
    assert manifests.container["image"].startswith("studio-runner:")
    queue = manifests.mounted_at("/srv/studio-runner")
    assert queue is not None
    assert str(manifests.settings.queue_root).startswith("/srv/studio-runner/")


@pytest.mark.parametrize("build", BUILDS)
def test_a_node_may_be_tainted_for_cards(build: str) -> None:
    """The taint that keeps other pods away from GPU nodes is tolerated."""
    tolerated = Manifests.of(build).pod["tolerations"]
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in tolerated
