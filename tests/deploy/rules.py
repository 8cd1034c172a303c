"""What every build of the manifests must keep to; a rule yields a sentence for what breaks it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import PurePosixPath

from runner import __version__
from runner.lifecycle.claiming.suspension import intent
from runner.settings import OPTIONS
from tests.deploy.choices import MORE, Rule
from tests.deploy.manifests import ROOT, Manifests, option_variables, quantity

#: Variables that are not the runner's own, and whose they are.
_OTHERS = {
    "LD_LIBRARY_PATH": "the loader's: where GKE puts the driver",
    "AWS_SHARED_CREDENTIALS_FILE": "Amazon's SDK's: the runner's own keys for S3",
    "AWS_EC2_METADATA_DISABLED": "Amazon's SDK's, and ours: never the node's identity",
}
#: What Pod Security's "baseline" lets a container add, as far as we want any of it.
_ABILITIES = {"CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID"}
DOCKERFILE = ROOT / "docker/Dockerfile.base"
#: Stopping what is left after the grace, its last checkpoint, giving messages back.
_TO_STOP = timedelta(minutes=1)
#: Of the volume: the kubelet evicts at its limit, and nobody measures all the time.
_SHARE_FOR_EXPERIMENTS = 0.8
_SHARE_OF_STATE = 0.85
_ROOT_ONLY = 0o400
_READ_CONFIGMAPS = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}


def variables_are_options(manifests: Manifests) -> Iterator[str]:
    """Each variable is read by the daemon and has an effect."""
    known = option_variables()
    for name in manifests.env:
        field = known.get(name)
        if field is None and name not in _OTHERS:
            yield f"{name} is no option of the daemon"
        elif field is not None and OPTIONS[field].idle:
            yield f"{name} has no effect yet"


def values_are_understood(manifests: Manifests) -> Iterator[str]:
    """The daemon starts with these values."""
    try:
        notes = manifests.settings.notes
    except Exception as error:  # noqa: BLE001 - whatever it says is the sentence
        yield f"the daemon refuses the values: {error}"
    else:
        yield from notes


def one_port(manifests: Manifests) -> Iterator[str]:
    """Listener, port, probes, scraping and network policy agree, and the kubelet gets through."""
    listen = manifests.settings.listen
    if listen is None or listen.host not in {"", "0.0.0.0", "::"}:  # noqa: S104 - a pod's own
        yield f"the listener at {listen} is out of the kubelet's reach"
        return
    ports = {port["name"]: port["containerPort"] for port in manifests.container["ports"]}
    if ports != {"status": listen.port}:
        yield f"the ports are {ports}, the listener's is {listen.port}"
    for probe, path in (("startup", "healthz"), ("liveness", "healthz"), ("readiness", "readyz")):
        asked = manifests.container.get(f"{probe}Probe", {}).get("httpGet", {})
        if asked.get("path") != f"/{path}" or asked.get("port") not in {"status", listen.port}:
            yield f"the {probe} probe asks {asked}, not /{path} of the listener"
    scraped = manifests.deployment["template"]["metadata"]["annotations"]
    if scraped.get("prometheus.io/port") != str(listen.port):
        yield "Prometheus would scrape another port than the listener's"
    allowed = manifests.one("NetworkPolicy")["spec"]["ingress"]
    if allowed != [{"ports": [{"protocol": "TCP", "port": listen.port}]}]:
        yield f"the network policy lets in {allowed}, not the listener alone"


def a_drain_has_its_time(manifests: Manifests) -> Iterator[str]:
    """The kubelet kills after the daemon has stopped by itself, and nothing delays its TERM."""
    settings, pod = manifests.settings, manifests.pod
    needed = settings.grace_period + settings.kill_grace + _TO_STOP
    given = timedelta(seconds=pod["terminationGracePeriodSeconds"])
    if given < needed:
        yield f"terminationGracePeriodSeconds is {given}, a drain may take {needed}"
    if timedelta(seconds=manifests.deployment.get("progressDeadlineSeconds", 1e6)) <= given:
        yield "a rollout counts as failed while the old pod may still drain"
    if "lifecycle" in manifests.container:
        yield "a preStop hook would delay TERM, or make it the second one, which stops at once"


def the_disk_is_bounded(manifests: Manifests) -> Iterator[str]:
    """What the daemon may use is less than what each volume holds."""
    settings = manifests.settings
    work = manifests.mounted_at(str(settings.working_dir))
    room = manifests.size_of(work) if work else None
    if room is None:
        yield f"no bounded volume is mounted at {settings.working_dir}"
    elif not 0 < settings.max_disk <= float(room) * _SHARE_FOR_EXPERIMENTS:
        yield f"MAX_DISK is {settings.max_disk}, too much for a work volume of {room}"
    state = manifests.mounted_at(str(settings.state_dir))
    room = manifests.size_of(state) if state else None
    kept = settings.cache_size + settings.environment_cache_size * 1.5 + settings.dead_letter_limit
    if room is None:
        yield f"no bounded volume is mounted at {settings.state_dir}"
    elif kept > float(room) * _SHARE_OF_STATE:
        yield f"caches and letters of {kept:.0f} bytes are too much for a state volume of {room}"
    if not PurePosixPath(str(settings.lock_dir)).is_relative_to(str(settings.state_dir)):
        yield "the locks lie where an experiment could make them first: LOCK_DIR below STATE_DIR"


def the_node_has_the_disk(manifests: Manifests) -> Iterator[str]:
    """A node without the space that the pod's own directories may take is not chosen."""
    wanted = 0
    for name, volume in manifests.volumes.items():
        if "emptyDir" not in volume:
            continue
        size = manifests.size_of(volume)
        if size is None:
            yield f"the volume {name} has no sizeLimit"
        elif volume["emptyDir"].get("medium") != "Memory":
            wanted += int(size)
        elif size >= quantity(manifests.container["resources"]["limits"]["memory"]):
            yield f"the volume {name} may take all of the pod's memory"
    requested = quantity(manifests.container["resources"]["requests"]["ephemeral-storage"])
    if requested < wanted:
        yield f"ephemeral-storage of {requested} is requested, the volumes may take {wanted}"


def shared_memory_is_memory(manifests: Manifests) -> Iterator[str]:
    """Data loaders find room in /dev/shm."""
    volume = manifests.mounted_at("/dev/shm")  # noqa: S108 - the pod's
    if volume is None or volume.get("emptyDir", {}).get("medium") != "Memory":
        yield "shared memory is none"


def two_never_share(manifests: Manifests) -> Iterator[str]:
    """One pod a node, and one pod a volume."""
    claims = [name for name, one in manifests.volumes.items() if "persistentVolumeClaim" in one]
    kind, spec = manifests.workload["kind"], manifests.deployment
    strategy = spec.get("strategy") or spec.get("updateStrategy") or {}
    if claims and (spec.get("replicas") != 1 or strategy.get("type") != "Recreate"):
        yield f"a second pod could share the volumes {claims}: one replica, recreated"
    surge = strategy.get("rollingUpdate", {}).get("maxSurge")
    if not claims and kind != "ScaledJob" and surge != 0:
        yield "a new pod would wait for the cards that the old one has"
    terms = manifests.pod["affinity"]["podAntiAffinity"]
    (term,) = terms.get("requiredDuringSchedulingIgnoredDuringExecution", [{}])
    labels = manifests.deployment["template"]["metadata"]["labels"]
    chosen = term.get("labelSelector", {}).get("matchLabels")
    if term.get("topologyKey") != "kubernetes.io/hostname" or not chosen:
        yield "two pods could be put on one node"
    elif not (chosen.items() <= labels.items()):
        yield "the rule against two pods on one node is about other pods"
    if kind != "ScaledJob" and spec["selector"]["matchLabels"] != labels:
        yield f"the {kind} selects other pods than it makes"


def cards_are_asked_for(manifests: Manifests) -> Iterator[str]:
    """GPUs are requested where they are given out, and only there; cores are whole."""
    limits = manifests.container["resources"]["limits"]
    requests = manifests.container["resources"]["requests"]
    cards = limits.get("nvidia.com/gpu")
    if manifests.settings.cpu_only == bool(cards):
        yield f"CPU_ONLY is {manifests.settings.cpu_only} with {cards} cards"
    if manifests.settings.require_gpus != int(cards or 0):
        yield f"REQUIRE_GPUS is {manifests.settings.require_gpus} with {cards} cards"
    if cards != requests.get("nvidia.com/gpu"):
        yield "requests and limits of nvidia.com/gpu differ: Kubernetes refuses that"
    if cards and any(requests[name] != limits[name] for name in ("cpu", "memory")):
        yield "requests and limits differ: the pod would be evicted before others"
    if quantity(limits["cpu"]) % 1 or manifests.settings.max_cores != quantity(limits["cpu"]):
        yield f"MAX_CORES is {manifests.settings.max_cores} of {limits['cpu']} cores"


def least_rights(manifests: Manifests) -> Iterator[str]:
    """Nothing is allowed that the runner does not need."""
    pod = manifests.pod
    asks = manifests.settings.given("k8s_configmap")
    if pod.get("automountServiceAccountToken", True) != asks:
        yield "the API server's token would be mounted, and nobody needs it"
    if manifests.one("ServiceAccount").get("automountServiceAccountToken", True):
        yield "the API server's token would be mounted into every pod of the account"
    rights = [rule for role in manifests.all("Role") for rule in role["rules"]]
    if rights != ([_READ_CONFIGMAPS] if asks else []) or manifests.all("ClusterRole"):
        yield f"the service account would have the rights {rights}"
    if len(manifests.all("RoleBinding")) != len(rights) or manifests.all("ClusterRoleBinding"):
        yield "the rights are bound to nobody, or to others"
    if pod.get("securityContext", {}).get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "the runtime's seccomp profile is not in force"
    if pod.get("securityContext", {}).get("runAsUser") != 0:
        yield "the user is not said: tokens and secrets would be mounted for everybody"
    if pod.get("enableServiceLinks") is not False:
        yield "a Service called studio-runner would set the runner's options"


def a_wall_around_it(manifests: Manifests) -> Iterator[str]:
    """The pod sees nothing of its node, and its processes stay what they are."""
    pod = manifests.pod
    if any(pod.get(name) for name in ("hostNetwork", "hostPID", "hostIPC")):
        yield "the pod would share the host's namespaces"
    if any("hostPath" in volume for volume in manifests.volumes.values()):
        yield "the pod would see the host's files"
    for container in (*pod["initContainers"], *pod["containers"]):
        name, security = container["name"], container["securityContext"]
        if security.get("allowPrivilegeEscalation") is not False or security.get("privileged"):
            yield f"processes of {name} could gain privileges"
        if security.get("readOnlyRootFilesystem") is not True:
            yield f"the root file system of {name} is writable"
        abilities = security.get("capabilities", {})
        if abilities.get("drop") != ["ALL"] or not set(abilities.get("add", ())) <= _ABILITIES:
            yield f"the capabilities of {name} are {abilities}, more than are needed"


def experiments_are_somebody_else(manifests: Manifests) -> Iterator[str]:
    """They run as the image's second user, who is neither root nor the daemon."""
    run_as = manifests.settings.run_as
    named = re.findall(r"--uid (\d+) --gid (\d+)", DOCKERFILE.read_text(encoding="utf-8"))
    if [(str(user.uid), str(user.gid)) for user in run_as] != [named[-1]]:
        yield f"experiments run as {run_as}, the image's user for them is {named[-1]}"


def volumes_are_closed(manifests: Manifests) -> Iterator[str]:
    """Where root's daemon and experiments both write, nobody can replace what another made."""
    state = str(manifests.settings.state_dir)
    (closing,) = manifests.pod["initContainers"]
    shared, own = set(closing["command"][2].split()), set(closing["args"])
    mounts = {mount["name"]: mount["mountPath"] for mount in closing["volumeMounts"]}
    for name, mount in manifests.mounts.items():
        path = mount["mountPath"]
        # The daemon closes its state directory by itself.
        if mount.get("readOnly") or path == state:
            continue
        if mounts.get(name) != path or path not in own | shared:
            yield f"everybody could rename what lies in {path}"
    if closing["image"] != manifests.container["image"]:
        yield "the volumes would be closed by another image"


def secrets_are_mounted_live(manifests: Manifests) -> Iterator[str]:
    """Secrets come and go without a restart, and only root can read them."""
    certs = PurePosixPath(str(manifests.settings.certs_dir))
    for name, volume in manifests.volumes.items():
        if "secret" not in volume:
            continue
        mount, secret = manifests.mounts[name], volume["secret"]
        if secret.get("defaultMode") != _ROOT_ONLY:
            yield f"the secret {name} is mounted with a mode of {secret.get('defaultMode')}"
        if mount.get("readOnly") is not True:
            yield f"the secret {name} is not mounted read-only"
        if not secret.get("optional") and PurePosixPath(mount["mountPath"]).parent == certs:
            yield f"the pod would not start before the secret {name} exists"
    for name, mount in manifests.mounts.items():
        if "subPath" in mount or "subPathExpr" in mount:
            yield f"the mount of {name} is a subPath, which never changes"


def nothing_is_secret_here(manifests: Manifests) -> Iterator[str]:
    """No manifest holds a secret, and no variable does."""
    if manifests.all("Secret"):
        yield "a secret stands in the manifests"
    known = option_variables()
    for entry in manifests.container["env"]:
        field = known.get(entry["name"])
        is_secret = field is not None and OPTIONS[field].secret
        if is_secret and not entry["name"].endswith("_FILE"):
            yield f"the variable {entry['name']} holds a secret: mount it, and use its _FILE form"


def the_state_is_a_mount(manifests: Manifests) -> Iterator[str]:
    """STATE_FILE is a key of the ConfigMap that is mounted there, and says a known word."""
    file = PurePosixPath(str(manifests.settings.state_file))
    volume = manifests.mounted_at(str(file.parent)) or {}
    source = volume.get("configMap", {})
    state = manifests.one("ConfigMap")
    if source.get("name") != state["metadata"]["name"] or not source.get("optional"):
        yield f"no ConfigMap that may be missing is mounted at {file.parent}"
    if intent(state["data"].get(file.name, "")) is None:
        yield f"the ConfigMap's key {file.name} says {state['data'].get(file.name)!r}"


def all_is_used(manifests: Manifests) -> Iterator[str]:
    """Every volume is mounted, every mount has a volume, every claim is in the same namespace."""
    if set(manifests.volumes) != set(manifests.mounts):
        yield f"volumes and mounts differ: {set(manifests.volumes) ^ set(manifests.mounts)}"
    claimed = {
        volume["persistentVolumeClaim"]["claimName"]
        for volume in manifests.volumes.values()
        if "persistentVolumeClaim" in volume
    }
    made = {one["metadata"]["name"] for one in manifests.all("PersistentVolumeClaim")}
    if claimed != made:
        yield f"claims and volumes differ: {claimed ^ made}"
    namespaces = {one["metadata"].get("namespace") for one in manifests.documents}
    if namespaces != {"studio-runner"}:
        yield f"the namespaces are {namespaces}"
    account = manifests.one("ServiceAccount")["metadata"]["name"]
    if manifests.pod["serviceAccountName"] != account:
        yield "the pod uses another service account"


def what_is_kept_is_marked(manifests: Manifests) -> Iterator[str]:
    """``make undeploy`` keeps the volumes and ``make deploy`` the state by these labels."""
    parts = {"PersistentVolumeClaim": "storage", "ConfigMap": "state"}
    for document in manifests.documents:
        part = document["metadata"]["labels"].get("app.kubernetes.io/component")
        if part != parts.get(document["kind"]):
            yield f"the {document['kind']} is marked {part}"


def the_image_is_this_version(manifests: Manifests) -> Iterator[str]:
    """The tag is the package's version."""
    tag = manifests.container["image"].rpartition(":")[2]
    if tag != __version__:
        yield f"the image's tag is {tag}, the package's version {__version__}"


def outside_nothing_evicts(manifests: Manifests) -> Iterator[str]:
    """A node is not taken away under running experiments."""
    annotations = manifests.deployment["template"]["metadata"]["annotations"]
    if annotations.get("cluster-autoscaler.kubernetes.io/safe-to-evict") != "false":
        yield "the autoscaler may remove the node"


RULES: tuple[Rule, ...] = (
    variables_are_options,
    values_are_understood,
    one_port,
    a_drain_has_its_time,
    the_disk_is_bounded,
    the_node_has_the_disk,
    shared_memory_is_memory,
    two_never_share,
    cards_are_asked_for,
    least_rights,
    a_wall_around_it,
    experiments_are_somebody_else,
    volumes_are_closed,
    secrets_are_mounted_live,
    nothing_is_secret_here,
    the_state_is_a_mount,
    all_is_used,
    what_is_kept_is_marked,
    the_image_is_this_version,
    outside_nothing_evicts,
    *MORE,
)
