#!/bin/sh
# Applies an overlay to a cluster, or takes it away again: deploy.sh deploy|undeploy. It is told by
# variables:
#   OVERLAY                        gke, eks, aks, on-premise, laptop, or a directory with a kustomization
#   CONTEXT                        the cluster, as kubectl calls it; without it, it is asked about
#   REGISTRY PROJECT VERSION_TAG   the image, as for `make image`
#   DRY_RUN                        anything: show what would change, and change nothing
#   KUBECTL                        another kubectl
set -eu
here=$(cd "$(dirname "$0")" && pwd)
kubectl=${KUBECTL:-kubectl}
placeholder=registry.example.com/studio-runner

fail() {
    echo "$1" >&2
    exit 2
}

cluster() { # kubectl, with the cluster and the namespace
    "$kubectl" --context "$context" --namespace "$namespace" "$@"
}

there() { # there KIND NAME…: which of them the cluster has; fails where we may not ask
    kind=$1
    shift
    cluster get "$kind" "$@" --ignore-not-found --output 'jsonpath={.metadata.name}{range .items[*]}{.metadata.name} {end}' 2>/dev/null
}

is_absent() { # is_absent KIND NAME; "you may not ask" does not say so
    found=$(there "$1" "$2") && [ -z "$found" ]
}

choose_overlay() {
    [ -n "${OVERLAY:-}" ] || fail "name an overlay: make $verb OVERLAY=gke|eks|aks|on-premise|laptop"
    for directory in "$here/overlays/$OVERLAY" "$OVERLAY"; do
        [ -f "$directory/kustomization.yaml" ] && return
    done
    fail "there is no overlay $OVERLAY: choose gke, eks, aks, on-premise, laptop, or a directory with a kustomization.yaml"
}

render() {
    "$kubectl" kustomize "$directory" >"$manifest"
    default=$(sed -n 's|^ *image: ||p' "$manifest" | grep studio-runner | head -n 1)
    image=$default
    if [ -n "${REGISTRY:-}${PROJECT:-}${VERSION_TAG:-}" ]; then
        name=${REGISTRY:+${REGISTRY%/}/}${PROJECT:+$PROJECT/}studio-runner
        image=$name:${VERSION_TAG:-${default##*:}}
        case $image in
        *[!A-Za-z0-9._:/@-]*) fail "the image $image has a character that no image's name has" ;;
        esac
        sed "s|^\( *image: \)$default\$|\1$image|" "$manifest" >"$manifest.named"
        mv "$manifest.named" "$manifest"
    fi
    namespace=$(sed -n 's/^  namespace: //p' "$manifest" | sort -u)
    case $namespace in
    '' | *[!a-z0-9-]*) fail "the overlay $OVERLAY must put everything into one namespace: 'namespace: studio-runner'" ;;
    esac
}

check_placeholders() {
    case $image in
    "$placeholder":*)
        fail "whose registry? make deploy OVERLAY=$OVERLAY REGISTRY=… PROJECT=… VERSION_TAG=… (as for make push)"
        ;;
    esac
    if grep -q 'arn:aws:iam::111122223333:' "$manifest"; then
        fail "overlays/eks/service-account.yaml still names the role of Amazon's example account: write yours"
    fi
    if grep -q 'your[_-]\(queue\|subscription\)' "$manifest"; then
        fail "the component keda-… still names a queue of nobody's: write yours into its scaled-job.yaml, at both places"
    fi
}

choose_context() {
    current=$("$kubectl" config current-context 2>/dev/null) || current=
    context=${CONTEXT:-$current}
    [ -n "$context" ] || fail "kubectl has no current context: name a cluster with CONTEXT=…"
    echo "$verb: overlay $OVERLAY, context $context, namespace $namespace, image $image"
    [ -z "${CONTEXT:-}" ] && [ -z "${DRY_RUN:-}" ] || return 0
    [ -t 0 ] || fail "name the cluster that is meant: make $verb OVERLAY=$OVERLAY CONTEXT=$context"
    printf 'Go on with this cluster? [y/N] '
    read -r answer
    [ "$answer" = y ] || fail "nothing was changed"
}

# What makes the pods, as kubectl calls it.
workload() {
    sed -n 's/^kind: \(Deployment\|DaemonSet\|ScaledJob\)$/\1/p' "$manifest" | tr '[:upper:]' '[:lower:]'
}

check_form() {
    for other in deployment daemonset scaledjob; do
        [ "$other" = "$(workload)" ] || [ -z "$(there "$other" studio-runner)" ] || fail "there is a $other studio-runner from before, whose pods would stay: $kubectl --context $context --namespace $namespace delete $other studio-runner"
    done
}

check_cluster() {
    for crd in ScaledJob:scaledjobs.keda.sh:KEDA ServiceMonitor:servicemonitors.monitoring.coreos.com:"Prometheus's operator"; do
        name=${crd#*:}
        if grep -q "^kind: ${crd%%:*}\$" "$manifest" && is_absent customresourcedefinition "${name%%:*}"; then
            fail "the cluster has no ${crd%%:*}: install ${crd##*:} first"
        fi
    done
    if is_absent namespace "$namespace"; then
        fail "there is no namespace $namespace: $kubectl --context $context create namespace $namespace"
    fi
    cluster get deployments --output name >/dev/null || fail "the cluster of context $context cannot be asked"
    for kind in storageclass runtimeclass; do
        for name in $(sed -n "s/^ *${kind%class}ClassName: //p" "$manifest" | sort -u); do
            if is_absent "$kind" "$name"; then
                fail "the cluster has no $kind $name, which the overlay names: docs/kubernetes.md says what it is for"
            fi
        done
    done
}

# Each secret with "needed" or "optional", in the order of the volumes.
secrets() {
    awk '/^ *secret:$/ { kind = "needed" }
        /^ *optional: true$/ { kind = "optional" }
        /^ *secretName: / { print kind, $2 }' "$manifest" | sort -u
}

check_secrets() {
    secrets >"$manifest.secrets"
    # shellcheck disable=SC2046 # one word each
    found=$(there secrets $(cut -d ' ' -f 2 "$manifest.secrets")) || return 0
    lacking=
    while read -r need name; do
        case " $found " in *" $name "*) continue ;; esac
        if [ "$need" = needed ]; then
            fail "there is no secret $name, without which the pod does not start: docs/kubernetes.md has the command"
        fi
        lacking="$lacking $name"
    done <"$manifest.secrets"
    if [ -n "$lacking" ]; then
        echo "not there, and not needed unless you use them:$lacking"
        echo "    (docs/kubernetes.md has the commands; what is created later is found without a restart)"
    fi
}

deploy() {
    if [ -n "${DRY_RUN:-}" ]; then
        # 1 means that there are differences.
        cluster diff --filename "$manifest" || [ $? = 1 ]
        return
    fi
    cluster apply --filename "$manifest" --selector 'app.kubernetes.io/component!=state'
    # Only once: a runner that somebody drained stays drained.
    state=$(cluster get configmap studio-runner-state --ignore-not-found --output 'jsonpath={.data.STATE}')
    if [ -z "$state" ]; then
        cluster apply --filename "$manifest" --selector 'app.kubernetes.io/component=state'
    elif [ "$state" != Running ]; then
        echo "STATE is $state, and stays so: the runner claims nothing until it is Running"
    fi
    case $(workload) in
    scaledjob) echo "watch it: $kubectl --context $context --namespace $namespace get scaledjobs,jobs,pods --watch" ;;
    *) echo "watch it: $kubectl --context $context --namespace $namespace rollout status $(workload)/studio-runner" ;;
    esac
}

undeploy() {
    if [ -n "${DRY_RUN:-}" ]; then
        cluster delete --filename "$manifest" --selector 'app.kubernetes.io/component!=storage' \
            --ignore-not-found --dry-run=server
        return
    fi
    cluster delete --filename "$manifest" --selector 'app.kubernetes.io/component!=storage' --ignore-not-found
    echo "What runs has its grace period to end: $kubectl --context $context --namespace $namespace get pods --watch"
    echo "Kept, and billed where storage is: the volumes, the secrets, the namespace. To remove them:"
    echo "    $kubectl --context $context --namespace $namespace delete pvc --selector app.kubernetes.io/component=storage"
    echo "    $kubectl --context $context delete namespace $namespace"
    echo "Nodes, images in the registry, queues and buckets are not this command's: docs/kubernetes.md lists them."
}

verb=${1:-}
case $verb in
deploy | undeploy) ;;
*) fail "usage: deploy.sh deploy|undeploy" ;;
esac
command -v "$kubectl" >/dev/null || fail "there is no $kubectl in PATH: install it first"
manifest=$(mktemp)
trap 'rm -f "$manifest" "$manifest.named" "$manifest.secrets"' EXIT
choose_overlay
render
if [ "$verb" = deploy ]; then
    check_placeholders
fi
choose_context
if [ "$verb" = deploy ]; then
    check_cluster
    check_form
    check_secrets
fi
"$verb"
