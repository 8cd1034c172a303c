"""Google Pub/Sub: unary pulls, and leases that are kept by our own ``modify_ack_deadline``."""

import os

# Read by grpc when it is imported. Its preparations for a fork come to nothing in a process whose
# threads wait in it, and each says so on the standard error; what we start is executed at once.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from runner.queues.pubsub.broker import PubsubBroker

__all__ = ["PubsubBroker"]
