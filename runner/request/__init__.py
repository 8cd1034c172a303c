"""Bytes to Request: pure decoding, no I/O."""

from runner.request.schema import decode

__all__ = ["decode"]
