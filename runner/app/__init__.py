"""The composition root: the only room where Settings become live parts."""

from runner.app.daemon import run
from runner.app.dry_run import dry_run

__all__ = ["dry_run", "run"]
