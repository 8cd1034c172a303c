"""studio-runner: a daemon that runs queued StudioML experiments on the machines you own."""

__version__ = "0.1.0"
