"""Builds what is published: wheel, source distribution, the single file, and their checksums.

Built again from the same commit, with the same locks, they are the same bytes.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from release.versions import Refused
from runner.revision import FILE

SUMS = "SHA256SUMS"
#: What a runner with every backend is installed from.
LOCK = Path("requirements/all.txt")


def distributions(source: Path, output: Path, *, commit: str, epoch: int) -> list[Path]:
    """Build wheel and sdist of a working tree, which learns what commit it is."""
    (source / "runner" / FILE).write_text(f"{commit}\n", encoding="ascii")
    words = ["hatchling", "build", "--directory", str(output)]
    _run([sys.executable, "-m", *words], source, {"SOURCE_DATE_EPOCH": str(epoch)})
    return sorted(output.iterdir())


def single_file(
    wheel: Path, source: Path, output: Path, *, pythons: Sequence[str], epoch: int
) -> Path:
    """Build one executable file of the wheel and everything locked, for the given Pythons.

    A PEX that makes itself an environment at its first start: what the daemon starts (itself anew,
    its supervisors, uv) needs files and an interpreter that knows them, which no zip file gives.
    """
    version = wheel.name.split("-")[1]
    result = output / f"studio-runner-{version}-{sys.platform}-{platform.machine()}.pex"
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    wanted = wheel.with_name("single-file.txt")
    lock = (source / LOCK).read_text(encoding="utf-8")
    # By name, not by address: the file would keep the address, and be another one each time.
    wanted.write_text(f"{lock}studio-runner=={version} --hash=sha256:{digest}\n")
    words = ["--requirement", str(wanted), "--intransitive", "--venv"]
    words += ["--find-links", str(wheel.parent)]
    words += ["--console-script", "studio-runner", "--output-file", str(result)]
    words += [word for python in pythons for word in ("--python", python)]
    try:
        _run(
            [sys.executable, "-m", "pex", "--use-pip-config", *words],
            source,
            {"SOURCE_DATE_EPOCH": str(epoch)},
        )
    finally:
        wanted.unlink()
    return result


def checksums(files: Sequence[Path], output: Path) -> Path:
    """Write what ``sha256sum --check`` reads."""
    lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files]
    result = output / SUMS
    result.write_text("".join(sorted(lines, key=lambda line: line.split()[1])), encoding="ascii")
    return result


def _run(command: Sequence[str], place: Path, more: Mapping[str, str]) -> None:
    done = subprocess.run(
        command,
        cwd=place,
        env={**os.environ, **more},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise Refused(f"{' '.join(command[1:4])} failed:\n{said}")
