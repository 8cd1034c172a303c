"""News that stay true are told once, and again when they have changed. Pure."""

from __future__ import annotations

from runner.model import News, Report

#: Topics that are remembered; the oldest is forgotten, and would be told again.
_MOST = 1000


class Once:
    """Remembers what was said last about each topic."""

    def __init__(self) -> None:
        self._said: dict[str, tuple[News, str]] = {}

    def is_news(self, report: Report) -> bool:
        """Tell whether it says anything new; an end to what nobody was told of does not."""
        if not report.topic:
            return True
        said = self._said.pop(report.topic, None)
        if report.news is News.RECOVERED:
            return said is not None
        self._said[report.topic] = report.news, report.text
        if len(self._said) > _MOST:
            del self._said[next(iter(self._said))]
        return said != (report.news, report.text)
