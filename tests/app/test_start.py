"""What a daemon loads before it has anything to do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

#: As the daemon of a machine with local queues loads it.
_SCRIPT = """
import sys
import runner.app.daemon
from runner.environments import ENVIRONMENTS
from runner.queues import BROKERS
from runner.resources import PROBES
from runner.sandboxes import SANDBOXES

for registry, name in (
    (ENVIRONMENTS, "uv"), (BROKERS, "local"), (SANDBOXES, "plain"),
    (PROBES, "host"), (PROBES, "none"),
):
    registry.load(name)
print(*(name for name in sys.argv[1:] if name in sys.modules))
"""
#: Of brokers, stores, clusters, cards, news, metrics, pages and of building environments.
_LATER = (
    *("boto3", "botocore", "google", "minio", "aio_pika", "urllib3", "requests", "http.client"),
    *("slack_sdk", "prometheus_client", "h11", "packaging", "psutil", "email", "rich"),
    *("runner.resources.gpu", "runner.resources.nvml", "pynvml"),
)
#: The daemon needs them; who reads options alone, as every command does, needs none.
_BESIDE_OPTIONS = ("anyio", "asyncio", "msgspec", "structlog", "runner.request.schema")


def test_what_only_others_need_is_not_loaded_at_the_start() -> None:
    """It would take a third of the start and some megabytes as long as the daemon lives."""
    assert loaded(_SCRIPT, _LATER) == []


def test_reading_options_loads_nothing_that_does_more() -> None:
    """It would take a third of the start of every command."""
    script = (
        "import sys; from runner.settings import Settings; Settings.load([], {});"
        "print(*(name for name in sys.argv[1:] if name in sys.modules))"
    )
    assert loaded(script, _BESIDE_OPTIONS) == []


def loaded(script: str, names: Sequence[str]) -> list[str]:
    """Return which of the modules a script has loaded, by its own account."""
    command = [sys.executable, "-c", script, *names]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=60)
    return done.stdout.split()
