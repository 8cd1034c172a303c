"""Brokers. The registry is text: a backend is imported when a setting asks for it."""

from runner.registry import Registry

BROKERS = Registry(
    "broker",
    {
        "local": ("runner.queues.local:LocalBroker", None),
        "pubsub": ("runner.queues.pubsub:PubsubBroker", "gcp"),
        "rabbitmq": ("runner.queues.rabbitmq:RabbitBroker", "rabbitmq"),
        "sqs": ("runner.queues.sqs:SqsBroker", "aws"),
    },
)
