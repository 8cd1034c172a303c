"""HTTP connections that another thread can cut: no call outlives its cancellation by a timeout."""

from runner.wires.pools import Plain, close, pool
from runner.wires.wire import Wire, here

__all__ = ["Plain", "Wire", "close", "here", "pool"]
