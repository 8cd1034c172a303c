"""Sealed and signed messages: who may read a request, and who wrote it (protocol 2.6 to 2.9)."""
