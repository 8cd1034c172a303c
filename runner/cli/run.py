"""``studio-runner run``: the daemon."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence

from runner.settings import Settings


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the daemon until it has drained; with ``--dry-run`` say what it would take."""
    settings = Settings.load(argv, environ, command="run")
    gc.disable()  # as for the command itself
    # ``--help`` and a bad option need no daemon.
    from runner.app import rehearsal  # noqa: PLC0415
    from runner.app.daemon import run  # noqa: PLC0415
    from runner.app.dry_run import dry_run  # noqa: PLC0415

    gc.freeze()  # nor is it ever looked through
    gc.enable()
    if rehearsal.VARIABLE in environ:
        return rehearsal.perform(settings)
    return dry_run(settings) if settings.dry_run else run(settings)
