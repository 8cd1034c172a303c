#!/bin/sh
# Builds the image, or pushes it: build.sh image|push. It is told by variables (all may be empty):
#   REGISTRY PROJECT VERSION_TAG   the name: REGISTRY/PROJECT/studio-runner:VERSION_TAG
#   BASE                           the image of Python to build on
#   CUDA CUDA_LIBRARIES CUDNN      the release of CUDA to include; which of its libraries; of cuDNN
#   SOURCE                         address of the source, for the image's label
#   DOCKER BUILD_ARGS              the client, and more of its arguments (--network host)
set -eu
cd "$(dirname "$0")/.."

docker=${DOCKER:-docker}
BASE=${BASE:-python:3.11-slim}
CUDA_LIBRARIES=${CUDA_LIBRARIES:-cublas,cudart,cufft,curand,cusolver,cusparse,nvjitlink,nvrtc}
CUDNN=${CUDNN-9}
version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' runner/__init__.py)
name=${REGISTRY:+${REGISTRY%/}/}${PROJECT:+$PROJECT/}studio-runner
image=$name:${VERSION_TAG:-$version}
# Named by what it is made from: another machine can fetch the same one instead of making it.
content=$({
    cat docker/Dockerfile.base requirements/installer.txt
    echo "$BASE ${CUDA:+$CUDA $CUDA_LIBRARIES $CUDNN}"
} | sha256sum | cut -c 1-12)
base=$name-base:$content

revision() { # the commit; nothing where there is no repository
    commit=$(git rev-parse HEAD 2>/dev/null) || return 0
    [ -z "$(git status --porcelain --untracked-files=no)" ] || commit=$commit-dirty
    echo "$commit"
}

build() { # shell words in BUILD_ARGS are meant to be split
    # shellcheck disable=SC2086
    $docker build ${BUILD_ARGS:-} "$@" .
}

have_base() {
    $docker image inspect "$base" >/dev/null 2>&1 && return
    # Without a registry of one's own the name would be looked up in everybody's.
    [ -n "${REGISTRY:-}" ] && $docker pull --quiet "$base" 2>/dev/null
}

case ${1:-} in
image)
    have_base || build --file docker/Dockerfile.base --tag "$base" \
        --build-arg "BASE=$BASE" --build-arg "CUDA=${CUDA:-}" \
        --build-arg "CUDA_LIBRARIES=$CUDA_LIBRARIES" --build-arg "CUDNN=$CUDNN"
    commit=$(revision)
    build --file docker/Dockerfile --tag "$image" --build-arg "BASE_IMAGE=$base" \
        --build-arg "VERSION=$version" --build-arg "REVISION=$commit" \
        --build-arg "SOURCE=${SOURCE:-}"
    echo "built $image"
    ;;
push)
    if [ -z "${REGISTRY:-}" ]; then
        echo "push needs a registry: make push REGISTRY=registry.example.com PROJECT=ml" >&2
        exit 2
    fi
    $docker push "$base"
    $docker push "$image"
    echo "pushed $image"
    ;;
*)
    echo "usage: build.sh image|push" >&2
    exit 2
    ;;
esac
