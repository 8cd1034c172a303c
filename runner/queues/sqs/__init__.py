"""Amazon SQS, and servers that speak as it does: a family of small files around one client."""

from runner.queues.sqs.broker import SqsBroker

__all__ = ["SqsBroker"]
