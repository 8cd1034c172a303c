"""Options about who may say from outside that nothing is to be claimed."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from runner.settings import kinds
from runner.settings.option import group, option


@group
class StateOptions:
    """Running, DrainAndSuspend or DrainAndTerminate, for one daemon or for a whole fleet."""

    GROUP: ClassVar = "State"

    state_file: Path | None = option(
        kinds.OPTIONAL_PATH,
        "",
        "file that holds one of Running, DrainAndSuspend (claim nothing, stay) and "
        "DrainAndTerminate (claim nothing, end when nothing runs), such as the mounted key of a "
        "ConfigMap; followed while the daemon runs, and a file that is not there means Running",
    )
    k8s_namespace: str = option(
        kinds.TEXT, "default", "Kubernetes namespace of the ConfigMaps; without it the pod's own"
    )
    k8s_configmap: str = option(
        kinds.TEXT,
        "studioml-go-runner",
        "ConfigMap whose key STATE says the same for all, asked for through the Kubernetes API "
        "only where this option is given; one that is named like the host wins over it",
    )
