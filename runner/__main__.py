"""``python -m runner`` is the ``studio-runner`` command."""

from runner.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
