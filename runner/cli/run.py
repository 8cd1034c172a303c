"""``studio-runner run``: the daemon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from runner.settings import Settings


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the daemon until it has drained; with ``--dry-run`` say what it would take."""
    settings = Settings.load(argv, environ, command="run")
    from runner import app  # noqa: PLC0415 - ``--help`` and a bad option need no daemon

    return app.dry_run(settings) if settings.dry_run else app.run(settings)
