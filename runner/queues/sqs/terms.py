"""What holding a message is measured by: SQS's ceiling, and our clocks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from runner.queues.sqs.receipt import CEILING


@dataclass(frozen=True, slots=True)
class Terms:
    """Tests have shorter ones, and clocks of their own."""

    #: What SQS allows from the receive on; nothing of ours can lengthen it.
    ceiling: timedelta = CEILING
    #: Seconds that only ever go on.
    clock: Callable[[], float] = time.monotonic
    #: Seconds since the epoch.
    wall: Callable[[], float] = time.time
