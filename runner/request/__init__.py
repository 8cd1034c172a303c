"""Bytes to Request: pure decoding, no I/O. ``schema`` is the one way in.

Nothing is imported here: the options need ``units`` alone.
"""
