"""What a daemon loads before it has anything to do."""

from __future__ import annotations

import subprocess
import sys

#: As the daemon of a machine with local queues loads it.
_SCRIPT = """
import sys
import runner.app.daemon
from runner.environments import ENVIRONMENTS
from runner.queues import BROKERS
from runner.resources import PROBES
from runner.sandboxes import SANDBOXES

for registry, name in (
    (ENVIRONMENTS, "uv"), (BROKERS, "local"), (PROBES, "host"), (SANDBOXES, "plain")
):
    registry.load(name)
print(*(name for name in sys.argv[1:] if name in sys.modules))
"""
#: Of brokers, stores, clusters, news, metrics, pages and of building environments.
_LATER = (
    *("boto3", "botocore", "google", "minio", "aio_pika", "urllib3", "requests", "http.client"),
    *("slack_sdk", "prometheus_client", "h11", "packaging", "psutil", "email", "rich"),
)


def test_what_only_others_need_is_not_loaded_at_the_start() -> None:
    """It would take a third of the start and some megabytes as long as the daemon lives."""
    command = [sys.executable, "-c", _SCRIPT, *_LATER]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=60)
    assert done.stdout.split() == []
