"""The question to NVIDIA's driver: a small process asks it, and the daemon asks the process.

``main`` is what the process runs, with ``driver``, ``card``, ``links`` and ``xids``; the daemon's
side is ``interview``, ``answer`` and ``known``.
"""
