"""The daemon as the laptop's pod starts it: its variables, volumes, user and capabilities."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.manifests import Manifests, image_env
from tests.trust.boxes import need_two_users

pytestmark = [
    pytest.mark.service("kubectl"),
    pytest.mark.skipif(os.geteuid() != 0, reason="takes root: volumes are mounted"),
    pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="takes the system's Python"),
]

#: Mounts what the kubelet would, in mounts and a network of its own; then an operator comes by.
_POD = r"""
set -eu
until_said() { i=0; until "$@"; do i=$((i + 1)); [ $i -lt 600 ]; sleep 0.1; done; }
ready() { [ "$(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1$LISTEN/readyz")" = "$1" ]; }
swap() { # swap DIRECTORY FILE TEXT, as the kubelet does
    mkdir "$1/..$$.$3"; printf '%s\n' "$3" >"$1/..$$.$3/$2"; chmod 0400 "$1/..$$.$3/$2"
    ln -sfn "..$$.$3" "$1/..next"; mv -T "$1/..next" "$1/..data"; ln -sfn "..data/$2" "$1/$2"
}
ip link set lo up
mount -t tmpfs none /mnt
for top in etc srv var/lib; do # what is made below them is this pod's alone
    over=/mnt/$top
    mkdir -p "$over/upper" "$over/work"
    mount -t overlay -o "lowerdir=/$top,upperdir=$over/upper,workdir=$over/work" none "/$top"
    mkdir -p "/$top/studio-runner"
done
mount -t tmpfs -o mode=0755 none /var/lib/studio-runner
mkdir /var/lib/studio-runner/work
mount -t tmpfs -o mode=0777 none /var/lib/studio-runner/work
mount -t tmpfs -o mode=0777 none /srv/studio-runner
mount -t tmpfs -o mode=0755 none /etc/studio-runner
mkdir /mnt/checkout
mount --bind "$CHECKOUT" /mnt/checkout
mount -t tmpfs -o mode=0777 none /tmp
mkdir -p "$CHECKOUT" # it may lie below what is the pod's own
mount --bind /mnt/checkout "$CHECKOUT"
mount -t tmpfs -o mode=0777 none /dev/shm
mkdir -p "$HOME" /etc/studio-runner/state
install -d -m 0700 -o 10001 -g 10001 /etc/studio-runner/certs
for secret in google aws rabbitmq; do
    mkdir "/etc/studio-runner/certs/$secret"
    mount -t tmpfs -o mode=01777 none "/etc/studio-runner/certs/$secret"
done
"$@"
setpriv --bounding-set="-all,$ABILITIES" --inh-caps=-all --no-new-privs \
    "$BIN/studio-runner" run >/var/lib/studio-runner/log 2>&1 &
daemon=$!
trap 'kill -KILL $daemon 2>/dev/null || true; cat /var/lib/studio-runner/log' EXIT
until_said ready 200
mkdir /tmp/first
cd /tmp/first
: >requirements.txt
cat >train.py <<'PYTHON'
import os
print("user", os.getuid())
for path in ("/var/lib/studio-runner/work/experiments", "/srv/studio-runner/queues", "/tmp/first"):
    try:
        os.rename(path, path + ".mine")
        print("took", path)
    except OSError as error:
        print("kept", path, error.strerror)
for look in (os.listdir, open):
    try:
        look("/etc/studio-runner/certs")
        print("saw the credentials")
    except OSError as error:
        print("closed:", error.strerror)
PYTHON
"$BIN/studio-runner" submit --python "$VERSION" --follow train.py
echo "exit status $?"
swap /etc/studio-runner/certs/rabbitmq url amqp:user:secret
until_said grep -q certs/rabbitmq /var/lib/studio-runner/log
echo "found the secret that came later"
swap /etc/studio-runner/state STATE DrainAndSuspend
until_said ready 503
echo "suspended"
swap /etc/studio-runner/state STATE Running
until_said ready 200
echo "running again"
kill -TERM $daemon
wait $daemon
echo "ended with $?"
"""


def _closing(manifests: Manifests) -> list[str]:
    (container,) = manifests.pod["initContainers"]
    return [*container["command"], *container["args"]]


def _version() -> str:
    command = ["/usr/bin/python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.timeout(300)
def test_the_pod_does_its_work() -> None:
    """With these variables, volumes and capabilities an experiment succeeds and stays in its place.

    A secret that is created later and a changed STATE are heeded; TERM ends the daemon.
    """
    need_two_users()
    missing = [name for name in ("unshare", "ip", "setpriv", "curl") if not shutil.which(name)]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")
    manifests = Manifests.of("laptop")
    added = manifests.container["securityContext"]["capabilities"]["add"]
    environment = image_env() | manifests.env
    environment |= {
        "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
        "CHECKOUT": str(Path(__file__).parents[2]),
        "BIN": str(Path(sys.executable).parent),
        "ABILITIES": ",".join(f"+{name.lower()}" for name in added),
        "DEFAULT_PYTHON": "/usr/bin/python3",
        "VERSION": _version(),
        "MIN_FREE_DISK": "0%",
    }
    command = ["unshare", "--mount", "--net", "sh", "-c", _POD, "sh", *_closing(manifests)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "user 10002\n" in said
    assert said.count("kept /") == 3
    assert said.count("closed: Permission denied") == 2
    steps = ["exit status 0", "found the secret that came later", "suspended", "running again"]
    assert [line for line in said.splitlines() if line in steps] == steps
    assert "ended with 0" in said
