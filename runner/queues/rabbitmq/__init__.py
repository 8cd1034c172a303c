"""RabbitMQ: queues as StudioML clients make them (protocol section 3.4)."""

from runner.queues.rabbitmq.broker import RabbitBroker

__all__ = ["RabbitBroker"]
