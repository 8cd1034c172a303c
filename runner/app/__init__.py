"""The composition root: the only room where Settings become live parts.

It imports nothing by itself: client commands use some of it and shall not wait for the daemon.
"""
