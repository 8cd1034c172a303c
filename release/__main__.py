"""``python -m release VERSION``: makes a release in a clone, and keeps it when all of it worked."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from release import building, changelog, stamps, trying
from release.repository import Repository
from release.versions import Refused, next_version, of_tags

_LEFT_TO_DO = """
{version} is made; nothing was pushed. What is left, when you like what is in {output}:

  git tag --annotate v{version} --message 'studio-runner {version}' {commit}
  git push origin {branch} v{version}
  make image push VERSION_TAG={version} REGISTRY=… PROJECT=…

and the files, with the section {version} of CHANGELOG.md, where releases are published."""


def main(argv: Sequence[str]) -> int:
    """Make the release that the command line asks for; return the exit status."""
    chosen = _parser().parse_args(argv)
    try:
        _release(
            Repository(Path.cwd()),
            chosen.version,
            output=Path(chosen.output).absolute(),
            pythons=None if chosen.no_single_file else chosen.python,
            is_dry=chosen.dry_run,
        )
    except Refused as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m release", description=__doc__)
    parser.add_argument("version", help="1.2.3, or 1.2.3rc1 before it")
    parser.add_argument("--dry-run", action="store_true", help="do it all, and keep nothing")
    parser.add_argument("--output", default="dist", help="where the files go (default: dist)")
    parser.add_argument(
        "--python",
        action="append",
        default=[],
        metavar="PYTHON",
        help="an interpreter that the single file is for, repeatable (default: this one)",
    )
    parser.add_argument(
        "--no-single-file", action="store_true", help="leave it out: it takes longer than the rest"
    )
    return parser


def _release(
    repository: Repository,
    wanted: str,
    *,
    output: Path,
    pythons: Sequence[str] | None,
    is_dry: bool,
) -> None:
    version = _checked(repository, wanted)
    with tempfile.TemporaryDirectory(prefix="studio-runner-release-") as place:
        scratch = Path(place)
        clone = repository.clone(scratch / "source")
        stamps.stamp(clone.root, version, datetime.now(UTC).date())
        commit = clone.commit(f"Release {version}")
        print(clone.git("show", "--stat", "--format=%s", "HEAD"))
        files = _made(clone, commit, version, scratch, pythons)
        for file in files:
            print(f"{file.stat().st_size:>12,} bytes  {file.name}")
        if is_dry:
            print("a dry run: nothing was kept")
            return
        output.mkdir(parents=True, exist_ok=True)
        repository.take(clone)
        for file in files:
            shutil.copy2(file, output)
    print(
        _LEFT_TO_DO.format(
            version=version, commit=commit, branch=repository.branch(), output=output
        )
    )


def _checked(repository: Repository, wanted: str) -> str:
    repository.branch()
    repository.check_clean()
    text = (repository.root / stamps.CHANGELOG).read_text(encoding="utf-8")
    out = [*of_tags(repository.tags()), *changelog.released(text)]
    return str(next_version(wanted, current=stamps.current(repository.root), released=out))


def _made(
    clone: Repository, commit: str, version: str, scratch: Path, pythons: Sequence[str] | None
) -> list[Path]:
    """Build everything and try it; ``pythons``: whom the single file is for, ``None``: nobody."""
    output = scratch / "dist"
    output.mkdir()
    epoch = clone.time()
    files = building.distributions(clone.root, output, commit=commit, epoch=epoch)
    (wheel,) = (file for file in files if file.suffix == ".whl")
    trying.check_contents(wheel, clone.files("runner"))
    trying.answers(trying.installed(wheel, clone.root, scratch), scratch, version, commit)
    if pythons is not None:
        single = building.single_file(wheel, clone.root, output, pythons=pythons, epoch=epoch)
        trying.answers(single, scratch, version, commit)
        files.append(single)
    return [*files, building.checksums(files, output)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
