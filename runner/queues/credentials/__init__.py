"""The watched directory of credentials, and every other place that they come from.

::

    sources = credential_sources(settings, os.environ)        # runner/app/credentials.py
    async with Credentials(sources, found=redactor.add) as credentials:
        async with aclosing(credentials.changes()) as changes:
            async for whole in changes: ...                   # tuple[Credential, ...]

``found_now(sources).chosen.credentials`` is the set at this moment, for commands.
"""

from runner.queues.credentials.contents import Trouble
from runner.queues.credentials.finder import found_now
from runner.queues.credentials.sources import Sources
from runner.queues.credentials.stream import Credentials

__all__ = ["Credentials", "Sources", "Trouble", "found_now"]
