"""Every overlay is valid, and means what the daemon understands."""

from __future__ import annotations

import kubernetes_validate
import pytest

from tests.deploy.manifests import BUILDS, COMPONENTS, OVERLAYS, Document, Manifests
from tests.deploy.mutations import MISTAKES, Mistake
from tests.deploy.rules import RULES, Rule

pytestmark = pytest.mark.service("kubectl")

#: The release whose schemas the documents are checked against.
_KUBERNETES = "1.32"


def _validated(document: Document) -> None:
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
    """The four overlays and the three components are there."""
    assert OVERLAYS == ("eks", "gke", "laptop", "on-premise")
    assert COMPONENTS == ("many-nodes", "slack", "state-by-api")


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
