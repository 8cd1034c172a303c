"""Queues in a directory: one file per message, in both layouts that StudioML clients write."""

from runner.queues.local.broker import LocalBroker

__all__ = ["LocalBroker"]
