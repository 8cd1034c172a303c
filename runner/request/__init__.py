"""Bytes to Request: pure decoding, no I/O."""
