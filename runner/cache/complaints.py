"""Says once why artifacts are not kept, and once that they are again."""

from __future__ import annotations

from pathlib import Path

from runner import log
from runner.cache.base import NoRoom

_log = log.get_logger(__name__)


class Complaints:
    """What was said already."""

    def __init__(self, directory: Path) -> None:
        self._directory = str(directory)
        self._said = ""

    def trouble(self, error: Exception, artifact: str = "") -> None:
        """Note that something could not be kept."""
        if isinstance(error, NoRoom):
            _log.info("an artifact is not kept", artifact=artifact, why=str(error))
            return
        why = getattr(error, "strerror", None) or str(error)
        if why != self._said:
            self._said = why
            _log.warning(
                "artifacts are not kept until this is mended; they are fetched each time",
                cache=self._directory,
                why=why,
            )

    def works(self) -> None:
        """Note that something was kept."""
        if self._said:
            self._said = ""
            _log.info("artifacts are kept again", cache=self._directory)
