"""Rules for what only some builds have: budgets, Services, jobs that KEDA makes, ways out."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.deploy.manifests import Document, Manifests

Rule = Callable[[Manifests], Iterator[str]]

_METADATA = "169.254.169.254/32"


def a_budget_lets_nodes_go(manifests: Manifests) -> Iterator[str]:
    """No node is kept from being drained for ever."""
    for budget in manifests.all("PodDisruptionBudget"):
        yield from _of_budget(manifests, budget["spec"])


def _of_budget(manifests: Manifests, spec: Document) -> Iterator[str]:
    if manifests.workload["kind"] != "Deployment":
        yield "Kubernetes counts no such pods for a budget"
    if not spec.get("maxUnavailable") or "minAvailable" in spec:
        yield "a budget for a single pod blocks every drain of its node"
    if spec.get("unhealthyPodEvictionPolicy") != "AlwaysAllow":
        yield "a budget keeps a node from being drained whose runner is suspended"
    if not _chooses(spec.get("selector", {}), manifests):
        yield "the budget is about other pods"


def the_network_policy_is_about_it(manifests: Manifests) -> Iterator[str]:
    """It is in force for the pods; where it bounds their way out, the cluster stays in reach."""
    spec = manifests.one("NetworkPolicy")["spec"]
    if not _chooses(spec["podSelector"], manifests):
        yield "the network policy is about other pods"
    if ("egress" in spec) != ("Egress" in spec["policyTypes"]):
        yield "the network policy names no rules for a way that it closes, or opens what is open"
    if "egress" in spec:
        targets = [target for rule in spec["egress"] for target in rule["to"]]
        if {"namespaceSelector": {}} not in targets:
            yield "the cluster's own pods, name servers among them, may be out of reach"
        blocks = [target["ipBlock"] for target in targets if "ipBlock" in target]
        if any(_METADATA not in one.get("except", ()) for one in blocks if "." in one["cidr"]):
            yield "the node's metadata service is within reach"


def a_service_finds_it(manifests: Manifests) -> Iterator[str]:
    """What is scraped is every pod's status, also of those that are not ready."""
    for service in manifests.all("Service"):
        spec = service["spec"]
        if not _chooses({"matchLabels": spec["selector"]}, manifests):
            yield "the Service is about other pods"
        if spec.get("publishNotReadyAddresses") is not True:
            yield "a runner that drains would not be seen"
        if service["metadata"]["name"] == "studio-runner":
            yield "the Service is called like the runner's options begin"
    for monitor in manifests.all("ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        ports = {
            port["name"]: port["targetPort"]
            for service in manifests.all("Service")
            if wanted <= service["metadata"]["labels"].items()
            for port in service["spec"]["ports"]
        }
        asked = [(one["port"], one["path"]) for one in monitor["spec"]["endpoints"]]
        if asked != [("status", "/metrics")] or ports.get("status") != "status":
            yield f"the ServiceMonitor asks for {asked}, the Services have {ports}"


def a_job_ends_by_itself(manifests: Manifests) -> Iterator[str]:
    """A ScaledJob's pod runs one experiment of the queue that is counted, and nobody ends it."""
    document = manifests.workload
    if document["kind"] != "ScaledJob":
        return
    spec, settings = document["spec"], manifests.settings
    if settings.limit_tasks != 1 or not settings.limit_idle_duration:
        yield "a pod would go on when its experiment has ended, or when there was none for it"
    if manifests.pod.get("restartPolicy") != "Never" or manifests.deployment["backoffLimit"]:
        yield "a pod that died would be started again beside its message's next one"
    if spec.get("rollout", {}).get("strategy") != "gradual":
        yield "a new version would end what runs"
    if "activeDeadlineSeconds" in manifests.deployment:
        yield "a deadline would end an experiment whose own limit is longer"
    (authentication,) = manifests.all("TriggerAuthentication")
    for trigger in spec["triggers"]:
        if trigger["authenticationRef"]["name"] != authentication["metadata"]["name"]:
            yield "nothing lets KEDA at the queue"
        yield from _of_trigger(trigger, spec, manifests.env.get("QUEUE_MATCH", ""))


def _of_trigger(trigger: Document, spec: Document, taken: str) -> Iterator[str]:
    name, each, counts_held = _counted(trigger["type"], trigger["metadata"])
    if taken != f"^{name}$":
        yield f"the queue {name} is counted, and {taken!r} is taken"
    if spec["scalingStrategy"]["strategy"] != ("default" if counts_held else "accurate"):
        yield "experiments that run would be counted twice, or not at all"
    if each != "1":
        yield "a pod is for one message"


def _counted(kind: str, told: Document) -> tuple[str, str, bool]:
    """Return the queue, how many messages a pod is for, and whether those held are counted."""
    match kind:
        case "aws-sqs-queue":
            name = str(told["queueURL"]).rpartition("/")[2]
            return name, told["queueLength"], told["scaleOnInFlight"] == "true"
        case "gcp-pubsub":
            counts_held = told["mode"] == "NumUndeliveredMessages"
            return told["subscriptionName"], told["value"], counts_held
    # Who holds a message of RabbitMQ has taken it out of the queue.
    return told["queueName"], told["value"], False


def _chooses(selector: Document, manifests: Manifests) -> bool:
    labels = manifests.deployment["template"]["metadata"]["labels"]
    wanted = selector.get("matchLabels")
    return bool(wanted and wanted.items() <= labels.items())


MORE: tuple[Rule, ...] = (
    a_budget_lets_nodes_go,
    the_network_policy_is_about_it,
    a_service_finds_it,
    a_job_ends_by_itself,
)
