"""Kinds that others add to a cluster: no schema of theirs is at hand, so the fields used are here.

What stands here was read in the references of KEDA 2.16 and of Prometheus's operator. It is less
than they allow: a field that is not listed is an error, although there may be one of that name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.deploy.manifests import Document

#: A type, a set of words, a list of one form, or a mapping of fields; ``!`` marks what is needed.
Form = Any
_TEXTS = {"*": str}
_TRIGGERS: Mapping[str, Form] = {
    "aws-sqs-queue": {
        "!queueURL": str,
        "!awsRegion": str,
        "queueLength": str,
        "scaleOnInFlight": {"true", "false"},
    },
    "gcp-pubsub": {"!subscriptionName": str, "mode": str, "value": str},
    "rabbitmq": {
        "!queueName": str,
        "protocol": {"auto", "http", "amqp"},
        "!mode": {"QueueLength", "MessageRate"},
        "!value": str,
    },
}
_FORMS: Mapping[tuple[str, str], Form] = {
    ("keda.sh/v1alpha1", "ScaledJob"): {
        # Is looked at as a Job's specification.
        "!jobTargetRef": dict,
        "pollingInterval": int,
        "minReplicaCount": int,
        "maxReplicaCount": int,
        "successfulJobsHistoryLimit": int,
        "failedJobsHistoryLimit": int,
        "rollout": {
            "strategy": {"default", "gradual"},
            "propagationPolicy": {"background", "foreground"},
        },
        "scalingStrategy": {
            "strategy": {"default", "custom", "accurate", "eager"},
            "multipleScalersCalculation": {"max", "min", "avg", "sum"},
        },
        "!triggers": [{"!type": set(_TRIGGERS), "!metadata": _TEXTS, "authenticationRef": _TEXTS}],
    },
    ("keda.sh/v1alpha1", "TriggerAuthentication"): {
        "podIdentity": {"!provider": {"aws", "gcp", "azure-workload", "none"}},
        "secretTargetRef": [{"!parameter": str, "!name": str, "!key": str}],
    },
    ("monitoring.coreos.com/v1", "ServiceMonitor"): {
        "!selector": {"matchLabels": _TEXTS},
        "!endpoints": [{"port": str, "path": str, "interval": str, "scrapeTimeout": str}],
    },
}


def is_foreign(document: Document) -> bool:
    """Tell whether the kind is one of these."""
    return (document["apiVersion"], document["kind"]) in _FORMS


def complaints(document: Document) -> Iterator[str]:
    """Say what is wrong with a document of these kinds."""
    form = _FORMS[document["apiVersion"], document["kind"]]
    yield from _against(form, document["spec"], "spec")
    for trigger in document["spec"].get("triggers", ()):
        yield from _against(_TRIGGERS.get(trigger["type"], {}), trigger["metadata"], "metadata")


def job_of(document: Document) -> Document | None:
    """Return what a ScaledJob makes, for the schema of Kubernetes; ``None`` for other kinds."""
    if document["kind"] != "ScaledJob":
        return None
    metadata = {name: document["metadata"][name] for name in ("name", "namespace", "labels")}
    spec = document["spec"]["jobTargetRef"]
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def _against(form: Form, value: Any, where: str) -> Iterator[str]:
    match form:
        case set() if value not in form:
            yield f"{where} is {value!r}, which is none of {sorted(form)}"
        case type() if not isinstance(value, form) or (form is int and isinstance(value, bool)):
            yield f"{where} is {value!r}"
        case list() if not isinstance(value, list):
            yield f"{where} is no list"
        case list():
            for number, one in enumerate(value):
                yield from _against(form[0], one, f"{where}[{number}]")
        case dict() if not isinstance(value, dict):
            yield f"{where} has no fields"
        case dict():
            yield from _fields(form, value, where)


def _fields(form: Mapping[str, Form], value: Document, where: str) -> Iterator[str]:
    known = {name.lstrip("!"): one for name, one in form.items()}
    for name in form:
        if name.startswith("!") and name[1:] not in value:
            yield f"{where} lacks {name[1:]}"
    for name, one in value.items():
        if name not in known and "*" not in known:
            yield f"{where} has no field {name}"
        else:
            yield from _against(known.get(name, known.get("*")), one, f"{where}.{name}")
